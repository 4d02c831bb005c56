//! One 2 MiB chunk comes home: the time of the first touch of a random chunk that is on the device, its fill
//! included. Against memcpy of 2 MiB into a warm block. 16 chunks a run, so that the spare pool (64 MiB by default)
//! always has a block; then again with the pool run dry first.

use super::Outcome;
use crate::Bench;
use crate::floors::{CHUNK, Map};
use crate::managed::Block;
use crate::report::{Row, Unit::Nanoseconds};
use crate::sample::{Samples, time_ns};

const BATCH: usize = 16;
/// More chunks than the default spare pool holds (32), so that none is left.
const DRAIN: usize = 48;

pub fn run(b: &mut Bench) -> Outcome {
    let len = b.big().max(256 << 20);
    let chunks = len / CHUNK;
    let source = Map::filled(len, true)?;
    let mut warm = Map::filled(BATCH * CHUNK, true)?;
    let ours = Block::filled(len)?;
    let mut fresh = Map::new(BATCH * CHUNK, true)?;
    let [mut copy, mut fresh_copy, mut read, mut write, mut dry] = [const { Samples::new() }; 5];
    for run in 0..=b.runs {
        for mode in [Mode::Read, Mode::Write, Mode::Dry] {
            ours.migrate(b.device)?;
            let order = b.random.order(chunks);
            let mut next = order.iter().map(|&chunk| chunk * CHUNK + b.random.below(CHUNK));
            if mode == Mode::Dry {
                let offsets: Vec<usize> = next.by_ref().take(DRAIN).collect();
                ours.touch(&offsets, true);
            }
            fresh.drop_pages();
            let before = hmmrt::raw::stats();
            for (i, offset) in next.take(BATCH).enumerate() {
                let from = (offset + len / 2) % len / CHUNK * CHUNK;
                let to = if mode == Mode::Dry { &mut fresh } else { &mut warm };
                let floor = time_ns(|| to.copy_from(i * CHUNK, &source, from, CHUNK));
                let ns = ours.touch(&[offset], mode != Mode::Read)[0] as f64;
                if run == 0 {
                    continue;
                }
                match mode {
                    Mode::Read => {
                        copy.push(floor);
                        read.push(ns);
                    }
                    Mode::Write => write.push(ns),
                    Mode::Dry => {
                        fresh_copy.push(floor);
                        dry.push(ns);
                    }
                }
            }
            let moved = hmmrt::raw::stats().bytes_to_host - before.bytes_to_host;
            if moved != (BATCH * CHUNK) as u64 {
                return Err(format!("{BATCH} touches brought {moved} bytes home").into());
            }
        }
    }
    let copy = copy.stat();
    b.report.floor("memcpy of 2 MiB into a warm huge block", Nanoseconds, copy);
    let limit = 1.10 * copy.median + 15_000.0;
    let read = read.stat();
    let target = format!("1.10 x + 15 us = {:.1} us", limit / 1e3);
    let floor = "memcpy 2 MiB warm";
    b.report.row(
        Row::new("one 2 MiB chunk home, read", Nanoseconds, read)
            .floor(floor, copy)
            .target(target, read.median <= limit)
            .note(format!("{:+.1} us against the memcpy", (read.median - copy.median) / 1e3)),
    );
    b.report.row(Row::new("the same, write", Nanoseconds, write.stat()).floor(floor, copy));
    b.report.row(
        Row::new("the same, write, pool empty", Nanoseconds, dry.stat())
            .floor("memcpy 2 MiB fresh", fresh_copy.stat())
            .note(format!("{DRAIN} chunks brought home just before")),
    );
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
    Dry,
}
