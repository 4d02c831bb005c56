//! Launches whose pages are there before they start, and what is moved early around them.

use super::checksums::Work;
use super::early::Kind;
use super::{Checksums, Replay, Side, TooLarge};
use crate::reasons::Reason;
use crate::trace::{PAGE, PAGES, Use};
use hmmrt::AccessMode;
use hmmrt::policy::{Launches, PageMask, Range};

/// What a launch gets of a chunk, and what it really changes of that.
#[derive(Clone, Copy)]
struct Part {
    chunk: usize,
    pages: PageMask,
    mode: AccessMode,
    changed: PageMask,
}

impl Replay<'_> {
    pub(super) fn launch(&mut self, kernel: u64, uses: &[Use], ns: u64) -> Result<(), TooLarge> {
        self.number += 1;
        self.catch_up();
        let ranges_named = self.named(uses);
        let named: Vec<Part> = ranges_named.concat();
        let mine: Vec<usize> = named.iter().map(|part| part.chunk).collect();
        self.check_size(&mine)?;
        let (mut ready, mut late) = (0, 0);
        let mut moved = vec![false; self.histories.len()];
        let changes = |part: &&Part| {
            let c = &self.chunks[part.chunk];
            !part.pages.within(c.device) || part.mode.writes() && part.pages.meets(c.host & !c.check.shut)
        };
        // The crew helps with a range of which enough chunks change.
        let (crew, worth) = self.costs.crew;
        let helped = ranges_named.iter().flat_map(|range| {
            let help = range.iter().filter(changes).count() >= worth;
            range.iter().map(move |_| if help { crew } else { 1 })
        });
        let helped: Vec<u64> = helped.collect();
        let mut hash = Work::default();
        let mut checked = vec![false; named.len()];
        for ((&Part { chunk, pages, mode, changed }, crew), checked) in
            named.iter().zip(helped).zip(&mut checked)
        {
            self.overtaken(chunk, pages);
            let slot = self.take_slot(chunk, &mine)?;
            let when = self.checksums();
            let c = &mut self.chunks[chunk];
            let kept = c.kept(pages, mode, when);
            let lacks = pages & !c.device;
            let leaves = if mode.writes() { pages & c.host } else { PageMask::EMPTY };
            let vain = c.closed && !leaves.is_empty();
            late += u32::from(mode != AccessMode::Write && (!lacks.is_empty() || c.device_at > self.cpu));
            ready = ready.max(c.device_at).max(c.arrival(lacks));
            // What was kept, and was not touched since, is protected.
            if !(lacks.is_empty() && leaves.within(kept & c.check.shut)) {
                let cost = if leaves.within(kept) { self.costs.share } else { self.costs.send } / crew;
                let pieces = self.costs.pieces(lacks | leaves) / crew;
                self.wait(Reason::Protect, self.cpu + cost + pieces);
                moved[self.owners[chunk]] = true;
            }
            if mode != AccessMode::Write {
                let there = self.send(chunk, lacks, slot.max(self.cpu));
                let c = &mut self.chunks[chunk];
                c.device_at = c.device_at.max(there);
                ready = ready.max(there);
            }
            if vain {
                self.histories[self.owners[chunk]].early_ended(false);
            }
            let c = &mut self.chunks[chunk];
            c.closed = false;
            c.device = c.device | pages;
            c.host = c.host & !(leaves & !kept);
            c.check.shut = c.check.shut & c.host;
            c.check.forget(leaves & !kept);
            *checked = !kept.is_empty();
            self.keep(chunk, kept, changed, &mut hash);
            let c = &mut self.chunks[chunk];
            c.coming = c.coming & c.host;
            if mode.writes() {
                self.forget_early(chunk, pages);
            }
        }
        if self.costs.launches_wait {
            self.wait(Reason::CopyOut, ready);
        }
        let (before, after) = self.hashing(hash);
        let done = self.cpu.max(self.device).max(ready) + before + ns;
        self.device = done + after;
        for (&Part { chunk, pages, mode, changed }, checked) in named.iter().zip(checked) {
            self.bytes.device(chunk, pages, mode != AccessMode::Write, changed);
            let end = if checked { done + after + self.costs.latency } else { done };
            let c = &mut self.chunks[chunk];
            let end = end.max(c.used_until);
            c.used = if c.used_until > self.cpu { c.used | pages } else { pages };
            c.used_until = end;
            if mode.writes() {
                c.written = if c.written_until > self.cpu { c.written | pages } else { pages };
                c.written_until = end;
            }
        }
        for (history, moved) in self.histories.iter_mut().zip(moved) {
            if moved {
                history.device_uses();
            }
        }
        for u in uses {
            let around = self.owners[(u.start / PAGES) as usize] as u64;
            self.recency.uses(0, around, u.start, u.start + u.pages, self.number);
        }
        if self.who.policy.predicts() {
            self.launches.late(late);
            self.predict(kernel, uses, &mine);
        }
        Ok(())
    }

    /// What a launch gets: its ranges, or their allocations.
    fn named(&self, uses: &[Use]) -> Vec<Vec<Part>> {
        if self.who.side == Side::Acquire {
            let part = |u: &Use, (chunk, pages): (usize, PageMask)| {
                let changed = u.changed(chunk, pages);
                Part { chunk, pages, mode: u.mode, changed }
            };
            let of = |u: &Use| u.named().map(|p| part(u, p)).collect();
            return uses.iter().map(of).collect();
        }
        let mut owners: Vec<usize> = uses.iter().map(|u| self.owners[(u.start / PAGES) as usize]).collect();
        owners.sort_unstable();
        owners.dedup();
        let all = |o: usize| {
            let (first, count) = self.trace.allocations[o];
            let (pages, mode) = (PageMask::FULL, AccessMode::ReadWrite);
            (first..first + count).map(|chunk| Part { chunk, pages, mode, changed: pages }).collect()
        };
        owners.into_iter().map(all).collect()
    }

    /// Copies pages to the device from `at` on: when they are there.
    fn send(&mut self, chunk: usize, pages: PageMask, at: u64) -> u64 {
        if pages.is_empty() {
            return 0;
        }
        let c = &self.chunks[chunk];
        // A kernel may still read the older bytes.
        let at = if pages.meets(c.used) { at.max(c.used_until) } else { at };
        let bytes = pages.count() as u64 * PAGE;
        let end = self.to_device.work(at, self.costs.transfer(bytes)) + self.costs.latency;
        self.out.bytes_out += bytes;
        self.bytes.copy_out(chunk, pages);
        self.chunks[chunk].check.forget(pages);
        self.moves += 1;
        self.chunks[chunk].moved = self.moves;
        end
    }

    /// Sends a copy of pages in the background, if there is room or something can go for it that is not in `keep` nor needed
    /// soon.
    pub(super) fn send_early(&mut self, chunk: usize, pages: PageMask, at: u64, keep: &[usize]) {
        // What came home early stays for who it came for, and what a kernel uses is left alone.
        let c = &self.chunks[chunk];
        if pages.is_empty() || c.closed || c.used_until > at {
            return;
        }
        let Some(slot) = self.take_slot_early(chunk, at, keep) else { return };
        let end = self.send(chunk, pages, slot.max(at) + self.costs.share + self.costs.pieces(pages));
        self.helpers[self.thread] = end;
        let c = &mut self.chunks[chunk];
        c.device = c.device | pages;
        c.device_at = c.device_at.max(end);
    }

    fn predict(&mut self, kernel: u64, uses: &[Use], mine: &[usize]) {
        let ranges = || ranges(uses);
        let (mut home, mut out) = (Vec::new(), Vec::new());
        let key = Launches::key(kernel, ranges());
        self.launches.launched(key, ranges(), |r| home.push(r), |r| out.push(r));
        for r in home {
            for (chunk, pages) in chunks_of(r) {
                let c = &self.chunks[chunk];
                let end = if self.cpu < c.written_until { c.written_until } else { self.cpu };
                // What is kept is taken once it is known which it is.
                let takes = if self.checksums() == Checksums::Off { self.cpu } else { end };
                let (kind, release) = if r.read { (Kind::Home, end) } else { (Kind::Take, takes) };
                self.post(kind, release, chunk, pages, r.write, &[]);
            }
        }
        let next: Vec<(usize, PageMask)> = out.into_iter().flat_map(chunks_of).collect();
        let keep: Vec<usize> = next.iter().map(|(c, _)| *c).chain(mine.iter().copied()).collect();
        for (chunk, pages) in next {
            self.post(Kind::Out, self.cpu, chunk, pages, false, &keep);
        }
    }
}

/// What a launch is known by.
pub(super) fn ranges(uses: &[Use]) -> impl Iterator<Item = Range> {
    uses.iter().map(|u| Range {
        start: u.start,
        pages: u.pages as u32,
        write: u.mode.writes(),
        read: u.mode != AccessMode::Write,
    })
}

/// Pages by chunk.
pub(super) fn chunks_of(r: Range) -> Vec<(usize, PageMask)> {
    Use::all(r.start, r.pages.into(), AccessMode::Read).named().collect()
}
