//! What comes home, and is taken, before it is touched: by a thread that does one chunk at a time, while faults go first.

use super::Replay;
use hmmrt::policy::PageMask;

/// Pages of a chunk that are to come home, not before `release`.
pub(super) struct Job {
    release: u64,
    chunk: usize,
    pages: PageMask,
    write: bool,
}

impl Replay<'_> {
    /// Pages are to come home from `at` on.
    pub(super) fn home_early(&mut self, chunk: usize, pages: PageMask, write: bool, at: u64) {
        if !pages.is_empty() {
            self.early.push(Job { release: at, chunk, pages, write });
        }
    }

    /// Whether all of these pages are to come home.
    pub(super) fn is_awaited(&self, chunk: usize, pages: PageMask) -> bool {
        let mine = self.early.iter().filter(|j| j.chunk == chunk);
        pages.within(mine.fold(PageMask::EMPTY, |all, j| all | j.pages))
    }

    /// Pages are brought by a fault, or written by a kernel: they need not come any more.
    pub(super) fn forget_early(&mut self, chunk: usize, pages: PageMask) {
        self.early.iter_mut().filter(|j| j.chunk == chunk).for_each(|j| j.pages = j.pages & !pages);
        self.early.retain(|j| !j.pages.is_empty());
    }

    /// Does what has begun by now.
    pub(super) fn catch_up(&mut self) {
        while let Some((start, i)) =
            self.early.iter().enumerate().map(|(i, j)| (self.to_host.free(j.release), i)).min()
        {
            if start > self.cpu {
                return;
            }
            let Job { chunk, pages, write, .. } = self.early.remove(i);
            let c = &self.chunks[chunk];
            let pages = pages & c.device & !c.host;
            if !pages.is_empty() {
                let there = self.home(chunk, pages, write, start) + self.costs.latency;
                let end = self.helper.work(there, self.costs.place);
                self.chunks[chunk].comes(pages, end);
            }
        }
    }

    /// Takes pages that both sides have from the device, before the CPU writes them.
    pub(super) fn take_early(&mut self, chunk: usize, pages: PageMask) {
        let c = &mut self.chunks[chunk];
        let both = pages & c.host & c.device;
        if !both.is_empty() {
            c.device = c.device & !both;
            let end = self.helper.work(self.cpu, self.costs.protect);
            self.chunks[chunk].comes(both, end);
        }
    }
}
