//! The device's memory, in chunks: who leaves when there is no room.

use super::{Replay, Side, TooLarge};
use crate::reasons::Reason;
use crate::trace::{PAGE, PAGES};
use hmmrt::policy::{Candidate, PageMask};

impl Replay<'_> {
    /// Whether a launch's own chunks fit at all.
    pub(super) fn check_size(&self, mine: &[usize]) -> Result<(), TooLarge> {
        let mut all = mine.to_vec();
        all.sort_unstable();
        all.dedup();
        if all.len() > self.trace.device { Err(TooLarge) } else { Ok(()) }
    }

    /// Makes sure that a chunk has memory: from when on. What must not go is `keep`.
    pub(super) fn take_slot(&mut self, chunk: usize, keep: &[usize]) -> Result<u64, TooLarge> {
        if self.chunks[chunk].committed {
            return Ok(0);
        }
        let mut free = self.cpu;
        while self.committed >= self.trace.device {
            let Some(victim) = self.victim(self.cpu, keep, 0) else {
                // All is in use or on its way: until a kernel has ended, or what was sent early is there.
                let others = (0..self.chunks.len()).filter(|c| !keep.contains(c)).map(|c| &self.chunks[c]);
                let until = others.filter(|c| c.committed).map(|c| c.used_until.max(c.device_at)).min();
                self.wait(Reason::Room, until.ok_or(TooLarge)?);
                continue;
            };
            free = self.evict(victim, self.cpu);
        }
        self.commit(chunk);
        Ok(free)
    }

    /// The same for what may be needed: `None` if all else is more likely to be.
    pub(super) fn take_slot_early(&mut self, chunk: usize, at: u64, keep: &[usize]) -> Option<u64> {
        let mut free = at;
        if !self.chunks[chunk].committed {
            while self.committed >= self.trace.device {
                let victim = self.victim(at, keep, 2)?;
                free = self.evict(victim, at);
            }
            self.commit(chunk);
        }
        Some(free)
    }

    fn commit(&mut self, chunk: usize) {
        self.committed += 1;
        self.chunks[chunk].committed = true;
    }

    /// Who goes first of those that no kernel uses at `at` and that are not needed in less than `soon` launches.
    fn victim(&self, at: u64, keep: &[usize], soon: u64) -> Option<usize> {
        let now = if self.who.side == Side::Faults { self.moves } else { self.number };
        let could = |c: &usize| {
            let chunk = &self.chunks[*c];
            chunk.committed && chunk.used_until <= at && chunk.device_at <= at && !keep.contains(c)
        };
        (0..self.chunks.len())
            .filter(could)
            .map(|c| (self.candidate(c), c))
            .filter(|(candidate, _)| candidate.empty || candidate.used.distance(self.number) >= soon)
            .max_by_key(|(candidate, c)| (self.who.policy.give_up(candidate, now), std::cmp::Reverse(*c)))
            .map(|(_, c)| c)
    }

    fn candidate(&self, chunk: usize) -> Candidate {
        let c = &self.chunks[chunk];
        let start = chunk as u64 * PAGES;
        Candidate {
            used: self.recency.of(0, self.owners[chunk] as u64, start, start + PAGES, self.number),
            moved: c.moved,
            clean: c.device.within(c.host),
            empty: c.device.is_empty(),
        }
    }

    /// A chunk leaves the device: when its memory is free.
    pub(super) fn evict(&mut self, chunk: usize, at: u64) -> u64 {
        let c = &mut self.chunks[chunk];
        let only_there = c.device & !c.host;
        if !c.device.is_empty() {
            self.out.evictions += 1;
        }
        c.host = c.host | only_there;
        c.device = PageMask::EMPTY;
        c.committed = false;
        c.closed = false;
        self.committed -= 1;
        if only_there.is_empty() {
            return at;
        }
        let bytes = only_there.count() as u64 * PAGE;
        let end = self.to_host.work(at, self.costs.transfer(bytes)) + self.costs.latency;
        self.out.bytes_home += bytes;
        self.bytes.copy_home(chunk, only_there);
        let c = &mut self.chunks[chunk];
        c.comes(only_there, end);
        end
    }
}
