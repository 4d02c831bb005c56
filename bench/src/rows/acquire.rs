//! Acquire + release of 16 ranges that are on the device already: the cost of a launch's bookkeeping. Ranges of
//! 64 KiB (16 blocks) and of 1 GiB (16 overlapping ranges, 64 MiB apart, of one block just under 2 GiB).

use super::{Outcome, size};
use crate::Bench;
use crate::floors;
use crate::managed::{Block, acquire_release};
use crate::report::{Row, Unit::Nanoseconds};
use crate::sample::{Samples, time_ns};
use hmmrt::{Access, AccessMode, Error, StreamId, raw};

const RANGES: usize = 16;
/// Pairs in one sample. The stream is drained between samples, outside the clock.
const PAIRS: usize = 200;

pub fn run(b: &mut Bench) -> Outcome {
    let (small, big) = (64 << 10, b.big());
    let step = big / RANGES;
    let small_blocks = (0..RANGES).map(|_| Block::filled(small)).collect::<Result<Vec<_>, _>>()?;
    let big_block = Block::filled(big + (RANGES - 1) * step)?;
    let cases = [(AccessMode::ReadWrite, "read-write"), (AccessMode::Read, "read")];
    for (mode, name) in cases {
        let of = |ptr: *mut u8, len| Access { ptr, len, mode };
        let smalls: Vec<Access> = small_blocks.iter().map(|block| of(block.ptr(), block.len())).collect();
        let bigs: Vec<Access> =
            (0..RANGES).map(|i| of(big_block.ptr().wrapping_add(i * step), big)).collect();
        let [mut lock, mut small_ns, mut big_ns, mut drained] = [const { Samples::new() }; 4];
        for block in small_blocks.iter().chain([&big_block]) {
            block.migrate(b.device)?;
        }
        for run in 0..=b.runs * 4 {
            let floor = time_ns(|| floors::lock_pairs(RANGES, PAIRS)) / PAIRS as f64;
            let (s, _) = pairs(b.device, &smalls)?;
            let (g, drain) = pairs(b.device, &bigs)?;
            if run > 0 {
                lock.push(floor);
                small_ns.push(s);
                big_ns.push(g);
                drained.push(drain);
            }
        }
        let (lock, small_ns, big_ns) = (lock.stat(), small_ns.stat(), big_ns.stat());
        let same = big_ns.median <= 1.10 * small_ns.median;
        let floor = "two locks, 16 loads each";
        let row = |len: usize, ns| {
            Row::new(format!("acquire + release, 16 x {}, {name}", size(len)), Nanoseconds, ns)
                .floor(floor, lock)
        };
        b.report.row(row(small, small_ns).target("3 us", small_ns.median <= 3000.0));
        b.report.row(
            row(big, big_ns)
                .target(format!("3 us, the same as {}", size(small)), big_ns.median <= 3000.0 && same)
                .note(format!(
                    "{:.2} x the {} ranges (the same: at most 1.10); ranges overlap, {} apart; \
                     with the stream drained {:.2} us a pair",
                    big_ns.median / small_ns.median,
                    size(small),
                    size(step),
                    drained.stat().median / 1e3
                )),
        );
    }
    Ok(())
}

/// Nanoseconds a pair: of the calls alone, and until the stream has done everything.
fn pairs(device: i32, accesses: &[Access]) -> Result<(f64, f64), Error> {
    let mut result = Ok(());
    let mut calls = 0.0;
    let total = time_ns(|| {
        calls = time_ns(|| {
            for _ in 0..PAIRS {
                if result.is_ok() {
                    result = acquire_release(device, accesses);
                }
            }
        });
        if result.is_ok() {
            result = raw::stream_synchronize(StreamId(0));
        }
    });
    result?;
    Ok((calls / PAIRS as f64, total / PAIRS as f64))
}
