//! A set of pages of one chunk: 512 bits. Plain values with set algebra and runs; `SharedMask` is the same set in the
//! table, written under the chunk's lock and read from anywhere. Signal-safe: all of it.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE, PAGES};
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering::*, fence};

/// A set of the 512 pages of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PageMask([u64; 8]);

impl PageMask {
    /// No page.
    pub const EMPTY: PageMask = PageMask([0; 8]);
    /// All 512 pages.
    pub const FULL: PageMask = PageMask([!0; 8]);

    /// The pages `first..first + count` (`first + count <= 512`).
    pub fn span(first: usize, count: usize) -> PageMask {
        debug_assert!(first + count <= PAGES);
        let mut m = [0u64; 8];
        let end = first + count;
        for (i, word) in m.iter_mut().enumerate() {
            let lo = first.max(i * 64);
            let hi = end.min(i * 64 + 64);
            if lo < hi {
                let n = hi - lo;
                *word = if n == 64 { !0 } else { ((1u64 << n) - 1) << (lo - i * 64) };
            }
        }
        PageMask(m)
    }

    /// The pages of its chunk that `part` (inside one chunk) touches.
    pub fn of(part: ByteRange) -> PageMask {
        let out = part.pages_out();
        if out.len() == CHUNK {
            return PageMask::FULL;
        }
        PageMask::span(HostAddr(out.start).page_in_chunk(), out.len() / PAGE)
    }

    /// Whether page `page` is in the set.
    pub fn has(&self, page: usize) -> bool {
        self.0[page / 64] >> (page % 64) & 1 != 0
    }
    /// Whether the set has no page.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 8]
    }
    /// Whether the set has all pages.
    pub fn is_full(&self) -> bool {
        self.0 == [!0; 8]
    }
    /// Number of pages in the set.
    pub fn count(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }
    /// Whether every page of `self` is in `other`.
    pub fn within(&self, other: PageMask) -> bool {
        (*self & !other).is_empty()
    }
    /// Whether the two share a page.
    pub fn meets(&self, other: PageMask) -> bool {
        !(*self & other).is_empty()
    }
    /// The first page in the set.
    pub fn first(&self) -> Option<usize> {
        self.0.iter().position(|&w| w != 0).map(|i| i * 64 + self.0[i].trailing_zeros() as usize)
    }
    /// Maximal runs of consecutive pages, as `(first, count)`, ascending.
    pub fn runs(self) -> Runs {
        Runs { mask: self, at: 0 }
    }
    /// How many pages but the first are not in the same ones of the sets as the page before them.
    pub fn borders(sets: [PageMask; 2]) -> usize {
        let mut carry = sets.map(|s| s.0[0] & 1);
        let mut borders = 0;
        for i in 0..8 {
            let mut differ = 0;
            for (set, carry) in sets.iter().zip(&mut carry) {
                let word = set.0[i];
                differ |= word ^ (word << 1 | *carry);
                *carry = word >> 63;
            }
            borders += differ.count_ones() as usize;
        }
        borders
    }
    fn next_at(&self, from: usize, set: bool) -> usize {
        let mut i = from / 64;
        let mut skip = from % 64;
        while i < 8 {
            let word = if set { self.0[i] } else { !self.0[i] } & (!0u64 << skip);
            if word != 0 {
                return i * 64 + word.trailing_zeros() as usize;
            }
            i += 1;
            skip = 0;
        }
        PAGES
    }
}

impl core::fmt::Debug for PageMask {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.runs()).finish()
    }
}

/// Iterator of [`PageMask::runs`].
pub struct Runs {
    mask: PageMask,
    at: usize,
}

impl Iterator for Runs {
    type Item = (usize, usize);
    fn next(&mut self) -> Option<(usize, usize)> {
        if self.at >= PAGES {
            return None;
        }
        let first = self.mask.next_at(self.at, true);
        if first == PAGES {
            self.at = PAGES;
            return None;
        }
        let end = self.mask.next_at(first, false);
        self.at = end;
        Some((first, end - first))
    }
}

macro_rules! bit_op {
    ($trait:ident, $fn:ident, $op:tt) => {
        impl core::ops::$trait for PageMask {
            type Output = PageMask;
            fn $fn(self, other: PageMask) -> PageMask {
                PageMask(core::array::from_fn(|i| self.0[i] $op other.0[i]))
            }
        }
    };
}
bit_op!(BitAnd, bitand, &);
bit_op!(BitOr, bitor, |);
bit_op!(BitXor, bitxor, ^);

impl core::ops::Not for PageMask {
    type Output = PageMask;
    fn not(self) -> PageMask {
        PageMask(self.0.map(|w| !w))
    }
}

