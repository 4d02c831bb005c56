//! What checksums after launches would do, which the runtime does not have: the host's copies of what a launch may change stay,
//! shut, until the device has hashed its own before and after the kernel. What is as it was is valid on both sides again. All
//! that is not known is in their favour: digests are remembered, changed pages' memory is given back at no cost, and a
//! kernel behind the launch knows its answer. Asked by `device` and `cpu`.

use super::{Chunk, Replay};
use crate::reasons::Reason;
use crate::trace::PAGE;
use hmmrt::AccessMode;
use hmmrt::policy::PageMask;

/// Which launches are followed by checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// None, as in the runtime.
    Off,
    /// All that may change what the host has.
    Always,
    /// Those that name chunks for which it has been of use.
    Learnt,
}

/// So many launches in a row for which it was of no use, and it is not done: a copy home costs as much as all of them.
const IN_VAIN: u32 = 16;
/// But for one in so many, to see.
const LOOK: u32 = 32;

/// Fewer pages than this are home before their digests would be.
const FEW: usize = 16;

/// What is remembered of a chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Check {
    /// Pages that the host has and the program can't touch: they were kept, and are as they were.
    pub(super) shut: PageMask,
    /// Pages whose digest the device has.
    known: PageMask,
    /// Launches that may have changed it, and those in a row whose checksums were of no use.
    launches: u32,
    in_vain: u32,
    /// The last one was followed by checksums; it has been of use.
    done: bool,
    used: bool,
}

impl Check {
    /// A launch may change the chunk: whether the last one's checksums were of use is settled.
    fn begin(&mut self, evicted: bool) {
        self.launches += 1;
        if self.done {
            // What left the device without a copy has been of use, too.
            let used = self.used || evicted && !self.shut.is_empty();
            self.in_vain = if used { 0 } else { self.in_vain + 1 };
        }
        (self.done, self.used) = (false, false);
    }

    fn is_worth_it(&self, when: Checksums) -> bool {
        match when {
            Checksums::Off => false,
            Checksums::Always => true,
            Checksums::Learnt => self.in_vain < IN_VAIN || self.launches.is_multiple_of(LOOK),
        }
    }

    /// New bytes come to the device, or change there unseen.
    pub(super) fn forget(&mut self, pages: PageMask) {
        self.known = self.known & !pages;
    }
}

/// The device's work for a launch's checksums: bytes to hash before and after.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    before: u64,
    after: u64,
}

impl Chunk {
    /// Of a launch's pages those whose host copies are kept through it.
    pub(super) fn kept(&mut self, pages: PageMask, mode: AccessMode, when: Checksums) -> PageMask {
        if when == Checksums::Off || !mode.writes() || pages.count() < FEW {
            return PageMask::EMPTY;
        }
        self.check.begin(!self.committed);
        // What is only to be written, and not there, has no bytes that could stay.
        let there = if mode == AccessMode::Write { self.device } else { PageMask::FULL };
        let kept = pages & self.host & there & !self.coming;
        if self.check.is_worth_it(when) { kept } else { PageMask::EMPTY }
    }
}

impl Replay<'_> {
    /// When checksums are made, if the contender makes any.
    pub(super) fn checksums(&self) -> Checksums {
        if self.who.policy.predicts() { self.costs.checksums } else { Checksums::Off }
    }

    /// Pages of a chunk are kept through a launch, which changes some.
    pub(super) fn keep(&mut self, chunk: usize, kept: PageMask, changed: PageMask, work: &mut Work) {
        let c = &mut self.chunks[chunk];
        work.before += (kept & !c.check.known).count() as u64 * PAGE;
        work.after += kept.count() as u64 * PAGE;
        c.check.known = c.check.known | kept;
        c.check.shut = c.check.shut | kept & !changed;
        c.host = c.host & !(kept & changed);
        c.check.done |= !kept.is_empty();
    }

    /// How long the device hashes before and after a kernel.
    pub(super) fn hashing(&mut self, work: Work) -> (u64, u64) {
        let costs = self.costs;
        let time = |bytes: u64| match bytes {
            0 => 0,
            _ => costs.hash_launch + (bytes as f64 * 1e9 / costs.hash).ceil() as u64,
        };
        let (before, after) = (time(work.before), time(work.after));
        self.out.hashing += before + after;
        // The host copies that a kernel has made old are held as long.
        let shut: u64 = self.chunks.iter().map(|c| c.check.shut.count() as u64 * PAGE).sum();
        self.out.held = self.out.held.max(shut.max(work.after));
        (before, after)
    }

    /// The CPU touches a chunk with pages that are shut. As where chunks came early, several are opened by who goes on.
    pub(super) fn unshut(&mut self, chunk: usize, page: usize, write: bool) {
        self.chunks[chunk].check.used = true;
        let shut = std::mem::take(&mut self.chunks[chunk].check.shut);
        if write {
            return; // it takes the pages from the device, and opens them by the way
        }
        self.out.faults += 1;
        self.wait(Reason::Opening, self.cpu + self.costs.opening);
        let owner = self.owners[chunk];
        let dense = self.histories[owner].fetch.is_dense() == Some(true);
        self.learn(chunk, if dense { PageMask::FULL } else { shut & PageMask::span(page, 1) }, true, false);
        let with = self.histories[owner].opens(chunk as u64) as usize;
        for next in chunk + 1..=chunk + with {
            let Some(c) = self.chunks.get(next) else { return };
            if self.owners[next] != owner || c.check.shut.is_empty() || self.cpu < c.written_until {
                return;
            }
            self.wait(Reason::Opening, self.cpu + self.costs.protect);
            self.chunks[next].check.shut = PageMask::EMPTY;
            self.chunks[next].check.used = true;
            self.learn(next, PageMask::FULL, true, false);
        }
    }
}
