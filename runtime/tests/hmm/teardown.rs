//! anon_teardown: memory goes while a device reads it.

use crate::common::{Rng, seed};
use crate::device;
use crate::memory::{Kind::*, LEN, Memory, pattern};
use crate::row::{Kind, row};
use hmmrt::{Error, raw};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Catches: a device that goes on using memory that is unmapped, and one that says it has read what was not there.
#[test]
fn anon_teardown() {
    let differs =
        "another thread unmaps half of the adopted memory; in the kernel it ends, and all of its memory";
    let Some(row) = row("teardown::anon_teardown", Kind::Changed, differs) else { return };
    row.cases(10);
    let mut rng = Rng(seed());
    let (mut read, mut cut, mut round) = (0, 0, 0_u32);
    // Ten rounds; more, and sooner or later, until the memory has gone before a read's end, and behind one.
    while round < 10 || round < 200 && (read == 0 || cut == 0) {
        let most = if round >= 10 && cut == 0 { 1 } else { 33 << (round / 10).min(10) };
        for kind in [Small, Huge] {
            let m = Memory::filled(kind, LEN, round);
            if round % 2 == 0 {
                m.send();
            }
            let (begin, after) = (Barrier::new(2), Duration::from_micros(rng.below(most) as u64));
            let seen = std::thread::scope(|s| {
                s.spawn(|| {
                    begin.wait();
                    let start = Instant::now();
                    while start.elapsed() < after {
                        std::hint::spin_loop();
                    }
                    m.unmap(LEN / 2, LEN / 2).unwrap();
                });
                begin.wait();
                device::read(0, m.ptr, LEN)
            });
            match seen {
                Ok(words) => {
                    assert!(words == pattern(0, LEN, round), "{kind:?}, round {round}: wrong data");
                    read += 1;
                }
                Err(e) => {
                    let gone =
                        matches!(e, Error::NotManaged { .. } | Error::OutOfRange { .. } | Error::Hole { .. });
                    assert!(gone, "{kind:?}, round {round}: {e}");
                    cut += 1;
                }
            }
            assert!(!raw::owns(m.at(LEN / 2)) && m.part_holds(0, LEN / 2, round));
            assert_eq!(device::read(0, m.ptr, LEN / 2).unwrap(), pattern(0, LEN / 2, round));
        }
        round += 1;
    }
    eprintln!("{read} of {} reads came first", read + cut);
    assert!(read > 0 && cut > 0, "one never came first: {read} reads, {cut} others");
}
