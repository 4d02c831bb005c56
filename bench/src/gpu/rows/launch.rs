//! What a launch costs when all it needs is on the device: hmm_fill of one word, with 1, 16 and 256 ranges, against a
//! bare launch of the same kernel. One range: hmm_launch. More: hmm_acquire, hmm_launch, hmm_release. The calls are timed;
//! the stream is drained between samples.

use crate::Outcome;
use crate::report::{Peer, Row, Target, Unit::Nanoseconds};
use crate::run::Run;
use hmmrt::{Access, AccessMode, LaunchArg, LaunchConfig, raw};
use hmmrt_bench::managed::Block;
use hmmrt_bench::sample::{Samples, time_ns};
use std::time::Instant;

/// Of a range.
const LEN: usize = 64 << 10;
const RANGES: [usize; 3] = [1, 16, 256];

pub fn run(r: &mut Run) -> Outcome {
    let count = r.sizes.launches;
    let kernel = raw::kernel_get(raw::module_builtin(r.device)?, "hmm_fill")?;
    let blocks = (0..256).map(|_| Block::filled(LEN)).collect::<Result<Vec<_>, _>>()?;
    for block in &blocks {
        block.migrate(r.device)?;
    }
    let accesses: Vec<Access> =
        blocks.iter().map(|b| Access { ptr: b.ptr(), len: LEN, mode: AccessMode::ReadWrite }).collect();
    let (value, n) = (7_u32, 1_u64);
    let at = raw::device_ptr(blocks[0].ptr(), r.device)? as u64;
    let rest = [
        LaunchArg::Value { data: (&raw const value).cast(), size: 4 },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
    ];
    let by_range = [
        LaunchArg::Pointer { ptr: blocks[0].ptr(), len: LEN, mode: AccessMode::ReadWrite },
        rest[0],
        rest[1],
    ];
    let by_address = [LaunchArg::Value { data: (&raw const at).cast(), size: 8 }, rest[0], rest[1]];
    let config = LaunchConfig { block: [32, 1, 1], stream: r.stream, ..LaunchConfig::default() };
    let memory = r.peer.device_memory(LEN)?;

    let [mut bare, mut bare_drained] = [const { Peer::new("bare launch") }; 2];
    let mut calls = [const { Samples::new() }; 3];
    let mut drained = [const { Samples::new() }; 3];
    // A sample is short: more of them than of the long rows.
    for turn in r.turns().flat_map(|turn| [turn; 5]) {
        let keep = turn > 0;
        let mut per_call = 0.0;
        bare_drained.turn(keep, || {
            let start = Instant::now();
            for _ in 0..count {
                r.kernels.fill(&memory, value, 1)?;
            }
            per_call = start.elapsed().as_nanos() as f64 / count as f64;
            r.peer.synchronize()?;
            Ok(start.elapsed().as_nanos() as f64 / count as f64)
        });
        bare.turn(keep, || Ok(per_call));
        for (which, &ranges) in RANGES.iter().enumerate() {
            let mut result = Ok(());
            let launch = || {
                // SAFETY: hmm_fill's parameters: one word of the first block, which is among what is acquired.
                unsafe {
                    if ranges == 1 {
                        return raw::launch(kernel, &config, &by_range);
                    }
                    raw::acquire(r.device, r.stream, &accesses[..ranges])?;
                    raw::launch(kernel, &config, &by_address)?;
                }
                raw::release(r.device, r.stream)
            };
            let mut queued = 0.0;
            let total = time_ns(|| {
                queued = time_ns(|| result = (0..count).try_for_each(|_| launch()));
                if result.is_ok() {
                    result = raw::stream_synchronize(r.stream);
                }
            });
            result?;
            if keep {
                calls[which].push(queued / count as f64);
                drained[which].push(total / count as f64);
            }
        }
    }
    for (which, ranges) in RANGES.iter().enumerate() {
        let name = match ranges {
            1 => "launch, 1 resident range".to_owned(),
            _ => format!("acquire + launch + release, {ranges} resident ranges"),
        };
        let predicted = ["+ 2 us", "+ 5 us", "+ 40 us"][which];
        let above = bare.median().map_or(0.0, |bare| calls[which].stat().median - bare);
        r.row(
            Row::new(&name, Nanoseconds, &calls[which], &bare)
                .target(Target::Above(2000.0))
                .predicted(predicted)
                .note(format!("{:+.2} us a launch; {count} launches a sample", above / 1e3)),
        )?;
        r.row(Row::new(format!("{name}, until done"), Nanoseconds, &drained[which], &bare_drained))?;
    }
    Ok(())
}
