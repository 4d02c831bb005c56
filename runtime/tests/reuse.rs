//! Freed and growing blocks before any device is open, as in programs that have no use for one: freed memory is kept for the
//! next block, and blocks grow without a copy. One test: each part says whether devices are open.

mod common;

use hmmrt::raw;

/// Grows a block step by step, and checks all of it after each. How often it moved.
fn grow(to: usize, step: impl Fn(usize) -> usize) -> usize {
    let (mut ptr, mut len, mut moves) = (raw::malloc(1_200_000).unwrap(), 0, 0);
    let mut size = 1_200_000;
    let value = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    loop {
        for i in len / 8..size / 8 {
            // SAFETY: inside of the block.
            unsafe { ptr.cast::<u64>().add(i).write_volatile(value(i)) };
        }
        len = size / 8 * 8;
        for i in (0..len / 8).step_by(97) {
            // SAFETY: as above.
            assert_eq!(unsafe { ptr.cast::<u64>().add(i).read_volatile() }, value(i), "{i} of {size}");
        }
        if size >= to {
            break;
        }
        size += step(size);
        // SAFETY: a live block that nobody else uses.
        let new = unsafe { raw::realloc(ptr, size).unwrap() };
        moves += usize::from(new != ptr);
        ptr = new;
    }
    // SAFETY: as above.
    unsafe { raw::free(ptr).unwrap() };
    moves
}

/// Without a device, then while pages are sent to and fro.
fn a_block_that_grows_keeps_its_bytes() {
    let moves = grow(20 << 20, |_| 50_000);
    assert!(moves <= 10, "{moves} moves: a chunk is filled before the block moves");
    grow(60 << 20, |size| size / 3);
    // The same while its pages are sent to and fro.
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut rng = common::Rng(common::seed());
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                raw::preload::stir(rng.next());
            }
        });
        for _ in 0..(10.0 * common::scale()).ceil() as usize {
            grow(8 << 20, |_| 50_000);
            grow(30 << 20, |size| size / 3);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

fn freed_memory_that_is_handed_out_again_is_zero_where_it_must_be() {
    for len in [3 << 20, 5_000_000, 1_200_000] {
        for _ in 0..3 {
            let dirty = raw::malloc(len).unwrap();
            // SAFETY: `len` writable bytes, freed once.
            unsafe {
                dirty.write_bytes(0xa5, len);
                raw::free(dirty).unwrap();
            }
            let kept = raw::stats().spare_bytes;
            assert!(kept >= len as u64 && kept <= 64 << 20, "{kept} bytes");
            let clean = raw::calloc(len, 1).unwrap();
            // SAFETY: as above.
            unsafe {
                assert!(std::slice::from_raw_parts(clean, len).iter().all(|b| *b == 0), "{len}");
                raw::free(clean).unwrap();
            }
        }
    }
}

/// However much is freed, no more is kept than the setting allows, and nothing where devices are open: what a block had
/// before would be copied to them.
fn no_more_is_kept_than_may_be() {
    let blocks: Vec<*mut u8> = (0..40).map(|_| raw::malloc(3 << 20).unwrap()).collect();
    for block in blocks {
        // SAFETY: writable, freed once.
        unsafe {
            block.write_bytes(1, 3 << 20);
            raw::free(block).unwrap();
        }
    }
    let kept = raw::stats().spare_bytes;
    assert!(kept > 32 << 20 && kept <= 64 << 20, "{kept} bytes");
    raw::device_count().unwrap();
    let pool = raw::stats().spare_bytes;
    let block = raw::malloc(40 << 20).unwrap();
    // SAFETY: as above.
    unsafe {
        block.write_bytes(1, 40 << 20);
        raw::free(block).unwrap();
    }
    assert!(raw::stats().spare_bytes <= pool.max(64 << 20));
    let fresh = raw::malloc(40 << 20).unwrap();
    // SAFETY: as above: fresh memory is zero.
    unsafe {
        assert!(std::slice::from_raw_parts(fresh, 40 << 20).iter().all(|b| *b == 0));
        raw::free(fresh).unwrap();
    }
}

#[test]
fn reuse() {
    freed_memory_that_is_handed_out_again_is_zero_where_it_must_be();
    grow(20 << 20, |_| 50_000);
    no_more_is_kept_than_may_be();
    a_block_that_grows_keeps_its_bytes();
}
