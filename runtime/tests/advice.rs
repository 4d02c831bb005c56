//! What advice changes, in bytes that move, under every policy; that blocks which share a chunk do not move each other; and what
//! the counters say of why bytes moved. Each case has a process of its own: the counters are the process's.

mod common;

use common::{Block, Rng};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Advice, Config, Page, PolicyChoice, StreamId};
use std::sync::atomic::Ordering::Relaxed;

const CHUNK: usize = 2 << 20;
const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;
/// A page in the middle of the second chunk, as a word.
const WORD: usize = (CHUNK + 100 * 4096) / 8;

/// Runs `case` in a process of its own for each policy.
fn alone(name: &str, policies: &[PolicyChoice], case: impl Fn(PolicyChoice)) {
    if let Some(chosen) = common::case() {
        let policy = PolicyChoice::parse("HMMRT_CASE", &chosen).unwrap();
        raw::init(Some(Config { policy, ..common::config() })).unwrap();
        raw::device_count().unwrap();
        return case(policy);
    }
    for policy in policies {
        let out = common::run_case(name, policy.name(), &[]);
        assert!(out.status.success(), "{}: {}", policy.name(), String::from_utf8_lossy(&out.stderr));
    }
}

const ALL: [PolicyChoice; 4] =
    [PolicyChoice::Chunk, PolicyChoice::Auto, PolicyChoice::Demand, PolicyChoice::Uvm];

fn filled(len: usize) -> Block {
    let b = Block::new(len);
    (0..b.words()).step_by(512).for_each(|i| b.word(i).store(i as u64 + 1, Relaxed));
    b
}

/// Reads a word of every page. In order.
fn read(b: &Block) {
    assert!((0..b.words()).step_by(512).all(|i| b.word(i).load(Relaxed) == i as u64 + 1));
}

/// Acquires all of it on the first device, and releases it.
fn visit(b: &Block, mode: AccessMode) {
    let access = [Access { ptr: b.ptr, len: b.len, mode }];
    // SAFETY: no kernel is queued: nothing is written.
    unsafe { raw::acquire(0, StreamId::DEFAULT, &access).unwrap() };
    raw::release(0, StreamId::DEFAULT).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
}

fn advise(b: &Block, what: Advice, to: i32) {
    raw::advise(b.ptr, b.len, what, to).unwrap();
}

/// Bytes to the device and home.
fn moved(f: impl FnOnce()) -> (u64, u64) {
    let before = raw::stats();
    f();
    let now = raw::stats();
    (now.bytes_to_device - before.bytes_to_device, now.bytes_to_host - before.bytes_to_host)
}

/// A CPU touch of one word of what the device alone has: bytes home.
fn touch_of_owned(b: &Block, write: bool) -> u64 {
    visit(b, AccessMode::ReadWrite);
    moved(|| {
        let was = b.word(WORD).load(Relaxed);
        assert_eq!(was, WORD as u64 + 1);
        if write {
            b.word(WORD).store(was, Relaxed);
        }
    })
    .1
}

/// A CPU write of one word of what both have: bytes that the next use costs.
fn write_of_shared(b: &Block) -> u64 {
    visit(b, AccessMode::ReadWrite);
    raw::host_ready(b.ptr, b.len, AccessMode::Read).unwrap();
    visit(b, AccessMode::Read);
    moved(|| {
        b.word(WORD).store(WORD as u64 + 1, Relaxed);
        visit(b, AccessMode::Read);
    })
    .0
}

