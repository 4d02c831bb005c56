//! The CPU reads 1 GiB that a kernel has just written, from the first byte to the last: against managed memory without
//! hints, which comes home by the driver's page faults, and against a pinned copy followed by the same scan.

use crate::Outcome;
use crate::kernels::{THREADS, blocks};
use crate::report::{Peer, Row, Target, Unit};
use crate::run::Run;
use crate::sizes::show;
use hmmrt::{AccessMode, LaunchArg, LaunchConfig, raw};
use hmmrt_bench::managed::Block;
use hmmrt_bench::sample::{Samples, time_ns};
use std::fs;

pub fn run(r: &mut Run) -> Outcome {
    let (len, peer, words) = (r.sizes.big, r.peer, r.sizes.big / 4);
    let fill = raw::kernel_get(raw::module_builtin(r.device)?, "hmm_fill")?;
    let block = Block::filled(len)?;
    let pinned = peer.pinned(len)?;
    let memory = peer.device_memory(len)?;
    let managed = peer.managed(len);
    let [mut ours, mut ours_faults] = [const { Samples::new() }; 2];
    let mut pinned_peer = Peer::new("pinned copy + scan");
    let (mut managed_peer, mut managed_faults) = match &managed {
        Ok(_) => (Peer::new("managed, no hints"), Peer::new("managed, no hints")),
        Err(error) => (
            Peer::none("managed, no hints", error.to_string()),
            Peer::none("managed, no hints", error.to_string()),
        ),
    };
    for turn in r.turns() {
        let keep = turn > 0;
        let value = 0x0101_0101 * (turn as u32 + 1);
        let expected = (len as u64 / 8).wrapping_mul(u64::from(value) << 32 | u64::from(value));
        let n = words as u64;
        let args = [
            LaunchArg::Pointer { ptr: block.ptr(), len, mode: AccessMode::Write },
            LaunchArg::Value { data: (&raw const value).cast(), size: 4 },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        ];
        let config = LaunchConfig {
            grid: [blocks(words), 1, 1],
            block: [THREADS, 1, 1],
            stream: r.stream,
            ..LaunchConfig::default()
        };
        // SAFETY: hmm_fill's parameters, all of the block.
        unsafe { raw::launch(fill, &config, &args)? };
        raw::stream_synchronize(r.stream)?;
        let before = raw::stats();
        let mut sum = 0;
        let ns = time_ns(|| sum = block.sum());
        let faults = raw::stats().faults - before.faults;
        if sum != expected {
            return Err("the CPU read something else than the kernel wrote".into());
        }
        if keep {
            ours.push(ns);
            ours_faults.push(faults as f64);
        }

        pinned_peer.turn(keep, || {
            r.kernels.fill(&memory, value, words)?;
            peer.synchronize()?;
            let mut result = Ok(0);
            let ns = time_ns(|| {
                let copied = peer.copy_out(&pinned, 0, &memory, 0, len).and_then(|()| peer.synchronize());
                result = copied.map(|()| pinned.sum(0, len));
            });
            right(result?, expected).map(|()| ns)
        });
        let Ok(managed) = &managed else { continue };
        let mut faults = 0.0;
        managed_peer.turn(keep, || {
            r.kernels.fill(managed, value, words)?;
            peer.synchronize()?;
            let (before, mut sum) = (minor_faults(), 0);
            let ns = time_ns(|| sum = managed.sum(0, len));
            faults = minor_faults() - before;
            right(sum, expected).map(|()| ns)
        });
        managed_faults.turn(keep, || Ok(faults));
    }
    let what = format!("CPU reads {} that a kernel wrote", show(len));
    r.row(
        Row::new(&what, Unit::Nanoseconds, &ours, &managed_peer)
            .target(Target::AtMost(0.5))
            .predicted("0.4 .. 0.7"),
    )?;
    r.row(
        Row::new(&what, Unit::Nanoseconds, &ours, &pinned_peer)
            .note("the explicit way: what there is to gain at most"),
    )?;
    r.row(
        Row::new(format!("{what}, page faults"), Unit::Count, &ours_faults, &managed_faults)
            .predicted("1/6")
            .note("ours from hmm_stats, one a 2 MiB chunk; managed: the process's minor faults, as far as the driver's are counted"),
    )
}

fn right(sum: u64, expected: u64) -> Outcome {
    if sum == expected { Ok(()) } else { Err(format!("wrong sum: {sum}, not {expected}").into()) }
}

/// The process's minor page faults so far: the tenth field of /proc/self/stat.
fn minor_faults() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default();
    fields.split(' ').nth(7).and_then(|field| field.parse().ok()).unwrap_or(0.0)
}
