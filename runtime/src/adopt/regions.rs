//! The adopted ranges in order, and the summaries of those that somebody asked about. Under the lock of adoption. No
//! allocation: who waits for the lock may have interrupted malloc.

use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::block::Block;
use crate::chunk::Guard;
use crate::error::Result;
use crate::list::List;
use crate::table;

/// One adopted range.
#[derive(Clone, Copy)]
struct Region {
    range: ByteRange,
    /// The summary of its whole chunks, made when a device's use of it was first asked for.
    block: Option<&'static Block>,
}

/// The first and the end of the whole chunks in `range`.
fn whole_chunks(range: ByteRange) -> core::ops::Range<usize> {
    range.start.next_multiple_of(CHUNK)..range.end & !(CHUNK - 1)
}

/// More than the kernel has mappings for, even if neighbours merge.
const MOST: usize = 1 << 20;

/// The list, from the highest address to the lowest: the kernel maps downwards, so new ones come last.
pub(super) struct Regions {
    list: List<Region>,
    /// Summaries that are in no use any more; given back where that may allocate.
    retired: List<&'static Block>,
}

impl Regions {
    /// No region.
    pub(super) const fn new() -> Regions {
        Regions {
            list: List::new(MOST, "a list of mappings"),
            retired: List::new(MOST, "a list of mappings"),
        }
    }

    /// The ranges.
    pub(super) fn ranges(&self) -> impl Iterator<Item = ByteRange> {
        self.list.all().iter().map(|r| r.range)
    }

    /// The indices of those that share a byte with `range`.
    fn meeting(&self, range: ByteRange) -> core::ops::Range<usize> {
        let all = self.list.all();
        let first = all.partition_point(|r| r.range.start >= range.end);
        let count = all[first..].partition_point(|r| r.range.end > range.start);
        first..first + count
    }

    /// The parts of `range` that are adopted, from the highest to the lowest.
    pub(super) fn parts(&self, range: ByteRange) -> impl Iterator<Item = ByteRange> {
        self.list.all()[self.meeting(range)].iter().map(move |r| ByteRange {
            start: r.range.start.max(range.start),
            end: r.range.end.min(range.end),
        })
    }

    /// Whether all of `range` is adopted.
    pub(super) fn cover(&self, range: ByteRange) -> bool {
        self.parts(range).map(ByteRange::len).sum::<usize>() == range.len()
    }

    /// The adopted bytes without a gap around the start of `range`: from the start of its region to the end of the last
    /// that `range` reaches.
    pub(super) fn around(&self, range: ByteRange) -> Option<ByteRange> {
        let all = self.list.all();
        let mut i = all.partition_point(|r| r.range.start > range.start);
        let first = all.get(i).filter(|r| range.start < r.range.end)?.range;
        let mut end = first.end;
        while end < range.end && i > 0 && all[i - 1].range.start == end {
            i -= 1;
            end = all[i].range.end;
        }
        Some(ByteRange { start: first.start, end })
    }

    /// A region in `range` that has whole chunks and no summary yet.
    pub(super) fn without_summary(&self, range: ByteRange) -> Option<ByteRange> {
        let regions = self.list.all()[self.meeting(range)].iter();
        regions.filter(|r| r.block.is_none() && !whole_chunks(r.range).is_empty()).map(|r| r.range).next()
    }

    /// Gives the region `range` its summary; whether it is there still and has none.
    pub(super) fn summarize(&mut self, range: ByteRange, block: &'static Block) -> bool {
        let found = self.meeting(range).find(|i| self.list.all()[*i].range == range);
        let Some(region) = found.map(|i| &mut self.list.all_mut()[i]).filter(|r| r.block.is_none()) else {
            return false;
        };
        region.block = Some(block);
        for at in whole_chunks(range).step_by(CHUNK) {
            Guard::lock(table::known(HostAddr(at)), HostAddr(at)).link(block);
        }
        block.join();
        true
    }

    /// A summary that is in no use any more.
    pub(super) fn retired(&mut self) -> Option<&'static Block> {
        let block = *self.retired.all().last()?;
        self.retired.remove(self.retired.all().len() - 1, 1);
        Some(block)
    }

    /// Takes the summaries of all regions that meet `range` away: their chunks are about to change. Needs room (see
    /// [`Regions::make_room`]).
    pub(super) fn retire(&mut self, range: ByteRange) {
        for i in self.meeting(range) {
            let Region { range, block } = self.list.all()[i];
            let Some(block) = block else { continue };
            block.part();
            for (at, _) in range.chunks() {
                Guard::lock(table::known(at), at).unlink_from(block);
            }
            self.list.all_mut()[i].block = None;
            if self.retired.make_room(1).is_ok() {
                self.retired.insert(self.retired.all().len(), block);
            } // else it is never used again
        }
    }

    /// Makes sure that two ranges can be cut out and another put in.
    pub(super) fn make_room(&mut self) -> Result<()> {
        self.list.make_room(8)
    }

    /// Puts a range in that meets none. Needs room.
    pub(super) fn insert(&mut self, range: ByteRange) {
        let at = self.list.all().partition_point(|r| r.range.start > range.start);
        self.list.insert(at, Region { range, block: None });
    }

    /// Cuts `range` out of the list; what is left of regions that reached beyond it stays. Their summaries were retired.
    /// Needs room.
    pub(super) fn cut(&mut self, range: ByteRange) {
        let meeting = self.meeting(range);
        if meeting.is_empty() {
            return;
        }
        let all = self.list.all();
        let (high, low) = (all[meeting.start].range, all[meeting.end - 1].range);
        let at = meeting.start;
        debug_assert!(all[meeting.clone()].iter().all(|r| r.block.is_none()));
        self.list.remove(at, meeting.len());
        if low.start < range.start {
            let rest = ByteRange { start: low.start, end: range.start };
            self.list.insert(at, Region { range: rest, block: None });
        }
        if high.end > range.end {
            let rest = ByteRange { start: range.end, end: high.end };
            self.list.insert(at, Region { range: rest, block: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against one flag for each of 64 units: what is covered, and where runs end.
        #[test]
        fn covers_what_was_put_in_and_not_cut_out(steps in proptest::collection::vec((0usize..64, 1usize..20, any::<bool>()), 1..60)) {
            let (mut regions, mut model) = (Regions::new(), [false; 64]);
            let bytes = |start: usize, end: usize| ByteRange { start: start << 12, end: end << 12 };
            for (start, len, put) in steps {
                let end = (start + len).min(64);
                regions.make_room().unwrap();
                if put && model[start..end].iter().all(|m| !m) {
                    regions.insert(bytes(start, end));
                    model[start..end].fill(true);
                } else if !put {
                    regions.cut(bytes(start, end));
                    model[start..end].fill(false);
                }
                let all: Vec<_> = regions.ranges().collect();
                prop_assert!(all.windows(2).all(|w| w[1].end <= w[0].start));
                for a in 0..64 {
                    let around = regions.around(bytes(a, 64));
                    prop_assert_eq!(around.is_some(), model[a]);
                    if let Some(r) = around {
                        let run = model[a..].iter().take_while(|m| **m).count();
                        prop_assert!(r.start <= a << 12 && r.end == (a + run) << 12);
                    }
                    for b in a + 1..=64 {
                        prop_assert_eq!(regions.cover(bytes(a, b)), model[a..b].iter().all(|m| *m));
                    }
                }
            }
        }
    }
}
