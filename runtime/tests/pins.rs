//! Pins and locks of memory that is freed in part: what is left of them stays on the host, and can be unpinned.

mod common;

use hmmrt::Page;
use hmmrt::raw::{self, mapping};

const PAGE: usize = 4096;
const SIZE: usize = 7 * PAGE;
const MIB: usize = 1 << 20;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// Two blocks, the second right behind the first.
fn neighbours() -> [*mut u8; 2] {
    let mut blocks: Vec<*mut u8> = (0..8).map(|_| raw::malloc(SIZE).unwrap()).collect();
    blocks.sort_unstable();
    let at = blocks.windows(2).position(|w| w[0].addr() + SIZE == w[1].addr()).unwrap();
    let pair = [blocks.remove(at), blocks.remove(at)];
    // SAFETY: blocks of the test's.
    blocks.into_iter().for_each(|b| unsafe { raw::free(b).unwrap() });
    pair
}

fn is_pinned(at: *const u8) -> bool {
    let mut page = [Page::default()];
    raw::query(at, PAGE, &mut page).unwrap();
    let says = page[0].flags & Page::PINNED != 0;
    assert_eq!(raw::migrate(at, PAGE, 0).is_err(), says, "a pinned page goes, or another does not");
    says
}

/// Another pin, made and undone: what is pinned is worked out again.
fn look_again(at: *const u8) {
    raw::pin(at, PAGE).unwrap();
    raw::unpin(at, PAGE).unwrap();
}

fn a_freed_block_takes_no_pin_of_its_neighbour_along() {
    for freed in [0, 1] {
        let pair = neighbours();
        if mapping::lock(pair[0].addr(), 2 * SIZE, 0).is_err() {
            return common::skipped("locked neighbours", "this process may not lock memory");
        }
        let kept = pair[1 - freed];
        // SAFETY: a block of the test's.
        unsafe { raw::free(pair[freed]).unwrap() };
        look_again(kept);
        assert!(is_pinned(kept), "locked with a block that was freed");
        // Whoever gets the place next does not inherit it.
        let next = neighbours();
        next.iter().for_each(|b| look_again(*b));
        assert!(!next.iter().any(|b| is_pinned(*b)));
        mapping::unlock(kept.addr() + 2 * PAGE, PAGE).unwrap();
        assert!(is_pinned(kept) && !is_pinned(kept.wrapping_add(2 * PAGE)));
        mapping::unlock(kept.addr(), SIZE).unwrap();
        assert!((0..SIZE / PAGE).all(|i| !is_pinned(kept.wrapping_add(i * PAGE))));
        // SAFETY: as above.
        [kept, next[0], next[1]].into_iter().for_each(|b| unsafe { raw::free(b).unwrap() });
    }
}

fn a_pin_with_a_hole_can_be_undone() {
    let len = 6 * MIB;
    // SAFETY: a mapping of our own.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, RW, ANON, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    let at = at.cast::<u8>();
    mapping::prepare().unwrap();
    // SAFETY: a new mapping.
    assert!(unsafe { mapping::adopt(at.expose_provenance(), len, RW) });
    raw::pin(at, len).unwrap();
    raw::pin(at, len).unwrap();
    // SAFETY: memory of the test's.
    unsafe { mapping::unmap(at.addr() + MIB, 4 * MIB).unwrap() };
    let ends = [at, at.wrapping_add(5 * MIB)];
    ends.iter().for_each(|b| look_again(*b));
    assert!(ends.iter().all(|b| is_pinned(*b)));
    // SAFETY: as above: the hole.
    unsafe { mapping::map_fixed(at.addr() + MIB, 4 * MIB, RW, ANON | libc::MAP_FIXED, -1, 0, true).unwrap() };
    look_again(at.wrapping_add(2 * MIB));
    assert!(!is_pinned(at.wrapping_add(2 * MIB)), "another memory at that place");
    raw::unpin(at, len).unwrap();
    assert!(ends.iter().all(|b| is_pinned(*b)), "there were two");
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr() + MIB, 4 * MIB).unwrap() };
    raw::unpin(at, len).unwrap();
    assert!(!ends.iter().any(|b| is_pinned(*b)));
    assert!(raw::unpin(at, len).is_err());
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), len).unwrap() };
}

fn pins_that_share_a_page_do_not_end_together() {
    let block = common::Block::new(SIZE);
    raw::pin(block.ptr, 100).unwrap();
    raw::pin(block.ptr.wrapping_add(200), PAGE).unwrap();
    raw::unpin(block.ptr, 100).unwrap();
    assert!(is_pinned(block.ptr));
    raw::unpin(block.ptr.wrapping_add(200), PAGE).unwrap();
    assert!(!is_pinned(block.ptr) && !is_pinned(block.ptr.wrapping_add(PAGE)));
}

