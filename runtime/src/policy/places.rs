//! Where a chunk was touched, as far as one chunk says what the next is like: halos, planes and records of which each chunk has
//! its own, at the same places. A few places of the last two chunks of one allocation. Part of `history`. Signal-safe.

use crate::mask::PageMask;

/// More places than this are no pattern that is worth it.
const MOST: usize = 12;
/// After so many chunks that were like the one before, the next is looked at place by place again.
const LOOK: u32 = 32;

/// Pages in a row that came by touches of one kind.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: u16,
    count: u16,
    write: bool,
}

/// The places of one chunk.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    number: u64,
    len: u8,
    of: [Place; MOST],
}

impl Chunk {
    const NEW: Chunk = Chunk { number: 0, len: 0, of: [Place { first: 0, count: 0, write: false }; MOST] };

    fn all(&self) -> &[Place] {
        &self.of[..self.len.into()]
    }
    fn with(&self, write: bool) -> impl Iterator<Item = &Place> {
        self.all().iter().filter(move |p| p.write == write)
    }
}

/// Of the chunk that touches are in, and of the one before.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    now: Chunk,
    before: Chunk,
    alike: u32,
}

impl Places {
    pub(super) const NEW: Places = Places { now: Chunk::NEW, before: Chunk::NEW, alike: 0 };

    /// A touch of a page that is not there. If the touches of its kind began there in the chunk before: the pages that they came to.
    pub fn touched(&mut self, chunk: u64, page: usize, write: bool) -> PageMask {
        if chunk != self.now.number {
            self.before = core::mem::replace(&mut self.now, Chunk { number: chunk, ..Chunk::NEW });
        }
        let begins = self.before.with(write).next().is_some_and(|p| usize::from(p.first) == page);
        if !begins || self.now.with(write).next().is_some() {
            return PageMask::EMPTY;
        }
        self.alike += 1;
        if self.alike.is_multiple_of(LOOK) {
            return PageMask::EMPTY;
        }
        let all = self.before.with(write);
        all.fold(PageMask::EMPTY, |all, p| all | PageMask::span(p.first.into(), p.count.into()))
    }

    /// These pages come for it.
    pub fn came(&mut self, pages: PageMask, write: bool) {
        for (first, count) in pages.runs() {
            let (first, count) = (first as u16, count as u16);
            let now = &mut self.now;
            let len = usize::from(now.len);
            if let Some(p) = now.of[..len].iter_mut().find(|p| p.write == write && p.first + p.count == first)
            {
                p.count += count;
            } else if len < MOST {
                now.of[len] = Place { first, count, write };
                now.len += 1;
            } else {
                return self.all_of_it();
            }
        }
    }

    /// All of the chunk has come: it has no places.
    pub fn all_of_it(&mut self) {
        self.now.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: usize, count: usize) -> PageMask {
        PageMask::span(first, count)
    }

    /// A halo that is read, and one that is written: each kind by itself.
    #[test]
    fn the_next_chunk_is_like_the_last() {
        let mut p = Places::NEW;
        assert!(p.touched(0, 8, false).is_empty());
        p.came(span(8, 1), false);
        p.came(span(9, 64), false);
        assert!(p.touched(0, 0, true).is_empty());
        p.came(span(0, 8), true);
        p.came(span(73, 2), true); // beside what was read, and not of its kind
        for chunk in [5, 9] {
            assert_eq!(p.touched(chunk, 8, false), span(8, 65));
            p.came(span(8, 65), false);
            assert!(p.touched(chunk, 8, false).is_empty(), "once");
            assert_eq!(p.touched(chunk, 0, true), span(0, 8) | span(73, 2));
            p.came(span(0, 8) | span(73, 2), true);
        }
        assert!(p.touched(10, 7, false).is_empty(), "it begins elsewhere");
    }

    #[test]
    fn whole_chunks_and_many_places_are_no_pattern() {
        let mut p = Places::NEW;
        p.touched(1, 0, false);
        p.came(span(0, 1), false);
        p.all_of_it();
        assert!(p.touched(2, 0, false).is_empty());
        (0..=MOST).for_each(|i| p.came(span(i * 3, 1), false));
        assert!(p.touched(3, 0, false).is_empty());
    }

    #[test]
    fn now_and_then_it_is_looked_at_again() {
        let mut p = Places::NEW;
        p.touched(1, 4, false);
        p.came(span(4, 70), false);
        let mut looks = 0;
        for chunk in 2..2 + u64::from(LOOK) {
            if p.touched(chunk, 4, false).is_empty() {
                looks += 1;
                p.came(span(4, 1), false);
                p.came(span(5, 64), false);
            } else {
                p.came(span(4, 70), false);
            }
        }
        assert_eq!(looks, 1);
        assert_eq!(p.touched(99, 4, false), span(4, 65), "as it is now");
    }
}
