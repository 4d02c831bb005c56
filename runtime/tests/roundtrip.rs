//! Pages go to the device and come home: whole chunks, parts, small blocks, untouched pages, every mode of access.

mod common;

use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Advice, KernelId, LaunchArg, LaunchConfig, Page, PolicyChoice, StreamId};

fn block(len: usize) -> &'static mut [u8] {
    let p = raw::malloc(len).unwrap();
    // SAFETY: a fresh block of `len` bytes that the test owns.
    unsafe { core::slice::from_raw_parts_mut(p, len) }
}

fn pages(s: &[u8]) -> Vec<Page> {
    let mut out = vec![Page::default(); s.len().div_ceil(4096)];
    raw::query(s.as_ptr(), s.len(), &mut out).unwrap();
    out
}

fn kernel(name: &str) -> KernelId {
    raw::kernel_get(raw::module_builtin(0).unwrap(), name).unwrap()
}

fn states(s: &[u8]) -> Vec<u32> {
    pages(s).iter().map(|p| p.flags & 7).collect()
}

#[test]
fn whole_and_partial_chunks_come_home_by_themselves() {
    for len in [1usize, 4096, 10_000, 1 << 20, 2 << 20, (2 << 20) + 1, 7 << 20, (8 << 20) + 12345] {
        let s = block(len);
        for (i, b) in s.iter_mut().enumerate() {
            *b = ((i * 31) >> 3) as u8;
        }
        let moved = raw::migrate(s.as_ptr(), len, 0).unwrap();
        assert_eq!(moved, len.div_ceil(4096));
        assert!(states(s).iter().all(|f| *f == Page::DEVICE), "{len}: {:?}", states(s));
        for (i, b) in s.iter().enumerate() {
            assert_eq!(*b, ((i * 31) >> 3) as u8, "byte {i} of {len}");
        }
        let after = states(s);
        let kept = |i: usize| !common::is_watched() || len.div_ceil(4096) - i / 512 * 512 <= 16;
        let read = |i| if kept(i) { Page::DEVICE | Page::HOST } else { Page::HOST };
        // By `auto` some of it comes in single pages, of which the device keeps its copy.
        let by_page = common::is_watched() && common::config().policy == PolicyChoice::Auto;
        let is_right = |i, f| f == read(i) || by_page && f == Page::DEVICE | Page::HOST;
        assert!(after.iter().enumerate().all(|(i, f)| is_right(i, *f)), "{len}: {after:?}");
        s[len / 2] = 7;
        assert_eq!(states(s)[len / 2 / 4096], Page::HOST);
        assert_eq!(s[len / 2], 7);
        // SAFETY: not used any more.
        unsafe { raw::free(s.as_mut_ptr()).unwrap() };
    }
}

#[test]
fn untouched_pages_move_without_a_copy() {
    let s = block(16 << 20);
    s[5 << 20] = 1;
    assert!(states(s).iter().filter(|f| **f == Page::UNTOUCHED).count() >= 7 * 512 - 512);
    raw::migrate(s.as_ptr(), s.len(), 0).unwrap();
    assert!(states(s).iter().all(|f| *f == Page::DEVICE));
    assert_eq!(s.iter().map(|b| *b as u64).sum::<u64>(), 1);
}

#[test]
fn kernels_see_and_change_the_bytes() {
    let n = 3 << 20;
    let x = block(n * 4);
    let y = block(n * 4);
    let (xf, yf) = (x.as_mut_ptr().cast::<f32>(), y.as_mut_ptr().cast::<f32>());
    for i in 0..n {
        // SAFETY: inside the blocks.
        unsafe {
            xf.add(i).write(i as f32);
            yf.add(i).write(1.0);
        }
    }
    let (a, count) = (2.0f32, n as u64);
    let args = [
        LaunchArg::Pointer { ptr: y.as_ptr(), len: y.len(), mode: AccessMode::ReadWrite },
        LaunchArg::Pointer { ptr: x.as_ptr(), len: x.len(), mode: AccessMode::Read },
        LaunchArg::Value { data: (&raw const a).cast(), size: 4 },
        LaunchArg::Value { data: (&raw const count).cast(), size: 8 },
    ];
    // SAFETY: the arguments fit the kernel.
    unsafe { raw::launch(kernel("hmm_saxpy"), &LaunchConfig::linear(n, 256), &args).unwrap() };
    for i in 0..n {
        // SAFETY: inside the blocks; a read waits for the kernel.
        let (x, y) = unsafe { (xf.add(i).read_volatile(), yf.add(i).read_volatile()) };
        assert_eq!(y, 1.0 + 2.0 * i as f32);
        assert_eq!(x, i as f32);
    }
    assert!(
        states(x).iter().all(|f| *f == Page::DEVICE | Page::HOST),
        "what was only read stays valid on both sides"
    );
}

#[test]
fn small_blocks_do_not_move_their_neighbours() {
    let blocks: Vec<_> = (0..64).map(|_| block(3 * 4096)).collect();
    raw::migrate(blocks[10].as_ptr(), blocks[10].len(), 0).unwrap();
    for (i, b) in blocks.iter().enumerate() {
        assert_eq!(pages(b)[1].device, if i == 10 { 0 } else { -1 }, "block {i}");
    }
    raw::migrate(blocks[11].as_ptr(), blocks[11].len(), 0).unwrap();
    assert_eq!(blocks[10][5000], 0);
    assert_eq!(pages(blocks[11])[1].flags & 7, Page::DEVICE);
}

