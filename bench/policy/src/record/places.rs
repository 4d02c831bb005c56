//! Where a recording's memory is among the lab's chunks: numbered in the order of addresses, so that what has consecutive
//! addresses in one block, also of different times, has consecutive numbers. Asked by `record` alone.

use super::CHUNK;
use crate::trace::{PAGE, PAGES};

/// Rows of chunks. Ranges that share a chunk, at whatever times, are one row, and that is one allocation of the lab's.
pub(super) struct Places(Vec<Row>);

struct Row {
    /// Chunks by address, from and to, and the number of the first.
    from: u64,
    to: u64,
    number: usize,
}

impl Places {
    /// Of all ranges that will be asked for: start and length in bytes.
    pub(super) fn of(ranges: impl Iterator<Item = (u64, u64)>) -> Places {
        let chunks = |(addr, len): (u64, u64)| (addr / CHUNK, addr.saturating_add(len).div_ceil(CHUNK));
        let mut rows: Vec<(u64, u64)> = ranges.filter(|(_, len)| *len > 0).map(chunks).collect();
        rows.sort_unstable();
        rows.dedup_by(|next, row| {
            let meets = next.0 < row.1;
            row.1 = if meets { row.1.max(next.1) } else { row.1 };
            meets
        });
        let mut count = 0;
        let row = |(from, to): (u64, u64)| {
            let number = count;
            count += (to - from) as usize;
            Row { from, to, number }
        };
        Places(rows.into_iter().map(row).collect())
    }

    /// The rows as the lab has allocations.
    pub(super) fn allocations(&self) -> Vec<(usize, usize)> {
        self.0.iter().map(|row| (row.number, (row.to - row.from) as usize)).collect()
    }

    /// The number of the page at an address.
    ///
    /// # Panics
    /// If it is in none of the ranges.
    pub(super) fn page(&self, addr: u64) -> u64 {
        let i = self.0.partition_point(|row| row.to <= addr / CHUNK);
        let row = self.0.get(i).filter(|row| row.from <= addr / CHUNK).expect("a range that was announced");
        row.number as u64 * PAGES + (addr - row.from * CHUNK) / PAGE
    }
}
