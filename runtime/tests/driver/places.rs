//! Where memory is on the device: its addresses, what lies behind them, and in what pieces it is made and given back.

use super::common::double::Double;
use super::common::{Block, kernels};
use super::memory::{check, device_ptr, fill, works};
use hmmrt::{Access, AccessMode, Error, LaunchArg, LaunchConfig, StreamId, raw};
use std::ffi::c_void;
use std::sync::atomic::Ordering::Relaxed;

/// A list is walked by its host pointers, as they stand in memory.
fn walk_by_host_pointers(nodes: &Block) -> [u64; 2] {
    let count = nodes.words() / 2;
    for i in 0..count {
        let next = if i + 1 < count { nodes.word(2 * (i + 1)).as_ptr() as u64 } else { 0 };
        nodes.word(2 * i).store(next, Relaxed);
        nodes.word(2 * i + 1).store(i as u64, Relaxed);
    }
    let out = Block::new(16);
    let (zero, head, max) = (0_u64, nodes.ptr as u64, count as u64);
    let value = |v: &u64| LaunchArg::Value { data: std::ptr::from_ref(v).cast(), size: 8 };
    let args = [
        LaunchArg::Pointer { ptr: out.ptr, len: 16, mode: AccessMode::Write },
        value(&zero), // no translation
        value(&zero),
        value(&head),
        value(&max),
    ];
    // SAFETY: the nodes are acquired for reading, and the list stays in them.
    unsafe {
        raw::acquire(
            0,
            StreamId::DEFAULT,
            &[Access { ptr: nodes.ptr, len: nodes.len, mode: AccessMode::Read }],
        )
        .unwrap();
        raw::launch(kernels::builtin(0, "hmm_list_walk"), &LaunchConfig::default(), &args).unwrap();
    }
    raw::release(0, StreamId::DEFAULT).unwrap();
    [out.word(0).load(Relaxed), out.word(1).load(Relaxed)]
}

/// Memory that is made after the devices were opened has their addresses.
pub fn same_address() {
    assert_eq!(raw::device_count(), Ok(2));
    assert!(raw::device_info(0).unwrap().same_address && !raw::device_info(1).unwrap().same_address);
    for len in [100, 40_000, 7 << 20] {
        let b = Block::new(len);
        assert_eq!(device_ptr(&b, 0), b.ptr, "{len}");
        assert_ne!(device_ptr(&b, 1), b.ptr, "{len}");
        works(&b);
    }
    let nodes = Block::new(1 << 20);
    let n = nodes.words() as u64 / 2;
    assert_eq!(walk_by_host_pointers(&nodes), [n, n * (n - 1) / 2]);
}

pub fn split() {
    assert!(!raw::device_info(0).unwrap().same_address);
    let b = Block::new(7 << 20);
    assert_ne!(device_ptr(&b, 0), b.ptr);
    works(&b);
}

/// Memory that was there before the devices.
pub fn late(in_place: bool) {
    let early = Block::new(5 << 20);
    fill(&early);
    assert_eq!(raw::device_count(), Ok(2));
    assert_eq!(raw::device_info(0).unwrap().same_address, in_place);
    check(&early);
    let later = Block::new(5 << 20);
    assert_eq!(device_ptr(&early, 0) == early.ptr, in_place);
    assert_eq!(device_ptr(&later, 0), later.ptr);
    works(&early);
    works(&later);
    drop(early);
    assert!(raw::device_info(0).unwrap().same_address, "all that is left, and to come");
}

/// What the program has mapped where an arena would be stays, though the driver reserves the addresses.
pub fn taken_place() {
    let (at, flags) = (0x7000_0000_1000, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE);
    let at = std::ptr::with_exposed_provenance_mut::<c_void>(at);
    // SAFETY: a new mapping where nothing is.
    let page = unsafe { libc::mmap(at, 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    assert_eq!(page, at);
    // SAFETY: a page of the test's.
    unsafe { page.cast::<u64>().write_volatile(77) };
    assert_eq!(raw::device_count(), Ok(2));
    let b = Block::new(5 << 20);
    // SAFETY: as above.
    assert_eq!(unsafe { page.cast::<u64>().read_volatile() }, 77);
    assert!(raw::device_info(0).unwrap().same_address);
    works(&b);
}

/// A driver without virtual memory management: an allocation for each block, which goes with it.
pub fn allocated() {
    let double = Double::of_case();
    raw::device_count().unwrap();
    assert!(!raw::device_info(0).unwrap().same_address);
    let before = double.used(0);
    for round in 0..20 {
        let blocks: Vec<Block> =
            [5_000, 100_000, 3 << 20, (2 << 20) * (1 + round % 5)].map(Block::new).into();
        blocks.iter().for_each(works);
        assert!(double.used(0) > before);
        if round == 10 {
            assert_eq!(raw::device_ptr(blocks[3].ptr, 0), raw::device_ptr(blocks[3].ptr, 0));
        }
    }
    // Small blocks' chunks stay with the heap; what they hold on the device does not.
    let small = 16 << 20;
    assert!(double.used(0) <= before + small, "{} bytes are left", double.used(0) - before);
    assert_eq!(double.calls("cuMemCreate", "hipMemCreate"), 0);
}

/// Few driver calls for much memory, and all of it given back.
pub fn groups(expected: u64) {
    let double = Double::of_case();
    raw::device_count().unwrap();
    let before = double.used(0);
    double.arm("");
    {
        let b = Block::new(64 << 20);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        assert_eq!(double.calls("cuMemCreate", "hipMemCreate"), expected);
        assert_eq!(double.used(0) - before, 64 << 20);
        // A part that comes home gives nothing back yet; all of it does.
        let c = Block::new(8192);
        raw::migrate(c.ptr, c.len, 0).unwrap();
        assert_eq!(double.used(0) - before, (64 << 20) + (2 << 20), "a small block takes one chunk");
    }
    let left = double.used(0) - before;
    assert!(left <= 2 << 20, "{left} bytes are left");
    assert_eq!(double.calls("pageable", "pageable"), 0);
}

/// When the device is full, groups are no reason to fail.
pub fn full() {
    raw::device_count().unwrap();
    let b = Block::new(64 << 20); // the device has 41 MiB
    fill(&b);
    let free = || raw::device_info(0).unwrap().memory_free;
    let before = free();
    let e = raw::migrate(b.ptr, b.len, 0).unwrap_err();
    assert!(matches!(e, Error::DeviceMemory { device: 0, .. }), "{e}");
    assert_eq!(free(), before, "what can't be there is refused at once");
    raw::migrate(b.ptr, 40 << 20, 0).unwrap();
    assert!(free() < 2 << 20);
    check(&b);
}

/// What is given back of a group that holds more leaves the rest where it is.
pub fn part_of_a_group() {
    raw::device_count().unwrap();
    let len = 16 << 20;
    let all = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping of our own, adopted, and disowned in part.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), len + (2 << 20), 3, all, -1, 0).cast::<u8>();
        let at = at.add(at.align_offset(2 << 20));
        (0..len / 8).for_each(|i| at.cast::<u64>().add(i).write(i as u64));
        raw::adopt(at, len).unwrap();
        raw::migrate(at, len, 0).unwrap();
        raw::disown(at, 2 << 20).unwrap();
        raw::disown(at.add(6 << 20), 4 << 20).unwrap();
        assert!((0..len / 8).all(|i| at.cast::<u64>().add(i).read() == i as u64));
        raw::disown(at.add(2 << 20), 4 << 20).unwrap();
        raw::disown(at.add(10 << 20), 6 << 20).unwrap();
    }
    assert_eq!(raw::stats().device_bytes, 0);
}