#[test]
fn read_mostly_keeps_both_copies() {
    alone("read_mostly_keeps_both_copies", &ALL, |policy| {
        let b = filled(2 * CHUNK);
        advise(&b, Advice::ReadMostly, HMM_HOST);
        assert_eq!(moved(|| _ = raw::migrate(b.ptr, b.len, 0).unwrap()), (4 * MIB, 0));
        assert_eq!(moved(|| read(&b)), (0, 0), "the host's copy stays");
        assert_eq!(moved(|| visit(&b, AccessMode::Read)), (0, 0), "and the device's");
        // With the launch that it follows: what launches are followed by may come home by itself.
        let home_after = |f: &dyn Fn()| {
            moved(|| {
                visit(&b, AccessMode::ReadWrite);
                f();
            })
            .1
        };
        assert_eq!(home_after(&|| read(&b)), 4 * MIB);
        assert_eq!(moved(|| visit(&b, AccessMode::Read)), (0, 0), "reading leaves the device its copy");
        assert_eq!(home_after(&|| _ = raw::migrate(b.ptr, b.len, HMM_HOST).unwrap()), 4 * MIB);
        assert_eq!(moved(|| visit(&b, AccessMode::Read)), (0, 0), "so does a move home");
        if policy == PolicyChoice::Chunk {
            assert_eq!(write_of_shared(&b), 2 * MIB);
        }
        advise(&b, Advice::UnsetReadMostly, HMM_HOST);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        assert_eq!(moved(|| read(&b)).1, 4 * MIB, "taken back");
        raw::migrate(b.ptr, b.len, HMM_HOST).unwrap();
        assert_eq!(moved(|| visit(&b, AccessMode::Read)), (4 * MIB, 0), "taken back");
    });
}

#[test]
fn what_prefers_a_device_stays_there() {
    alone("what_prefers_a_device_stays_there", &ALL, |policy| {
        let b = filled(2 * CHUNK);
        advise(&b, Advice::PreferredLocation, 0);
        for write in [false, true] {
            let home = touch_of_owned(&b, write);
            assert!((4 * KIB..=64 * KIB).contains(&home), "{home}");
            if policy == PolicyChoice::Chunk {
                assert_eq!(home, 64 * KIB);
            }
        }
        assert!(moved(|| visit(&b, AccessMode::Read)).0 <= 64 * KIB, "the rest is there still");
        assert!(write_of_shared(&b) <= 64 * KIB);
        advise(&b, Advice::UnsetPreferredLocation, 0);
        if policy == PolicyChoice::Chunk {
            assert_eq!(touch_of_owned(&b, false), 2 * MIB, "taken back");
        }
    });
}

#[test]
fn what_prefers_the_host_stays_there() {
    alone("what_prefers_the_host_stays_there", &ALL, |policy| {
        let b = filled(2 * CHUNK);
        let there_and_back = || {
            moved(|| {
                raw::prefetch(b.ptr, b.len, 0, StreamId::DEFAULT).unwrap();
                raw::stream_synchronize(StreamId::DEFAULT).unwrap();
                read(&b);
            })
        };
        advise(&b, Advice::PreferredLocation, HMM_HOST);
        assert_eq!(there_and_back(), (4 * MIB, 0), "the host's copy stays");
        assert_eq!(touch_of_owned(&b, false), 2 * MIB, "what was taken comes home at once");
        advise(&b, Advice::UnsetPreferredLocation, HMM_HOST);
        visit(&b, AccessMode::Read);
        assert_eq!(there_and_back(), (0, 4 * MIB), "taken back");
        if policy == PolicyChoice::Demand {
            assert_eq!(touch_of_owned(&b, false), 4 * KIB);
        }
    });
}

#[test]
fn what_is_accessed_by_a_device_stays_valid_there() {
    alone("what_is_accessed_by_a_device_stays_valid_there", &ALL, |policy| {
        let b = filled(2 * CHUNK);
        advise(&b, Advice::AccessedBy, 0);
        let again = write_of_shared(&b);
        assert!((4 * KIB..=64 * KIB).contains(&again), "{again}");
        advise(&b, Advice::UnsetAccessedBy, 0);
        if policy == PolicyChoice::Chunk {
            assert_eq!(write_of_shared(&b), 2 * MIB, "taken back");
        }
        let c = filled(2 * CHUNK);
        advise(&c, Advice::AccessedBy, HMM_HOST);
        raw::migrate(c.ptr, c.len, 0).unwrap();
        assert_eq!(moved(|| read(&c)), (0, 0), "the CPU accesses it");
        advise(&c, Advice::UnsetAccessedBy, HMM_HOST);
        raw::migrate(c.ptr, c.len, 0).unwrap();
        assert_eq!(moved(|| read(&c)), (0, 4 * MIB), "taken back");
    });
}