#[test]
fn random_advice_brings_single_pages() {
    let s = block(4 << 20);
    s.fill(9);
    raw::advise(s.as_ptr(), s.len(), Advice::Random, HMM_HOST).unwrap();
    raw::migrate(s.as_ptr(), s.len(), 0).unwrap();
    assert_eq!(s[100 * 4096 + 5], 9);
    let st = states(s);
    assert_eq!(st[100], Page::DEVICE | Page::HOST);
    assert_eq!((st[99], st[101]), (Page::DEVICE, Page::DEVICE));
    s[200 * 4096] = 1;
    assert_eq!(states(s)[200], Page::HOST);
    assert!(s.iter().map(|b| *b as u64).sum::<u64>() == 9 * (4 << 20) - 8);
}

#[test]
fn write_only_ranges_keep_their_neighbours_bytes() {
    let s = block(2 << 20);
    s.fill(5);
    let (from, to) = (10_000, 1_000_000);
    // SAFETY: the kernel writes all of the range.
    unsafe {
        let part = Access { ptr: s.as_ptr().add(from), len: to - from, mode: AccessMode::Write };
        raw::acquire(0, StreamId::DEFAULT, &[part]).unwrap();
        // By its device address: the range is acquired already.
        let (at, n, v) = (raw::device_ptr(s.as_ptr().add(from), 0).unwrap() as u64, (to - from) as u64, 8u8);
        let args = [
            LaunchArg::Value { data: (&raw const at).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const v).cast(), size: 1 },
        ];
        let fill = common::kernels::kernel(0, "test_fill_bytes");
        raw::launch(fill, &LaunchConfig::default(), &args).unwrap();
    }
    raw::release(0, StreamId::DEFAULT).unwrap();
    for (i, b) in s.iter().enumerate() {
        assert_eq!(*b, if (from..to).contains(&i) { 8 } else { 5 }, "{i}");
    }
}

/// Catches: a kernel that works in place finds whatever the device's memory held, its result being named first.
#[test]
fn write_only_ranges_are_copied_where_the_same_call_reads_them() {
    let (len, at) = (20 << 20, block(20 << 20).as_mut_ptr());
    // Others each time: the device's memory may hold the last ones.
    let word = |i: usize, round: u64| (i as u64) << 20 | round << 4 | 7;
    let fill = |round: u64| {
        // SAFETY: inside of the test's own block, which nobody else uses now.
        (0..len / 8).for_each(|i| unsafe { at.cast::<u64>().add(i).write(word(i, round)) });
    };
    let mut round = 0;
    let part = |range: &std::ops::Range<usize>, mode| Access {
        ptr: at.wrapping_add(range.start),
        len: range.len(),
        mode,
    };
    // The whole of it, short enough for one thread and not; and a part, from the middle of a page to the middle of another.
    for (written, read) in [
        (0..5 << 20, 0..5 << 20),
        (0..20 << 20, 0..20 << 20),
        (0..20 << 20, 5_000_000..7_000_000),
        (4096..4 << 20, 0..8192),
    ] {
        for writes_first in [true, false] {
            round += 1;
            fill(round);
            let mut all = [part(&written, AccessMode::Write), part(&read, AccessMode::Read)];
            if !writes_first {
                all.reverse();
            }
            // SAFETY: what is only written counts as written.
            unsafe { raw::acquire(0, StreamId::DEFAULT, &all).unwrap() };
            raw::release(0, StreamId::DEFAULT).unwrap();
            for i in read.start.div_ceil(8)..read.end / 8 {
                // SAFETY: inside of the block.
                let found = unsafe { at.cast::<u64>().add(i).read_volatile() };
                assert_eq!(found, word(i, round), "word {i} of {read:?} in {written:?}, {writes_first}");
            }
        }
    }
    let (len, n) = (4 << 20, 4_u64 << 20);
    fill(0);
    let args = [
        LaunchArg::Pointer { ptr: at, len, mode: AccessMode::Write },
        LaunchArg::Pointer { ptr: at, len, mode: AccessMode::Read },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
    ];
    // SAFETY: the arguments fit the kernel.
    unsafe { raw::launch(kernel("hmm_copy"), &LaunchConfig::linear(len, 256), &args).unwrap() };
    // SAFETY: inside of the block.
    (0..len / 8).for_each(|i| unsafe {
        assert_eq!(at.cast::<u64>().add(i).read_volatile(), word(i, 0), "word {i}");
    });
}

#[test]
fn realloc_moves_on_the_device() {
    let s = block(5 << 20);
    s.iter_mut().enumerate().for_each(|(i, b)| *b = (i >> 7) as u8);
    raw::migrate(s.as_ptr(), 4 << 20, 0).unwrap();
    let before = raw::stats().bytes_to_host;
    // SAFETY: the old pointer is not used again.
    let p = unsafe { raw::realloc(s.as_mut_ptr(), 50 << 20).unwrap() };
    // SAFETY: the new block.
    let s = unsafe { core::slice::from_raw_parts_mut(p, 50 << 20) };
    assert_eq!(states(&s[..4 << 20]).iter().filter(|f| **f == Page::DEVICE).count(), 1024);
    let _ = before;
    for (i, b) in s[..5 << 20].iter().enumerate() {
        assert_eq!(*b, (i >> 7) as u8);
    }
}
