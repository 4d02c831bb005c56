//! The CPU's touches: waiting for kernels and for what is on its way, faults, what comes along, what is read ahead, and what
//! goes out behind a writer.

use super::{Replay, Side};
use crate::reasons::Reason;
use crate::trace::{PAGE, PAGES, Touch};
use hmmrt::policy::{PageMask, Range};

impl Replay<'_> {
    pub(super) fn touch(&mut self, chunk: usize, mask: PageMask, touch: Touch, ns: u64) {
        let write = touch != Touch::Read;
        loop {
            let c = &mut self.chunks[chunk];
            if self.cpu >= c.written_until {
                c.written = PageMask::EMPTY;
            } else if mask.meets(c.written) {
                let until = c.written_until;
                self.wait(Reason::Kernel, until);
                continue;
            }
            if self.cpu >= c.host_at {
                c.coming = PageMask::EMPTY;
            } else if mask.meets(c.coming) {
                let until = c.host_at;
                self.wait(Reason::InFlight, until);
                continue;
            }
            let missing = mask & !c.host;
            let both = if write { mask & c.host & c.device } else { PageMask::EMPTY };
            let Some(page) = (missing | both).first() else { break };
            self.fault(chunk, page, write);
        }
        self.bytes.cpu(chunk, mask, write);
        self.cpu += ns;
    }

    fn fault(&mut self, chunk: usize, page: usize, write: bool) {
        self.out.faults += 1;
        let uvm = self.who.side == Side::Faults;
        let c = &self.chunks[chunk];
        let fetch = !c.host.has(page);
        let busy = if self.cpu < c.written_until { c.written } else { PageMask::EMPTY };
        let (alike, done) = match fetch {
            true => (!c.host & !busy, c.host),
            false => (c.host & c.device, !(c.host & c.device)),
        };
        let touch = hmmrt::policy::Touch {
            chunk: chunk as u64,
            page,
            write,
            fetch,
            alike,
            done,
            order: Default::default(),
        };
        let owner = self.owners[chunk];
        let bring = self.who.policy.bring(&touch, &mut self.histories[owner]);
        let pages = bring.pages & alike | PageMask::span(page, 1);
        self.learn(chunk, pages, fetch, write);
        if fetch {
            let cost = if uvm { self.costs.uvm_cpu_fault } else { self.costs.fault };
            self.wait(Reason::ReadFault, self.cpu + cost);
            let latency = if uvm { 0 } else { self.costs.latency };
            let end = self.home(chunk, pages, write, self.cpu) + latency;
            self.wait(Reason::CopyHome, end);
        } else {
            let c = &mut self.chunks[chunk];
            c.device = c.device & !pages;
            let leaving = c.device_at;
            self.wait(Reason::CopyOut, leaving);
            self.wait(Reason::WriteFault, self.cpu + self.costs.take);
        }
        if uvm {
            self.thrashes(chunk, pages, self.cpu, false);
        }
        let (first, count) = self.trace.allocations[owner];
        if bring.everything {
            let mut end = self.cpu;
            for other in (first..first + count).filter(|o| *o != chunk) {
                let away = self.at_rest(other, self.cpu) & !self.chunks[other].host;
                end = end.max(self.home(other, away, write, self.cpu) + self.costs.latency);
            }
            self.wait(Reason::CopyHome, end);
        }
        for next in (chunk + 1..first + count).take(bring.ahead as usize) {
            let away = self.at_rest(next, self.cpu) & !self.chunks[next].host;
            if away.is_empty() {
                break;
            }
            self.learn(next, away, true, write);
            self.home_early(next, away, write, self.cpu);
        }
        let behind = chunk.wrapping_sub(1);
        if bring.behind && self.who.policy.predicts() && chunk > first {
            let start = behind as u64 * PAGES;
            if self.launches.next_reads(start, start + PAGES) {
                let pages = self.chunks[behind].host & !self.chunks[behind].device;
                self.send_early(behind, pages, self.cpu, &[]);
            }
        }
    }

    /// Tells the history of launches.
    fn learn(&mut self, chunk: usize, pages: PageMask, read: bool, write: bool) {
        if self.who.policy.predicts() {
            for (first, count) in pages.runs() {
                let start = chunk as u64 * PAGES + first as u64;
                self.launches.touched(Range { start, pages: count as u32, write, read });
            }
        }
    }

    /// The pages of a chunk that no kernel is writing at `at`.
    fn at_rest(&self, chunk: usize, at: u64) -> PageMask {
        let c = &self.chunks[chunk];
        if at < c.written_until { !c.written } else { PageMask::FULL }
    }

    /// Brings pages home from `at` on: when they are there.
    fn home(&mut self, chunk: usize, pages: PageMask, write: bool, at: u64) -> u64 {
        let bytes = pages.count() as u64 * PAGE;
        let end = self.to_host.work(at, self.costs.transfer(bytes));
        self.out.bytes_home += bytes;
        self.bytes.copy_home(chunk, pages);
        let c = &mut self.chunks[chunk];
        c.host = c.host | pages;
        // Only libhmmrt's own rules keep both.
        if write || self.who.side != Side::Acquire {
            c.device = c.device & !pages;
        }
        end
    }

    /// The same in the background.
    pub(super) fn home_early(&mut self, chunk: usize, pages: PageMask, write: bool, at: u64) {
        if !pages.is_empty() {
            let end = self.home(chunk, pages, write, at) + self.costs.latency;
            let c = &mut self.chunks[chunk];
            c.coming = c.coming | pages;
            c.host_at = c.host_at.max(end);
        }
    }
}