#[test]
fn the_order_of_touches_says_how_much_comes() {
    alone("the_order_of_touches_says_how_much_comes", &ALL, |policy| {
        let b = filled(2 * CHUNK);
        let plain = touch_of_owned(&b, false);
        match policy {
            PolicyChoice::Chunk => assert_eq!(plain, 2 * MIB),
            PolicyChoice::Demand => assert_eq!(plain, 4 * KIB),
            PolicyChoice::Uvm => assert_eq!(plain, 64 * KIB),
            PolicyChoice::Auto => {}
        }
        advise(&b, Advice::Random, HMM_HOST);
        assert_eq!((touch_of_owned(&b, false), touch_of_owned(&b, true)), (4 * KIB, 4 * KIB));
        assert_eq!(write_of_shared(&b), 4 * KIB);
        advise(&b, Advice::Sequential, HMM_HOST);
        let before = raw::stats().faults;
        assert!(touch_of_owned(&b, false) >= 2 * MIB);
        if !common::is_messaged() {
            assert_eq!(raw::stats().faults - before, 1);
        }
        advise(&b, Advice::UnsetPattern, HMM_HOST);
        if policy != PolicyChoice::Auto {
            assert_eq!(touch_of_owned(&b, false), plain, "taken back");
        }
    });
}

#[test]
fn blocks_that_share_a_chunk_do_not_move_each_other() {
    alone("blocks_that_share_a_chunk_do_not_move_each_other", &ALL, |policy| {
        // What a touch of `len` bytes brings.
        let comes = |len: usize| match policy {
            PolicyChoice::Chunk => len as u64,
            PolicyChoice::Uvm => 64 * KIB,
            PolicyChoice::Auto if len as u64 <= 64 * KIB => len as u64,
            PolicyChoice::Auto | PolicyChoice::Demand => 4 * KIB,
        };
        let owned =
            |b: &Block| b.pages().iter().all(|p| p.flags & (Page::HOST | Page::DEVICE) == Page::DEVICE);
        let small: Vec<Block> = (0..4).map(|_| filled(64 << 10)).collect();
        let chunk = |b: &Block| b.ptr.addr() / CHUNK;
        assert!(small.iter().all(|b| chunk(b) == chunk(&small[0])), "one slab");
        small.iter().for_each(|b| visit(b, AccessMode::ReadWrite));
        assert_eq!(moved(|| _ = small[1].word(9).load(Relaxed)), (0, comes(64 << 10)));
        assert!([0, 2, 3].iter().all(|i| owned(&small[*i])));
        assert_eq!(moved(|| visit(&small[2], AccessMode::ReadWrite)), (0, 0));

        // The program's own memory: 174 pages and 1 MiB of one chunk, with a page of neither in between.
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 2 * CHUNK, prot, flags, -1, 0) }.cast::<u8>();
        let at = at.wrapping_add(at.align_offset(CHUNK));
        let (first, second) = (174 << 12, 1 << 20);
        let other = at.wrapping_add(first + 4096);
        for (p, len) in [(at, first), (other, second)] {
            // SAFETY: mapped above, private and anonymous; it stays mapped.
            unsafe {
                p.write_bytes(7, len);
                raw::adopt(p, len).unwrap();
            }
            raw::migrate(p, len, 0).unwrap();
        }
        // The last page: the next 64 KiB begin behind the second's first page.
        let end = match policy {
            PolicyChoice::Uvm => 56 * KIB,
            _ => comes(first),
        };
        // SAFETY: mapped above.
        assert_eq!(moved(|| assert_eq!(unsafe { at.add(first - 5).read_volatile() }, 7)), (0, end));
        // SAFETY: mapped above.
        assert_eq!(moved(|| unsafe { other.add(5000).write_volatile(8) }), (0, comes(second)));
        // SAFETY: adopted above; nobody uses a device with them any more.
        unsafe {
            raw::disown(at, first).unwrap();
            raw::disown(other, second).unwrap();
            assert_eq!((at.read(), other.add(5000).read()), (7, 8));
        }
    });
}

