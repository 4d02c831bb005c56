//! The residency table's memory as a share of managed memory: 1 GiB written and moved to the device, and 16 GiB
//! reserved, of which one page in each of 128 chunks was moved there and back (more would need the memory).

use super::{Outcome, size};
use crate::Bench;
use crate::floors::{CHUNK, PAGE};
use crate::managed::Block;
use crate::report::{Row, Unit::Percent};
use crate::sample::Stat;
use hmmrt::{HMM_HOST, raw};

/// Chunks of the 16 GiB that get device memory: each takes 2 MiB of RAM on the host backend.
const MOVED: usize = 128;

pub fn run(b: &mut Bench) -> Outcome {
    {
        let block = Block::filled(b.big())?;
        block.migrate(b.device)?;
        file(b, format!("table memory, {} on the device", size(block.len())));
    }
    let block = Block::new(16 << 30)?;
    file(b, "table memory, 16 GiB untouched".to_owned());
    let (chunks, step) = (block.len() / CHUNK, block.len() / MOVED);
    for offset in (0..block.len()).step_by(step) {
        let page = block.ptr().wrapping_add(offset);
        raw::migrate(page, PAGE, b.device)?;
        raw::migrate(page, PAGE, HMM_HOST)?;
    }
    file(b, format!("table memory, 16 GiB, a page moved in {MOVED} of {chunks} chunks"));
    Ok(())
}

fn file(b: &mut Bench, what: String) {
    let stats = hmmrt::raw::stats();
    let share = stats.table_bytes as f64 / stats.managed_bytes.max(1) as f64 * 100.0;
    b.report.row(
        Row::new(what, Percent, Stat::exact(share))
            .target("0.1 %", share <= 0.1)
            .note(format!("{} bytes of table for {} managed bytes", stats.table_bytes, stats.managed_bytes)),
    );
}
