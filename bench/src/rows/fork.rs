//! fork of a process with 256 MiB of memory: plain, managed and on the host, on both sides, and on the device only, which
//! has to be copied home first, once: the device keeps its copy, so the next fork finds it on both sides. The child reads a
//! word of each page and compares their sum, so a snapshot that is not one fails the row.

use super::{Outcome, size};
use crate::Bench;
use crate::floors::{self, Map, PAGE};
use crate::managed::Block;
use crate::report::{Row, Unit::Nanoseconds};
use crate::sample::Samples;
use hmmrt::HMM_HOST;

pub fn run(b: &mut Bench) -> Outcome {
    let len = b.big() / 4;
    let [mut plain, mut host, mut both, mut away, mut copy] = [const { Samples::new() }; 5];
    // What `dirty` writes: each page's offset.
    let sum = (0..len / PAGE).map(|i| (i * PAGE) as u64).sum::<u64>();
    let wrong = || "the child has other bytes than its parent";
    for run in 0..=b.runs {
        let mut map = Map::filled(len, true)?;
        map.dirty();
        // SAFETY: the map is `len` readable bytes.
        let plain_ns = unsafe { floors::fork(map.ptr(), len, sum) }.ok_or_else(wrong)?;
        let mut warm = Map::filled(len, true)?;
        let copy_ns = crate::sample::time_ns(|| warm.copy_from(0, &map, 0, len));
        drop((map, warm));
        let block = Block::filled(len)?;
        block.migrate(b.device)?; // the device has memory for it
        block.migrate(HMM_HOST)?;
        block.dirty();
        let forked = || {
            let before = hmmrt::raw::stats().bytes_to_host;
            // SAFETY: the block is `len` readable bytes.
            let ns = unsafe { floors::fork(block.ptr(), len, sum) }.ok_or_else(wrong)?;
            Ok::<_, &str>((ns, hmmrt::raw::stats().bytes_to_host - before))
        };
        let (host_ns, host_bytes) = forked()?;
        block.migrate(b.device)?;
        let (away_ns, away_bytes) = forked()?;
        let (both_ns, both_bytes) = forked()?;
        if (host_bytes, away_bytes, both_bytes) != (0, len as u64, 0) {
            return Err(format!("{host_bytes}, {away_bytes} and {both_bytes} bytes came home").into());
        }
        if block.valid(0)? != (true, true) || block.valid(len - 1)? != (true, true) {
            return Err("the device has lost its copy by the fork".into());
        }
        if run > 0 {
            for (samples, ns) in [
                (&mut plain, plain_ns),
                (&mut host, host_ns),
                (&mut both, both_ns),
                (&mut away, away_ns),
                (&mut copy, copy_ns),
            ] {
                samples.push(ns);
            }
        }
    }
    let plain = plain.stat();
    let what = |place| format!("fork, {} {place}", size(len));
    let fork = |place, stat| Row::new(what(place), Nanoseconds, stat).floor("fork, plain memory", plain);
    b.report.row(fork("on the host", host.stat()));
    b.report.row(fork("on both sides", both.stat()).note("nothing is copied"));
    let away = away.stat();
    let copy = copy.stat();
    b.report.row(fork("on the device only", away).note(format!(
        "all of it is copied home, once: memcpy of as much into warm memory takes {:.1} ms",
        copy.median / 1e6
    )));
    Ok(())
}
