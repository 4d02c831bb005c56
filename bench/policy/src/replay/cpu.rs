//! The CPU's touches: waiting for kernels and for what is on its way, faults, what comes along, what is read ahead, and what
//! goes out behind a writer.

use super::device::chunks_of;
use super::early::Kind;
use super::{Replay, Side};
use crate::reasons::Reason;
use crate::trace::{PAGE, PAGES, Touch};
use hmmrt::policy::{Bring, Learn, PageMask, Range};

impl Replay<'_> {
    pub(super) fn touch(&mut self, chunk: usize, mask: PageMask, touch: Touch, ns: u64) {
        let write = touch != Touch::Read;
        loop {
            self.catch_up();
            if mask.is_empty() {
                break; // it only computes, and opens nothing
            }
            let c = &mut self.chunks[chunk];
            if self.cpu >= c.written_until {
                c.written = PageMask::EMPTY;
            } else if mask.meets(c.written) {
                let until = c.written_until;
                self.wait(Reason::Kernel, until);
                continue;
            }
            c.arrived(self.cpu);
            if mask.meets(c.coming) {
                let until = c.arrival(mask);
                self.wait(Reason::InFlight, until);
                continue;
            }
            if c.closed {
                self.open(chunk, write);
                continue;
            }
            if let Some(page) = (mask & c.check.shut).first() {
                self.unshut(chunk, page, write);
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
            whole: true,
            order: Default::default(),
        };
        let owner = self.owners[chunk];
        let bring = match fetch && self.is_awaited(chunk) {
            // The reader has come before the chunk, which is no new touch.
            true => {
                self.reached(chunk, write);
                Bring::only(alike)
            }
            false => self.who.policy.bring(&touch, &mut self.histories[owner], self.regulars.of(&touch)),
        };
        let pages = bring.pages & alike | PageMask::span(page, 1);
        let learnt = match bring.learn {
            Learn::Pages => pages,
            Learn::Chunk => PageMask::FULL,
            Learn::Nothing => PageMask::EMPTY,
        };
        self.learn(chunk, learnt, fetch, write);
        if fetch {
            // What has come is put in place after it has crossed.
            let (before, latency, after) = match uvm {
                true => (self.costs.uvm_cpu_fault, 0, 0),
                false => {
                    let place = self.costs.place + self.costs.pieces(pages);
                    (self.costs.fault - self.costs.place, self.costs.latency, place)
                }
            };
            self.wait(Reason::ReadFault, self.cpu + before);
            let end = self.home(chunk, pages, write, self.cpu) + latency;
            self.wait(Reason::CopyHome, end);
            self.wait(Reason::ReadFault, self.cpu + after);
        } else {
            let c = &mut self.chunks[chunk];
            c.device = c.device & !pages;
            let leaving = c.device_at;
            self.wait(Reason::CopyOut, leaving);
            self.wait(Reason::WriteFault, self.cpu + self.costs.take + self.costs.pieces(pages));
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
        if bring.ahead > 0 {
            self.read_ahead(owner, chunk + 1, bring.ahead, write);
        }
        if !fetch && self.who.policy.predicts() {
            self.send_behind(chunk, page, bring.behind && chunk > first);
        }
    }

    /// Sends what a writer has left behind who has come to a page: since it was seen last, or (`one`) the chunk before.
    fn send_behind(&mut self, chunk: usize, page: usize, one: bool) {
        let at = chunk as u64 * PAGES;
        let before = Range { start: at.saturating_sub(PAGES), pages: PAGES as u32, write: true, read: false };
        let left = self.launches.left_behind(at + page as u64).or_else(|| {
            let reads = one && self.launches.next_reads(before.start, at);
            reads.then_some(before)
        });
        for (behind, pages) in left.into_iter().flat_map(chunks_of) {
            self.was_written(behind);
            self.post(Kind::Out, self.cpu, behind, pages, false, &[]);
        }
    }

    /// Tells the history of launches.
    pub(super) fn learn(&mut self, chunk: usize, pages: PageMask, read: bool, write: bool) {
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
    pub(super) fn home(&mut self, chunk: usize, pages: PageMask, write: bool, at: u64) -> u64 {
        self.forget_early(chunk, pages);
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
}