/// A [`PageMask`] in the table. Stores happen under the chunk's lock; loads anywhere are a snapshot word by word.
#[derive(Default)]
#[repr(transparent)]
pub struct SharedMask([AtomicU64; 8]);

impl SharedMask {
    /// The set now.
    pub fn get(&self) -> PageMask {
        PageMask(core::array::from_fn(|i| self.0[i].load(Relaxed)))
    }
    /// Replaces the set.
    pub fn set(&self, m: PageMask) {
        for (word, value) in self.0.iter().zip(m.0) {
            word.store(value, Relaxed);
        }
    }
    /// Adds pages.
    pub fn add(&self, m: PageMask) {
        self.set(self.get() | m);
    }
    /// Removes pages.
    pub fn remove(&self, m: PageMask) {
        self.set(self.get() & !m);
    }
    /// Whether page `page` is in the set.
    #[inline]
    pub fn has(&self, page: usize) -> bool {
        self.0[page / 64].load(Relaxed) >> (page % 64) & 1 != 0
    }
    /// The words of the pages `first..first + count` (at least one) in ascending order, each with the bits in it.
    #[inline]
    fn words(&self, first: usize, count: usize) -> impl Iterator<Item = (&AtomicU64, u64)> {
        debug_assert!(count > 0);
        let last = first + count - 1;
        let words = &self.0[first / 64..=last / 64];
        let (low, high) = (!0u64 << (first % 64), !0u64 >> (63 - last % 64));
        let end = words.len() - 1;
        words
            .iter()
            .enumerate()
            .map(move |(i, word)| (word, if i == 0 { low } else { !0 } & if i == end { high } else { !0 }))
    }
    /// Adds the pages `first..first + count`. As the others of spans: looks at their words only.
    #[inline]
    pub fn add_span(&self, first: usize, count: usize) {
        for (word, bits) in self.words(first, count) {
            word.store(word.load(Relaxed) | bits, Relaxed);
        }
    }
    /// Removes the pages `first..first + count` (at least one); a full barrier between that and all that follows.
    #[inline]
    pub fn remove_span_and_fence(&self, first: usize, count: usize) {
        for (word, bits) in self.words(first, count) {
            word.store(word.load(Relaxed) & !bits, Relaxed);
        }
        if cfg!(target_arch = "x86_64") {
            // Any locked instruction is a full barrier here, for half of what the mfence takes that a fence becomes
            // (5 ns instead of 11); this one compiles to `lock or` on the stack.
            self.0[first / 64].fetch_and(!0, SeqCst);
        } else {
            fence(SeqCst);
        }
    }
    /// Whether all of the pages `first..first + count` are in the set.
    #[inline]
    pub fn has_span(&self, first: usize, count: usize) -> bool {
        self.words(first, count).all(|(word, bits)| word.load(Relaxed) & bits == bits)
    }
    /// Whether some of the pages `first..first + count` is in the set.
    #[inline]
    pub fn meets_span(&self, first: usize, count: usize) -> bool {
        self.words(first, count).any(|(word, bits)| word.load(Relaxed) & bits != 0)
    }
}

/// Pages that cover others, as one span of groups of four: for what has room for no more. Changed from anywhere.
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct SharedSpan(AtomicU16);

/// Pages of a group.
const GROUP: usize = 4;

impl PageMask {
    /// With all pages of the groups that a [`SharedSpan`] has them in.
    pub(crate) fn in_groups(self) -> PageMask {
        self.runs().fold(PageMask::EMPTY, |all, (first, count)| {
            let (start, end) = (first / GROUP * GROUP, (first + count).next_multiple_of(GROUP));
            all | PageMask::span(start, end - start)
        })
    }
}
/// There is a span; the first group in the low seven bits, the last in the next seven.
const SOME: u16 = 1 << 15;

