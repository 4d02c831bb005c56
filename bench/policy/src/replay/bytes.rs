//! What each page holds on each side, as the number of its last write: a replay that uses an old byte is wrong, and stops.

use crate::trace::PAGES;
use hmmrt::policy::PageMask;

pub(super) struct Bytes {
    truth: Vec<u32>,
    host: Vec<u32>,
    device: Vec<u32>,
}

fn numbers(chunk: usize, mask: PageMask) -> impl Iterator<Item = usize> {
    mask.runs()
        .flat_map(move |(first, count)| (first..first + count).map(move |p| chunk * PAGES as usize + p))
}

impl Bytes {
    pub(super) fn new(chunks: usize) -> Bytes {
        let pages = chunks * PAGES as usize;
        Bytes { truth: vec![1; pages], host: vec![1; pages], device: vec![0; pages] }
    }
    pub(super) fn copy_out(&mut self, chunk: usize, mask: PageMask) {
        numbers(chunk, mask).for_each(|p| self.device[p] = self.host[p]);
    }
    pub(super) fn copy_home(&mut self, chunk: usize, mask: PageMask) {
        numbers(chunk, mask).for_each(|p| self.host[p] = self.device[p]);
    }
    /// The CPU uses pages; with `write` it changes them.
    pub(super) fn cpu(&mut self, chunk: usize, mask: PageMask, write: bool) {
        for p in numbers(chunk, mask) {
            assert!(self.host[p] == self.truth[p], "the CPU used old bytes of page {p}");
            self.truth[p] += u32::from(write);
            self.host[p] = self.truth[p];
        }
    }
    /// A kernel uses pages; with `read` it needs what they had, and it changes those of `changed`.
    pub(super) fn device(&mut self, chunk: usize, mask: PageMask, read: bool, changed: PageMask) {
        for p in numbers(chunk, mask) {
            assert!(!read || self.device[p] == self.truth[p], "a kernel used old bytes of page {p}");
        }
        for p in numbers(chunk, mask & changed) {
            self.truth[p] += 1;
            self.device[p] = self.truth[p];
        }
    }
    /// A kernel uses pages where the host has them, over the bus.
    pub(super) fn remote(&mut self, chunk: usize, mask: PageMask, write: bool) {
        self.cpu(chunk, mask, write);
    }
}
