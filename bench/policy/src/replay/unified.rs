//! Unified memory's device side: kernels start at once, and fault on what they touch, block of 2 MiB by block; pages that go to
//! and fro quickly are pinned to the host for a while, and used over the bus.

use super::{Replay, TooLarge};
use crate::trace::{PAGE, Use};
use hmmrt::policy::{PageMask, Uvm};

/// What is remembered of a block's moves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thrash {
    times: [u64; 8],
    count: u32,
    to_device: bool,
    throttles: u32,
    pins: u32,
    pinned_until: u64,
}

impl Replay<'_> {
    pub(super) fn launch_unified(&mut self, uses: &[Use], ns: u64) -> Result<(), TooLarge> {
        self.number += 1;
        let mut at = self.cpu.max(self.device);
        let mut written = Vec::new();
        for u in uses {
            for (chunk, pages) in u.touched() {
                let write = u.mode.writes();
                let c = &self.chunks[chunk];
                at = at.max(c.arrival(pages));
                let remote =
                    if at < c.thrash.pinned_until { pages & c.host & !c.device } else { PageMask::EMPTY };
                let lacks = pages & !c.device & !remote;
                if !remote.is_empty() {
                    let bytes = remote.count() as u64 * PAGE;
                    at = self.to_device.work(at, self.costs.transfer(bytes)) + self.costs.latency;
                    self.out.bytes_out += bytes;
                    self.bytes.remote(chunk, remote, write);
                }
                if !lacks.is_empty() {
                    at = self.device_fault(chunk, lacks, at)?;
                }
                // It can't know that the old bytes are not needed.
                self.bytes.device(chunk, pages & !remote, true, u.changed(chunk, pages));
                written.push((chunk, pages, write));
            }
        }
        let end = at + ns;
        self.device = end;
        for (chunk, pages, write) in written {
            let c = &mut self.chunks[chunk];
            c.used_until = end;
            // The CPU may read and write elsewhere meanwhile.
            if write {
                c.written = if c.written_until > self.cpu { c.written | pages } else { pages };
                c.written_until = end;
            }
        }
        Ok(())
    }

    fn device_fault(&mut self, chunk: usize, lacks: PageMask, at: u64) -> Result<u64, TooLarge> {
        self.out.faults += 1;
        let mut free = at;
        if !self.chunks[chunk].committed {
            while self.committed >= self.trace.device {
                let victim = self.oldest(chunk).ok_or(TooLarge)?;
                free = self.evict(victim, at);
            }
            self.committed += 1;
            self.chunks[chunk].committed = true;
        }
        let c = &self.chunks[chunk];
        let pages = Uvm::grow(lacks, c.device) & !c.device;
        let bytes = pages.count() as u64 * PAGE;
        let end = self.to_device.work(free.max(at + self.costs.uvm_device_fault), self.costs.transfer(bytes));
        self.out.bytes_out += bytes;
        self.bytes.copy_out(chunk, pages);
        self.moves += 1;
        let c = &mut self.chunks[chunk];
        c.moved = self.moves;
        c.device = c.device | pages;
        c.host = c.host & !pages;
        c.coming = c.coming & c.host;
        self.thrashes(chunk, pages, end, true);
        Ok(end)
    }

    /// The block whose last move is the longest ago.
    fn oldest(&self, but: usize) -> Option<usize> {
        (0..self.chunks.len())
            .filter(|c| self.chunks[*c].committed && *c != but)
            .min_by_key(|c| self.chunks[*c].moved)
    }

    /// Notes a move; a block that is moved to and fro too often is pinned when it is at home.
    pub(super) fn thrashes(&mut self, chunk: usize, _pages: PageMask, at: u64, to_device: bool) {
        let costs = *self.costs;
        let t = &mut self.chunks[chunk].thrash;
        if t.to_device == to_device {
            return;
        }
        t.to_device = to_device;
        t.times.rotate_right(1);
        t.times[0] = at;
        t.count += 1;
        let n = costs.uvm_thrash;
        let quick = t.count >= n && at - t.times[n as usize - 1] <= costs.uvm_lapse;
        if !quick || t.pins >= costs.uvm_pins {
            return;
        }
        t.throttles += 1;
        if t.throttles >= costs.uvm_throttles && !to_device {
            t.pinned_until = at + costs.uvm_pin;
            t.pins += 1;
            t.throttles = 0;
        }
    }
}