impl SharedSpan {
    fn pages_of(span: u16) -> PageMask {
        if span & SOME == 0 {
            return PageMask::EMPTY;
        }
        let (first, last) = (usize::from(span & 127), usize::from(span >> 7 & 127));
        PageMask::span(first * GROUP, (last + 1 - first) * GROUP)
    }
    /// The pages now.
    pub(crate) fn get(&self) -> PageMask {
        SharedSpan::pages_of(self.0.load(Relaxed))
    }
    /// Whether there are any.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
    /// Covers these pages, too.
    pub(crate) fn add(&self, pages: PageMask) {
        let Some(first) = pages.first() else { return };
        let last = pages.runs().last().map_or(first, |(start, count)| start + count - 1);
        let (first, last) = ((first / GROUP) as u16, (last / GROUP) as u16);
        let with = |span: u16| match span & SOME {
            0 => Some(SOME | last << 7 | first),
            _ => Some(SOME | last.max(span >> 7 & 127) << 7 | first.min(span & 127)),
        };
        let _ = self.0.fetch_update(SeqCst, SeqCst, with);
    }
    /// Empties it; what was in it.
    pub(crate) fn take(&self) -> PageMask {
        SharedSpan::pages_of(self.0.swap(0, SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_span_covers_what_was_added() {
        let span = SharedSpan::default();
        assert!(span.is_empty() && span.take().is_empty());
        span.add(PageMask::EMPTY);
        assert!(span.is_empty());
        for (first, count, covers) in [(9, 1, (8, 4)), (21, 2, (8, 16)), (3, 1, (0, 24)), (511, 1, (0, 512))]
        {
            span.add(PageMask::span(first, count));
            assert_eq!(span.get(), PageMask::span(covers.0, covers.1));
        }
        assert!(span.take().is_full() && span.is_empty());
        span.add(PageMask::span(508, 4));
        assert_eq!(span.take(), PageMask::span(508, 4));
        let pages = PageMask::span(9, 1) | PageMask::span(21, 4) | PageMask::span(511, 1);
        let groups = PageMask::span(8, 4) | PageMask::span(20, 8) | PageMask::span(508, 4);
        assert_eq!(pages.in_groups(), groups);
    }

    #[test]
    fn borders_are_where_neighbours_differ() {
        assert_eq!(PageMask::borders([PageMask::EMPTY; 2]), 0);
        assert_eq!(PageMask::borders([PageMask::FULL, PageMask::EMPTY]), 0);
        // Across words, from the first page and to the last, and two sets that change at one place.
        let (a, b) = (PageMask::span(0, 64), PageMask::span(64, 100));
        assert_eq!(PageMask::borders([a, PageMask::EMPTY]), 1);
        assert_eq!(PageMask::borders([a, b]), 2);
        assert_eq!(PageMask::borders([PageMask::span(511, 1), PageMask::span(60, 8)]), 3);
        let every_other = PageMask([0x5555_5555_5555_5555; 8]);
        assert_eq!(PageMask::borders([every_other, !every_other]), PAGES - 1);
    }
    use proptest::prelude::*;

    fn model(bits: &[bool]) -> PageMask {
        bits.iter()
            .enumerate()
            .filter(|(_, b)| **b)
            .fold(PageMask::EMPTY, |m, (i, _)| m | PageMask::span(i, 1))
    }

    proptest! {
        #[test]
        fn runs_cover_exactly_the_set(bits in proptest::collection::vec(any::<bool>(), PAGES)) {
            let m = model(&bits);
            let mut seen = vec![false; PAGES];
            let mut last = None;
            for (first, count) in m.runs() {
                prop_assert!(count > 0 && last.is_none_or(|l| first > l));
                seen[first..first + count].fill(true);
                last = Some(first + count);
            }
            prop_assert_eq!(&seen, &bits);
            prop_assert_eq!(m.count(), bits.iter().filter(|b| **b).count());
            prop_assert_eq!(m.first(), bits.iter().position(|b| *b));
        }

        #[test]
        fn span_matches_the_model(first in 0usize..PAGES, count in 0usize..=PAGES) {
            let count = count.min(PAGES - first);
            let bits: Vec<bool> = (0..PAGES).map(|i| i >= first && i < first + count).collect();
            prop_assert_eq!(PageMask::span(first, count), model(&bits));
            prop_assert_eq!(PageMask::span(first, count).is_full(), count == PAGES);
        }

        #[test]
        fn shared_spans_match_the_masks(
            bits in proptest::collection::vec(any::<bool>(), PAGES),
            all in any::<bool>(),
            first in 0usize..PAGES,
            count in 1usize..=PAGES,
        ) {
            let count = count.min(PAGES - first);
            let span = PageMask::span(first, count);
            // Of random bits alone hardly a long span is all in or all out.
            let m = if all { model(&bits) | span } else { model(&bits) & !span };
            let shared = SharedMask::default();
            for m in [m, model(&bits)] {
                shared.set(m);
                prop_assert_eq!(shared.has_span(first, count), span.within(m));
                prop_assert_eq!(shared.meets_span(first, count), span.meets(m));
                shared.add_span(first, count);
                prop_assert_eq!(shared.get(), m | span);
                shared.set(m);
                shared.remove_span_and_fence(first, count);
                prop_assert_eq!(shared.get(), m & !span);
            }
        }
    }

    #[test]
    fn algebra() {
        let a = PageMask::span(0, 100);
        let b = PageMask::span(50, 100);
        assert_eq!((a & b).count(), 50);
        assert_eq!((a | b).count(), 150);
        assert!((a & !b).within(a) && !a.within(b) && a.meets(b));
        assert!((!PageMask::EMPTY).is_full());
    }
}