#[test]
fn each_reason_has_its_bytes() {
    alone("each_reason_has_its_bytes", &[PolicyChoice::Chunk], |_| {
        let b = filled(CHUNK);
        let prefetch = |to| {
            raw::prefetch(b.ptr, b.len, to, StreamId::DEFAULT).unwrap();
            raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        };
        let all = CHUNK as u64;
        visit(&b, AccessMode::ReadWrite);
        b.word(0).store(1, Relaxed);
        prefetch(0);
        prefetch(HMM_HOST);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::migrate(b.ptr, b.len, HMM_HOST).unwrap();
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::host_ready(b.ptr, b.len, AccessMode::Write).unwrap();
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::shutdown().unwrap();
        let (out, home) = common::reasons();
        assert_eq!(out, [all, all, 0, 3 * all, 0, 0]);
        assert_eq!(home, [all, all, 0, 2 * all, 0, all]);
    });
}

#[test]
fn reasons_come_to_all_that_moved() {
    alone("reasons_come_to_all_that_moved", &ALL, |_| {
        let blocks = [filled(CHUNK), filled(3 * CHUNK), filled(64 << 10)];
        // One of each for certain.
        visit(&blocks[1], AccessMode::ReadWrite);
        read(&blocks[1]);
        // What was read may still be on the device, too: then the call had nothing to copy.
        (1..blocks[1].words()).step_by(512).for_each(|i| _ = blocks[1].word(i).fetch_add(1, Relaxed));
        raw::migrate(blocks[1].ptr, blocks[1].len, 0).unwrap();
        raw::migrate(blocks[1].ptr, blocks[1].len, HMM_HOST).unwrap();
        let mut rng = Rng(common::seed());
        for _ in 0..(200.0 * common::scale()) as usize + 50 {
            let b = &blocks[rng.below(3)];
            let to = if rng.below(2) == 0 { HMM_HOST } else { common::two_devices()[rng.below(2)] };
            match rng.below(6) {
                0 => _ = b.word(rng.below(b.words())).load(Relaxed),
                1 => _ = b.word(rng.below(b.words()) | 1).fetch_add(1, Relaxed),
                2 => raw::prefetch(b.ptr, b.len, to, StreamId::DEFAULT).unwrap(),
                3 => _ = raw::migrate(b.ptr, b.len, to).unwrap(),
                4 => raw::host_ready(b.ptr, b.len / 2, AccessMode::Read).unwrap(),
                _ => visit(b, if rng.below(2) == 0 { AccessMode::Read } else { AccessMode::ReadWrite }),
            }
        }
        // Prefetches may be under way, on both devices.
        raw::shutdown().unwrap();
        let (out, home) = common::reasons();
        assert!(out[0] > 0 && out[3] > 0 && home[0] > 0 && home[3] > 0, "{out:?} {home:?}");
        blocks.iter().for_each(read);
    });
}

#[test]
fn prefetched_bytes_are_used_or_wasted() {
    alone("prefetched_bytes_are_used_or_wasted", &[PolicyChoice::Chunk], |_| {
        let b = filled(4 * CHUNK);
        let part = |chunk: usize| b.ptr.wrapping_add(chunk * CHUNK);
        let so_far = || {
            let s = raw::stats();
            (s.prefetched_bytes_used / (2 * MIB), s.prefetched_bytes_wasted / (2 * MIB))
        };
        raw::prefetch(b.ptr, b.len, 0, StreamId::DEFAULT).unwrap();
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        assert_eq!(so_far(), (0, 0));
        let access = [Access { ptr: part(0), len: CHUNK, mode: AccessMode::Read }];
        // SAFETY: no kernel is queued: nothing is written.
        unsafe { raw::acquire(0, StreamId::DEFAULT, &access).unwrap() };
        raw::release(0, StreamId::DEFAULT).unwrap();
        assert_eq!(so_far(), (1, 0), "a device used one");
        b.word(CHUNK / 8).store(CHUNK as u64 / 8 + 1, Relaxed);
        raw::host_ready(part(1), CHUNK, AccessMode::Write).unwrap(); // who answers touches may count them a moment later
        assert_eq!(so_far(), (1, 1), "the CPU took one back");
        raw::migrate(part(2), CHUNK, HMM_HOST).unwrap();
        assert_eq!(so_far(), (1, 2), "one was brought home");
        read(&b);
        drop(b);
        assert_eq!(so_far(), (1, 3), "one was freed; none counts twice");
    });
}
