//! Host memory that is still held when 1 GiB has been written by the CPU and moved to the device: ours, and managed
//! memory of the driver's that was prefetched. The process's resident bytes, and what the system has available less (the
//! driver's managed pages belong to no process; other programs disturb this figure).

use crate::Outcome;
use crate::report::{Peer, Row, Target, Unit::Bytes};
use crate::run::Run;
use crate::sizes::{available, show};
use hmmrt::raw;
use hmmrt_bench::floors::{CHUNK, PAGE};
use hmmrt_bench::managed::Block;
use hmmrt_bench::sample::Samples;
use std::fs;

/// What a process may hold besides the spare pool: staging, lists, the libraries' own.
const BESIDES: f64 = 32.0 * 1024.0 * 1024.0;

pub fn run(r: &mut Run) -> Outcome {
    let len = r.sizes.big;
    // Staging buffers and the driver's own memory are there before anything is counted, and the spare pool is full.
    let warm = Block::filled(len.min(4 * r.spare).max(CHUNK))?;
    warm.migrate(r.device)?;
    drop(warm);
    let [mut resident_bytes, mut system] = [const { Samples::new() }; 2];
    let [mut managed_resident, mut managed_system] = [const { Peer::new("managed, prefetched") }; 2];
    for turn in r.turns() {
        let keep = turn > 0;
        let (before, free) = (resident(), available());
        let block = Block::filled(len)?;
        block.migrate(r.device)?;
        if keep {
            resident_bytes.push(grown(before, resident()));
            system.push(grown(available(), free));
        }
        drop(block);
        let mut gone = 0.0;
        managed_resident.turn(keep, || {
            let (before, free) = (resident(), available());
            let memory = r.peer.managed(len)?;
            memory.fill();
            r.peer.prefetch(&memory, r.device)?;
            r.peer.synchronize()?;
            gone = grown(available(), free);
            Ok(grown(before, resident()))
        });
        managed_system.turn(keep, || Ok(gone));
    }
    let spare = raw::stats().spare_bytes as usize;
    let what = format!("host memory held, {} on the device", show(len));
    r.row(
        Row::new(format!("{what}, resident"), Bytes, &resident_bytes, &managed_resident)
            .target(Target::Bytes(r.spare as f64 + BESIDES))
            .predicted("0")
            .note(format!("beyond what was held before; the spare pool ({}) was full by then", show(spare))),
    )?;
    r.row(Row::new(format!("{what}, system"), Bytes, &system, &managed_system).note("MemAvailable"))
}

fn grown(from: usize, to: usize) -> f64 {
    to.saturating_sub(from) as f64
}

/// The process's resident bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * PAGE
}
