//! Traces made by hand, whole and broken.

use super::*;
use crate::trace::format::{What, Why};

fn bytes(events: &[Event]) -> Vec<u8> {
    let mut words = vec![0_u64; HEAD / 8];
    words[head::MAGIC] = MAGIC;
    words[head::VERSION] = u64::from(VERSION) | (HEAD as u64) << 32;
    words[head::RECORD] = RECORD as u64 | 42 << 32;
    words[head::CAPACITY] = 1000;
    words[head::BEGUN] = events.len() as u64;
    words[head::READY] = 1 << 20;
    words[head::PROGRAM..head::PROGRAM + head::TEXT].copy_from_slice(&Name::new("prog").0);
    for (i, event) in events.iter().enumerate() {
        words.extend(event.pack());
        words.push(i as u64 + 1);
    }
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn some(n: u64) -> Vec<Event> {
    let what = |i| What::Begin { addr: i << 21, len: 1 << 21, why: Why::Heap };
    (0..n).map(|i| Event { time: 1000 - i, thread: 7, what: what(i) }).collect()
}

#[test]
fn a_whole_one() {
    let trace = Trace::parse(&bytes(&some(5))[..]).unwrap();
    assert_eq!((trace.process, &*trace.program, trace.missing, trace.unreadable), (42, "prog", 0, 0));
    let mut expected = some(5);
    expected.reverse(); // in the order of time
    assert_eq!(trace.events, expected);
}

#[test]
fn one_that_was_cut_off() {
    let all = bytes(&some(5));
    for cut in 0..all.len() {
        match Trace::parse(&all[..cut]) {
            Ok(trace) => {
                assert!(cut >= HEAD);
                assert_eq!(trace.events.len(), (cut - HEAD) / RECORD);
                assert_eq!(trace.missing, 5 - trace.events.len() as u64);
            }
            Err(ReadError::Short) => assert!((8..HEAD).contains(&cut)),
            Err(ReadError::NotATrace) => assert!(cut < 8),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn a_record_that_was_begun_and_not_finished() {
    let mut all = bytes(&some(5));
    all[HEAD + 2 * RECORD + RECORD - 8] = 0;
    let trace = Trace::parse(&all[..]).unwrap();
    assert_eq!((trace.events.len(), trace.unreadable, trace.missing), (4, 1, 0));
}

#[test]
fn others_are_named() {
    let mut newer = bytes(&[]);
    newer[8] = 2;
    assert!(Trace::parse(&newer[..]).unwrap_err().to_string().contains("newer"));
    for other in [&b""[..], b"#!/bin/sh\n", &[0; 8192]] {
        assert!(matches!(Trace::parse(other), Err(ReadError::NotATrace)));
    }
    assert!(matches!(Trace::read(Path::new("/no/such/file")), Err(ReadError::System(_))));
}

/// Whatever the bytes are: no panic, no more events than the file has room for.
#[test]
fn any_bytes() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let whole = bytes(&some(20));
    for _ in 0..20_000 {
        let mut broken = whole.clone();
        for _ in 0..=next() % 6 {
            let at = next() as usize;
            let at = if next() % 2 == 0 { at % 256 } else { at % broken.len() };
            broken[at] = next() as u8;
        }
        broken.truncate(broken.len() - next() as usize % 200);
        if let Ok(trace) = Trace::parse(&broken[..]) {
            assert!(trace.events.len() as u64 + trace.unreadable <= 20);
        }
    }
}