/// The middle of a pinned range is the program's own again: what is left of the pin can be undone, and what was in the middle
/// is pinned by nobody when it is managed again.
fn a_disowned_part_is_not_pinned() {
    // SAFETY: a mapping of our own.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), SIZE, RW, ANON, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    let at = at.cast::<u8>();
    let page = |i: usize| at.wrapping_add(i * PAGE);
    // SAFETY: memory of the test's, which stays.
    unsafe {
        raw::adopt(at, SIZE).unwrap();
        raw::pin(at, SIZE).unwrap();
        raw::disown(page(2), 3 * PAGE).unwrap();
        assert!([0, 1, 5, 6].iter().all(|i| is_pinned(page(*i))));
        raw::adopt(page(2), 3 * PAGE).unwrap();
    }
    (2..5).for_each(|i| look_again(page(i)));
    assert!((2..5).all(|i| !is_pinned(page(i))), "pinned before it was disowned");
    raw::unpin(at, SIZE).unwrap();
    assert!((0..7).all(|i| !is_pinned(page(i))));
    assert!(raw::unpin(at, SIZE).is_err());
    // SAFETY: as above.
    unsafe { raw::disown(at, SIZE).unwrap() };
}

/// Catches: a discard that finds a page pinned when it has given up others already, because the pin came after a first look.
fn a_discard_gives_up_all_or_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering::*};
    let block = common::Block::new(32 * MIB);
    let done = AtomicBool::new(false);
    let last = block.word(block.words() - 1);
    let chunks = || (0..block.words() - 1).step_by(2 * MIB / 8).map(|i| block.word(i));
    let rounds = (600.0 * common::scale()) as u64 + 200;
    std::thread::scope(|s| {
        s.spawn(|| {
            let page = last.as_ptr().cast::<u8>().wrapping_sub(PAGE - 8);
            let mut rng = common::Rng(7);
            let mut round = 0;
            while !done.load(Relaxed) {
                raw::pin(page, PAGE).unwrap();
                round += 1;
                last.store(round, Relaxed);
                std::hint::spin_loop();
                assert_eq!(last.load(Relaxed), round, "given up under a pin");
                raw::unpin(page, PAGE).unwrap();
                (0..rng.below(20_000)).for_each(|_| std::hint::spin_loop());
            }
        });
        let mut given_up = [0, 0];
        for round in 1..=rounds {
            chunks().for_each(|first| first.store(round, Relaxed));
            // SAFETY: the contents are not counted on, but for what is asserted here.
            let gone = unsafe { raw::discard(block.ptr, block.len) };
            given_up[usize::from(gone.is_ok())] += 1;
            let expected = match gone {
                Ok(()) => 0,
                Err(hmmrt::Error::Busy { .. }) => {
                    std::thread::sleep(std::time::Duration::from_micros(50)); // or the other gets no lock
                    round
                }
                Err(e) => panic!("{e}"),
            };
            let is_whole = chunks().all(|first| first.load(Relaxed) == expected);
            done.store(!is_whole, Relaxed);
            assert!(is_whole, "given up in part");
        }
        done.store(true, Relaxed);
        eprintln!("{given_up:?} refused and done");
    });
}

/// As a block is freed after a shutdown, a pin is undone.
fn a_pin_outlives_a_shutdown() {
    let block = common::Block::new(SIZE);
    raw::pin(block.ptr, SIZE).unwrap();
    raw::shutdown().unwrap();
    raw::unpin(block.ptr, SIZE).unwrap();
    assert!(raw::unpin(block.ptr, SIZE).is_err());
    raw::init(None).unwrap();
    assert!(!is_pinned(block.ptr));
    raw::pin(block.ptr, SIZE).unwrap();
    raw::shutdown().unwrap();
    raw::init(None).unwrap();
    assert!(is_pinned(block.ptr));
    raw::unpin(block.ptr, SIZE).unwrap();
    assert!(!is_pinned(block.ptr));
}

/// One after the other: in a hole that one makes another's thread could have its stack.
#[test]
fn pins() {
    a_freed_block_takes_no_pin_of_its_neighbour_along();
    pins_that_share_a_page_do_not_end_together();
    a_pin_with_a_hole_can_be_undone();
    a_disowned_part_is_not_pinned();
    a_discard_gives_up_all_or_nothing();
    a_pin_outlives_a_shutdown();
}
