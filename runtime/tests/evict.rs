//! More than a device has: what leaves it, what must not, and that every byte is right afterwards. The host backend with a
//! device of 16 chunks, in a process of its own.

mod common;

use common::Block;
use hmmrt::{Access, AccessMode, Error, StreamId, raw};
use std::sync::atomic::Ordering::Relaxed;

const CHUNK: usize = 2 << 20;
const DEVICE: usize = 16;

fn alone(name: &str, policy: &str, case: impl Fn()) {
    if common::case().is_some() {
        return case();
    }
    let settings = [("HMMRT_HOST_MEMORY", "32M"), ("HMMRT_BACKEND", "host"), ("HMMRT_POLICY", policy)];
    let out = common::run_case(name, "small", &settings);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
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
        for _ in 0..6 {
            let before = raw::stats().bytes_to_device;
            (0..12).for_each(|tile| visit(&b, tile * 2, 2, AccessMode::ReadWrite).unwrap());
            sent.push((raw::stats().bytes_to_device - before) as usize / CHUNK);
        }
        // The least recently used would be all 24, every time.
        assert!(sent[3..].iter().all(|n| *n <= 14), "{sent:?}");
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
        // All is in use: a precise error, and nothing has moved.
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
        let b = Block::new(20 * CHUNK);
        fill(&b, 5);
        let e = visit(&b, 0, 20, AccessMode::ReadWrite).unwrap_err();
        let text = e.to_string();
        assert!(text.contains("41943040") && text.contains("33554432"), "{text}");
        visit(&b, 2, 16, AccessMode::ReadWrite).unwrap();
        check(&b, 5);
    });
}
