//! More than a device has: what leaves it, what must not, and that every byte is right afterwards. The host backend with a
//! device of 16 chunks, in a process of its own.

mod common;

use common::{Block, double};
use hmmrt::{Access, AccessMode, Advice, Error, Page, StreamId, raw};
use std::sync::atomic::Ordering::Relaxed;

const CHUNK: usize = 2 << 20;
const DEVICE: usize = 16;

fn alone(name: &str, policy: &str, case: impl Fn()) {
    if common::case().is_some() {
        return case();
    }
    run(name, "small", &[("HMMRT_HOST_MEMORY", "32M"), ("HMMRT_BACKEND", "host"), ("HMMRT_POLICY", policy)]);
}

fn run(name: &str, case: &str, settings: &[(&str, &str)]) {
    let out = common::run_case(name, case, settings);
    assert!(out.status.success(), "{settings:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// On two devices of 16 chunks each, of the host backend and of the drivers' doubles, with `HMMRT_SPILL`. Under `chunk`: nothing comes
/// home but for want of room.
fn with_peer(name: &str, spill: &str, case: impl Fn()) {
    if common::case().is_some() {
        return case();
    }
    let (spill, policy) = (("HMMRT_SPILL", spill), ("HMMRT_POLICY", "chunk"));
    let host = [("HMMRT_HOST_MEMORY", "32M"), ("HMMRT_HOST_DEVICES", "2"), ("HMMRT_BACKEND", "host")];
    run(name, "host", &[&host[..], &[spill, policy]].concat());
    for kind in double::KINDS {
        let library = double::library(kind);
        let library = (double::variable(kind), library.to_str().unwrap());
        let small = [("HMMRT_DOUBLE_MEMORY", "32M"), ("HMMRT_DEVICE_GROUP", "2M")];
        run(name, kind, &[("HMMRT_BACKEND", kind), library, spill, policy, small[0], small[1]]);
    }
}

/// How many of a block's chunks are on `device` only.
fn on(b: &Block, device: i32) -> usize {
    let there = |p: &&Page| p.flags & (Page::HOST | Page::DEVICE) == Page::DEVICE && p.device == device;
    b.pages().iter().filter(there).count() / 512
}

/// Bytes that left full devices, to peers and home.
fn left() -> (usize, usize) {
    let s = raw::stats();
    (s.evict_bytes_to_device as usize / CHUNK, s.evict_bytes_to_host as usize / CHUNK)
}

fn fill(b: &Block, seed: u64) {
    (0..b.words()).step_by(64).for_each(|i| b.word(i).store(seed ^ i as u64, Relaxed));
}

fn check(b: &Block, seed: u64) {
    assert!((0..b.words()).step_by(64).all(|i| b.word(i).load(Relaxed) == seed ^ i as u64));
}

/// Acquires and releases a part, and waits.
fn visit(b: &Block, chunk: usize, count: usize, mode: AccessMode) -> Result<(), Error> {
    let ptr = b.ptr.wrapping_add(chunk * CHUNK).cast_const();
    let access = [Access { ptr, len: count * CHUNK, mode }];
    // SAFETY: no kernel is queued: nothing is written.
    unsafe { raw::acquire(0, StreamId::DEFAULT, &access)? };
    raw::release(0, StreamId::DEFAULT)?;
    raw::stream_synchronize(StreamId::DEFAULT)
}

#[test]
fn a_sweep_over_more_than_there_is_keeps_what_comes_next() {
    let name = "a_sweep_over_more_than_there_is_keeps_what_comes_next";
    alone(name, "auto", || {
        raw::device_count().unwrap();
        let b = Block::new(24 * CHUNK);
        fill(&b, 7);
        let mut sent = Vec::new();
        // The least recently used would be all 24, every time. A round has some more than another: what leaves early, behind it,
        // depends on when.
        while sent.len() < 6 || sent[sent.len() - 3..].iter().sum::<usize>() > 3 * 16 {
            assert!(sent.len() < 30, "{sent:?}");
            let before = raw::stats().bytes_to_device;
            (0..12).for_each(|tile| visit(&b, tile * 2, 2, AccessMode::ReadWrite).unwrap());
            sent.push((raw::stats().bytes_to_device - before) as usize / CHUNK);
        }
        assert!(raw::stats().evictions > 0);
        assert!(raw::stats().device_bytes <= (DEVICE * CHUNK) as u64);
        check(&b, 7);
    });
}

#[test]
fn what_is_clean_or_old_leaves_and_what_is_pinned_or_acquired_does_not() {
    let name = "what_is_clean_or_old_leaves_and_what_is_pinned_or_acquired_does_not";
    alone(name, "auto", || {
        raw::device_count().unwrap();
        let [clean, dirty, more] = [Block::new(8 * CHUNK), Block::new(8 * CHUNK), Block::new(4 * CHUNK)];
        fill(&clean, 1);
        fill(&dirty, 2);
        fill(&more, 3);
        visit(&clean, 0, 8, AccessMode::Read).unwrap();
        visit(&dirty, 0, 8, AccessMode::ReadWrite).unwrap();
        let before = raw::stats().bytes_to_host;
        visit(&more, 0, 4, AccessMode::ReadWrite).unwrap();
        let now = raw::stats();
        assert_eq!((now.evictions, now.bytes_to_host - before), (4, 0), "clean chunks cost nothing");
        // All is in use: a precise error.
        let held = [
            Access { ptr: dirty.ptr.cast_const(), len: dirty.len, mode: AccessMode::ReadWrite },
            Access { ptr: more.ptr.cast_const(), len: more.len, mode: AccessMode::Read },
        ];
        // SAFETY: no kernel is queued: nothing is written.
        unsafe { raw::acquire(0, StreamId::DEFAULT, &held).unwrap() };
        let other = Block::new(8 * CHUNK);
        fill(&other, 4);
        let e = raw::migrate(other.ptr, other.len, 0).unwrap_err();
        assert!(
            matches!(e, Error::DeviceMemory { bytes, memory, .. }
            if bytes == 8 * CHUNK && memory as usize == DEVICE * CHUNK),
            "{e}"
        );
        raw::release(0, StreamId::DEFAULT).unwrap();
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        raw::migrate(other.ptr, other.len, 0).unwrap();
        for (b, seed) in [(&clean, 1), (&dirty, 2), (&more, 3), (&other, 4)] {
            check(b, seed);
        }
    });
}

#[test]
fn a_working_set_that_is_too_large_is_an_error_with_both_numbers() {
    let name = "a_working_set_that_is_too_large_is_an_error_with_both_numbers";
    alone(name, "auto", || {
        raw::device_count().unwrap();
        let [old, b] = [Block::new(8 * CHUNK), Block::new(20 * CHUNK)];
        fill(&old, 4);
        fill(&b, 5);
        visit(&old, 0, 8, AccessMode::ReadWrite).unwrap();
        let moved = || (raw::stats().bytes_to_device, raw::stats().bytes_to_host, raw::stats().evictions);
        let before = moved();
        let refused = |e: Error| {
            let text = e.to_string();
            assert!(text.contains("41943040") && text.contains("33554432"), "{text}");
            assert_eq!(moved(), before, "nothing has moved for what can't be");
        };
        refused(visit(&b, 0, 20, AccessMode::ReadWrite).unwrap_err());
        refused(raw::migrate(b.ptr, b.len, 0).unwrap_err());
        // Ranges that share a chunk need it once.
        let half = CHUNK / 2;
        let ranges =
            (0..34).map(|i| Access { ptr: b.ptr.wrapping_add(i * half), len: half, mode: AccessMode::Read });
        let all: Vec<Access> = ranges.collect();
        // SAFETY: no kernel is queued: nothing is written.
        unsafe { raw::acquire(0, StreamId::DEFAULT, &all[..32]).unwrap() };
        raw::release(0, StreamId::DEFAULT).unwrap();
        // SAFETY: as above.
        let e = unsafe { raw::acquire(0, StreamId::DEFAULT, &all).unwrap_err() };
        assert!(e.to_string().contains("35651584"), "{e}");
        check(&old, 4);
        visit(&b, 2, 16, AccessMode::ReadWrite).unwrap();
        check(&b, 5);
    });
}

#[test]
fn advice_says_who_leaves_first_and_who_last() {
    let name = "advice_says_who_leaves_first_and_who_last";
    alone(name, "chunk", || {
        raw::device_count().unwrap();
        let leaves = |advised: Option<(Advice, i32)>, which: usize| {
            let blocks = [Block::new(8 * CHUNK), Block::new(8 * CHUNK)];
            blocks.iter().for_each(|b| fill(b, 1));
            if let Some((what, to)) = advised {
                raw::advise(blocks[which].ptr, blocks[which].len, what, to).unwrap();
            }
            blocks.iter().for_each(|b| visit(b, 0, 8, AccessMode::ReadWrite).unwrap());
            let more = Block::new(4 * CHUNK);
            visit(&more, 0, 4, AccessMode::ReadWrite).unwrap();
            let stayed = (on(&blocks[0], 0), on(&blocks[1], 0));
            blocks.iter().for_each(|b| check(b, 1));
            stayed
        };
        assert_eq!(leaves(None, 0), (4, 8), "the older one");
        assert_eq!(leaves(Some((Advice::PreferredLocation, 0)), 0), (8, 4));
        assert_eq!(leaves(Some((Advice::AccessedBy, 0)), 0), (8, 4));
        assert_eq!(leaves(Some((Advice::PreferredLocation, raw::HMM_HOST)), 1), (8, 4));
        assert_eq!(leaves(Some((Advice::UnsetPreferredLocation, 0)), 0), (4, 8));
    });
}

#[test]
fn room_comes_from_what_is_neither_pinned_nor_in_use() {
    let name = "room_comes_from_what_is_neither_pinned_nor_in_use";
    alone(name, "chunk", || {
        raw::device_count().unwrap();
        let [a, b] = [Block::new(12 * CHUNK), Block::new(8 * CHUNK)];
        fill(&a, 1);
        fill(&b, 2);
        visit(&a, 0, 12, AccessMode::ReadWrite).unwrap();
        raw::pin(a.ptr.wrapping_add(3 * CHUNK), 4096).unwrap();
        let held = [Access { ptr: a.ptr.wrapping_add(CHUNK), len: CHUNK, mode: AccessMode::ReadWrite }];
        // SAFETY: no kernel is queued: nothing is written.
        unsafe { raw::acquire(0, StreamId::DEFAULT, &held).unwrap() };
        raw::migrate(b.ptr, b.len, 0).unwrap();
        let flags =
            |chunk: usize, page: usize| a.pages()[chunk * 512 + page].flags & (Page::HOST | Page::DEVICE);
        assert_eq!(flags(1, 0), Page::DEVICE, "in use");
        assert_eq!((flags(3, 0), flags(3, 511)), (Page::HOST, Page::DEVICE), "pinned");
        assert_eq!(left(), (0, 4));
        assert_eq!([0, 2, 4, 5].map(|chunk| flags(chunk, 7)), [Page::HOST; 4], "the next ones");
        assert_eq!(on(&b, 0), 8);
        raw::release(0, StreamId::DEFAULT).unwrap();
        raw::unpin(a.ptr.wrapping_add(3 * CHUNK), 4096).unwrap();
        check(&a, 1);
        check(&b, 2);
    });
}

/// What is pinned has nothing on a device, and keeps no memory there from others.
#[test]
fn what_is_pinned_takes_no_room() {
    alone("what_is_pinned_takes_no_room", "chunk", || {
        raw::device_count().unwrap();
        let [a, b] = [Block::new(DEVICE * CHUNK), Block::new(DEVICE * CHUNK)];
        fill(&a, 1);
        fill(&b, 2);
        visit(&a, 0, DEVICE, AccessMode::ReadWrite).unwrap();
        raw::pin(a.ptr, a.len).unwrap();
        visit(&b, 0, DEVICE, AccessMode::ReadWrite).unwrap();
        assert_eq!((on(&a, 0), on(&b, 0)), (0, DEVICE));
        raw::unpin(a.ptr, a.len).unwrap();
        visit(&a, 0, DEVICE, AccessMode::ReadWrite).unwrap();
        check(&a, 1);
        check(&b, 2);
    });
}

/// Threads put one chunk after the other on a device that has room for two: what one has found that could leave has left when it
/// gets there, and what is there now was not when it looked. There is room for it all the same.
#[test]
fn who_looks_for_room_while_others_do_finds_some() {
    const CHUNKS: usize = 6;
    let name = "who_looks_for_room_while_others_do_finds_some";
    if common::case().is_some() {
        let rounds = 200 + (1_000.0 * common::scale()) as usize;
        let user = |number: usize| {
            let b = Block::new(CHUNKS * CHUNK);
            fill(&b, number as u64);
            for round in 0..rounds {
                raw::migrate(b.ptr.wrapping_add((round + number) % CHUNKS * CHUNK), CHUNK, 0).unwrap();
            }
            check(&b, number as u64);
        };
        std::thread::scope(|s| (0..4).for_each(|number| drop(s.spawn(move || user(number)))));
        return;
    }
    for policy in ["chunk", "auto"] {
        run(
            name,
            "host",
            &[("HMMRT_BACKEND", "host"), ("HMMRT_HOST_MEMORY", "4M"), ("HMMRT_POLICY", policy)],
        );
    }
}

#[test]
fn what_leaves_a_full_device_goes_to_its_peer() {
    let name = "what_leaves_a_full_device_goes_to_its_peer";
    with_peer(name, "peer", || {
        assert_eq!(raw::device_count().unwrap(), 2);
        let [a, b] = [Block::new(12 * CHUNK), Block::new(8 * CHUNK)];
        fill(&a, 1);
        fill(&b, 2);
        visit(&a, 0, 12, AccessMode::ReadWrite).unwrap();
        visit(&b, 0, 8, AccessMode::ReadWrite).unwrap();
        let (spilled, home) = left();
        assert!((4..=8).contains(&spilled) && home == 0, "{spilled} {home}");
        assert_eq!((on(&a, 0), on(&a, 1), on(&b, 0)), (12 - spilled, spilled, 8));
        // A launch takes them from there, and others make room.
        visit(&a, 0, 12, AccessMode::ReadWrite).unwrap();
        assert_eq!((on(&a, 0), on(&a, 1), raw::stats().bytes_to_host), (12, 0, 0));
        assert!(on(&b, 1) >= 4);
        check(&a, 1);
        check(&b, 2);
        // What the host has is dropped, wherever there is room.
        let [clean, dirty] = [Block::new(8 * CHUNK), Block::new(12 * CHUNK)];
        fill(&clean, 3);
        fill(&dirty, 4);
        drop((a, b));
        visit(&clean, 0, 8, AccessMode::Read).unwrap();
        let before = (left(), raw::stats().bytes_to_host);
        visit(&dirty, 0, 12, AccessMode::ReadWrite).unwrap();
        assert_eq!((left(), raw::stats().bytes_to_host), before);
        // When the peer is full, too, the rest comes home.
        let more = Block::new(12 * CHUNK);
        let most = Block::new(12 * CHUNK);
        fill(&more, 5);
        fill(&most, 6);
        for b in [&more, &most] {
            visit(b, 0, 12, AccessMode::ReadWrite).unwrap();
        }
        assert!(left().1 > before.0.1, "{:?}", left());
        assert_eq!(on(&most, 0), 12);
        for (b, seed) in [(&clean, 3), (&dirty, 4), (&more, 5), (&most, 6)] {
            check(b, seed);
        }
        common::reasons();
    });
}

#[test]
fn what_leaves_a_full_device_comes_home_if_nothing_else_is_said() {
    let name = "what_leaves_a_full_device_comes_home_if_nothing_else_is_said";
    with_peer(name, "", || {
        raw::device_count().unwrap();
        let [a, b] = [Block::new(12 * CHUNK), Block::new(8 * CHUNK)];
        fill(&a, 1);
        visit(&a, 0, 12, AccessMode::ReadWrite).unwrap();
        visit(&b, 0, 8, AccessMode::ReadWrite).unwrap();
        let (spilled, home) = left();
        assert!(spilled == 0 && (4..=8).contains(&home), "{spilled} {home}");
        assert_eq!((on(&a, 0), on(&a, 1)), (12 - home, 0));
        check(&a, 1);
    });
}

/// What a prefetch brought and a full device gave up before anything used it was brought for nothing; the rest is of use once it is
/// used. Each byte counts once, also of what the host has kept.
#[test]
fn what_is_prefetched_and_leaves_a_full_device_was_for_nothing() {
    let name = "what_is_prefetched_and_leaves_a_full_device_was_for_nothing";
    alone(name, "chunk", || {
        raw::device_count().unwrap();
        for kept in [false, true] {
            raw::stats_reset();
            let [a, b] = [Block::new(8 * CHUNK), Block::new(12 * CHUNK)];
            fill(&a, 1);
            fill(&b, 2);
            let so_far = || {
                let s = raw::stats();
                (s.prefetched_bytes_used as usize / CHUNK, s.prefetched_bytes_wasted as usize / CHUNK)
            };
            if kept {
                raw::advise(a.ptr, a.len, Advice::ReadMostly, raw::HMM_HOST).unwrap();
            }
            raw::prefetch(a.ptr, a.len, 0, StreamId::DEFAULT).unwrap();
            raw::stream_synchronize(StreamId::DEFAULT).unwrap();
            assert_eq!((on(&a, 0), so_far()), (if kept { 0 } else { 8 }, (0, 0)));
            visit(&b, 0, 12, AccessMode::ReadWrite).unwrap();
            let left = raw::stats().evictions as usize;
            assert!((4..=8).contains(&left), "{left}");
            assert_eq!(so_far(), (0, left));
            visit(&a, 0, 8, AccessMode::Read).unwrap();
            assert_eq!(so_far(), (8 - left, left));
            // What has been used and leaves then was not for nothing, nor what a launch brought.
            visit(&b, 0, 12, AccessMode::ReadWrite).unwrap();
            check(&a, 1);
            check(&b, 2);
            assert_eq!(so_far(), (8 - left, left));
        }
    });
}

#[test]
fn what_leaves_goes_to_the_peer_with_the_most_room() {
    if common::case().is_none() {
        let host = [("HMMRT_HOST_MEMORY", "32M"), ("HMMRT_HOST_DEVICES", "3"), ("HMMRT_BACKEND", "host")];
        let settings = [&host[..], &[("HMMRT_SPILL", "peer"), ("HMMRT_POLICY", "chunk")]].concat();
        return run("what_leaves_goes_to_the_peer_with_the_most_room", "three", &settings);
    }
    assert_eq!(raw::device_count().unwrap(), 3);
    let blocks = [12, 4, 8, 12, 4].map(|chunks| Block::new(chunks * CHUNK));
    let [a, b, on_1, on_2, c] = &blocks;
    blocks.iter().zip(1..).for_each(|(b, seed)| fill(b, seed));
    raw::migrate(on_1.ptr, on_1.len, 1).unwrap();
    for b in [a, b] {
        visit(b, 0, b.len / CHUNK, AccessMode::ReadWrite).unwrap();
    }
    assert_eq!((left(), on(a, 0), on(b, 0)), ((0, 0), 12, 4), "the device is full");
    visit(c, 0, 4, AccessMode::ReadWrite).unwrap();
    assert_eq!((left(), on(a, 1), on(a, 2)), ((4, 0), 0, 4));
    raw::migrate(on_2.ptr, on_2.len, 2).unwrap();
    visit(a, 0, 4, AccessMode::ReadWrite).unwrap();
    let (spilled, home) = left();
    assert_eq!((home, on(a, 1) + on(b, 1) + on(c, 1)), (0, spilled - 4), "now there is more on the other");
    assert!(spilled > 4, "{spilled}");
    blocks.iter().zip(1..).for_each(|(b, seed)| check(b, seed));
}
