//! Chunks of freed large blocks that keep their memory, up to the limit of the spare blocks: programs free and allocate arrays
//! of megabytes all the time, and the kernel takes longer to find and zero pages than most of them to use them. Only memory
//! that no pin and no protection has touched, and only until a device is open. Part of the heap, under its lock.

use crate::addr::{ByteRange, CHUNK};
use crate::stats::STATS;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use std::collections::BTreeMap;

/// The most bytes.
static LIMIT: AtomicUsize = AtomicUsize::new(64 << 20);

/// Sets the limit.
pub(crate) fn set_limit(bytes: usize) {
    LIMIT.store(bytes, Relaxed);
}

/// Runs of chunks, start and length in bytes.
pub(crate) struct Warm {
    runs: BTreeMap<usize, usize>,
    bytes: usize,
}

impl Warm {
    /// None.
    pub(crate) const fn new() -> Warm {
        Warm { runs: BTreeMap::new(), bytes: 0 }
    }

    /// Takes the smallest run that has room for `len` bytes at a multiple of `align`; what is left of
    /// it stays.
    pub(crate) fn take(&mut self, len: usize, align: usize) -> Option<ByteRange> {
        if self.bytes < len {
            return None;
        }
        let fits = |start: usize, size: usize| start.next_multiple_of(align) - start + len <= size;
        let all = self.runs.iter().map(|(&start, &size)| (start, size));
        let (start, size) = all.filter(|&(start, size)| fits(start, size)).min_by_key(|(_, size)| *size)?;
        let at = start.next_multiple_of(align);
        self.remove(start);
        self.add(ByteRange { start, end: at });
        self.add(ByteRange { start: at + len, end: start + size });
        Some(ByteRange { start: at, end: at + len })
    }

    /// Whether `range` is kept. If so, what it drives out has come through `out`.
    pub(crate) fn put(&mut self, range: ByteRange, out: &mut Vec<ByteRange>) -> bool {
        let limit = LIMIT.load(Relaxed);
        if range.len() > limit {
            return false;
        }
        while self.bytes + range.len() > limit {
            out.extend(self.pop());
        }
        self.add(range);
        true
    }

    /// Gives up one run.
    pub(crate) fn pop(&mut self) -> Option<ByteRange> {
        let (&start, &size) = self.runs.iter().next()?;
        self.remove(start);
        Some(ByteRange { start, end: start + size })
    }

    /// The runs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = ByteRange> {
        self.runs.iter().map(|(&start, &size)| ByteRange { start, end: start + size })
    }

    fn remove(&mut self, start: usize) {
        let size = self.runs.remove(&start).unwrap_or(0);
        self.bytes -= size;
        STATS.spare_bytes.sub(size as u64);
    }

    /// Neighbours become one run.
    fn add(&mut self, mut range: ByteRange) {
        debug_assert!(range.start.is_multiple_of(CHUNK) && range.len().is_multiple_of(CHUNK));
        if range.len() == 0 {
            return;
        }
        self.bytes += range.len();
        STATS.spare_bytes.add(range.len() as u64);
        if let Some((&start, &size)) = self.runs.range(..range.start).next_back()
            && start + size == range.start
        {
            self.runs.remove(&start);
            range.start = start;
        }
        if let Some(size) = self.runs.remove(&range.end) {
            range.end += size;
        }
        self.runs.insert(range.start, range.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: usize, count: usize) -> ByteRange {
        ByteRange { start: first * CHUNK, end: (first + count) * CHUNK }
    }

    #[test]
    fn the_smallest_that_fits_and_no_more_than_the_limit() {
        let (mut warm, mut out) = (Warm::new(), Vec::new());
        for (first, count) in [(10, 4), (20, 2), (30, 8)] {
            assert!(warm.put(range(first, count), &mut out));
        }
        assert_eq!(warm.take(2 * CHUNK, CHUNK), Some(range(20, 2)));
        assert_eq!(warm.take(3 * CHUNK, 4 * CHUNK), Some(range(32, 3)), "aligned: the first has no room");
        assert_eq!(warm.take(5 * CHUNK, CHUNK), None);
        assert!(warm.put(range(32, 3), &mut out)); // and is one run with its neighbours again
        assert_eq!(warm.take(8 * CHUNK, CHUNK), Some(range(30, 8)));
        assert!(out.is_empty());
        assert!(warm.put(range(100, 30), &mut out));
        assert_eq!(out, [range(10, 4)], "driven out");
        assert!(!warm.put(range(200, 33), &mut out));
        assert_eq!((warm.pop(), warm.pop()), (Some(range(100, 30)), None));
        assert_eq!(warm.bytes, 0);
    }
}
