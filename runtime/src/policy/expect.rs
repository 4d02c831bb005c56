//! What the CPU is expected to do with ranges after a launch. What was moved early faults no more, so that nothing would be
//! learnt of it any longer: a piece of each range is left out at times, soon where touches change, and what is not touched then
//! ends there, or is left out until it is touched again or forgotten. A range that
//! the CPU writes is left closed at a few chunks each time: its faults there say how far the writer has come. Part of
//! `launches`. Fixed memory; signal-safe.

use super::launches::Range;

/// Pages of a chunk.
const CHUNK: u64 = 512;
/// After so many times a piece of one range is left out, after twice as many again, and then once in so many.
const TEST: u32 = 16;
const TESTS: u32 = 64;
/// The first time is so soon again where something new is touched: what was touched before may have moved there.
const SOON: u32 = 4;
/// What is left out as a whole, and not touched, is forgotten after so many times: some things are looked at now and then.
const ASLEEP: u8 = 8;
/// A range of so many pages costs less to move than it costs to find out whether all of it is wanted.
const FEW: u32 = 64;
/// Shorter ranges of written chunks have no wires: there is nothing to be sent behind the writer.
const WIRED: u64 = 3;

/// A range, and how it came to be expected. There are many: small.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) range: Range,
    /// The touches went on from page to page within a chunk: all of it was used, as far as that can be seen.
    sure: bool,
    /// Nothing of it came along that may not be wanted, or a piece that was left out was touched.
    tested: bool,
    /// It was moved early, but for a piece: from and to, in pages of the range.
    ahead: bool,
    left: (u32, u32),
    /// Its first page was left out as well, and was touched: where a run begins there was a touch.
    headless: bool,
    begun: bool,
    /// So many pages of the piece were fetched, which are enough; of a range with wires: how many of its chunks lie before where
    /// the last touch ended.
    found: u16,
    hit: bool,
    reached: u32,
    /// In how many rounds no piece of it was left out.
    untested: u8,
    /// For how many rounds all of it has been left out, and was not touched.
    asleep: u8,
    /// Something was taken a second time.
    again: bool,
}

impl Item {
    const NONE: Item = Item {
        range: Range { start: 0, pages: 0, write: false, read: false },
        sure: false,
        tested: false,
        ahead: false,
        left: (0, 0),
        headless: false,
        begun: false,
        found: 0,
        hit: false,
        reached: 0,
        untested: 0,
        asleep: 0,
        again: false,
    };

    /// The first chunk, and how many.
    fn chunks(&self) -> (u64, u64) {
        let first = self.range.start / CHUNK;
        (first, self.range.end().div_ceil(CHUNK) - first)
    }

    fn has_wires(&self) -> bool {
        !self.range.read && self.chunks().1 >= WIRED
    }

    /// The first of its chunks, from `chunk` on, that is left closed for a writer, so that the touch of it tells that what lies
    /// before can go to the device: the closer to the end the more, each part being a third of what is left, so that it has gone
    /// when the writer is there and only the last chunk remains. If the bus is not that much faster than the writer (`dense`), each
    /// chunk tells.
    fn wire(&self, chunk: u64, dense: bool) -> Option<u64> {
        let (first, count) = self.chunks();
        let left = (first + count).checked_sub(chunk).filter(|left| *left > 0)?;
        if dense || chunk == first {
            return Some(chunk);
        }
        let (mut wire, mut next) = (1, 2);
        while next <= left {
            (wire, next) = (next, next + next / 2);
        }
        Some(first + count - wire)
    }

    /// All of them.
    fn wires(&self, dense: bool) -> impl Iterator<Item = u64> {
        let next = move |c: &u64| self.wire(c + 1, dense);
        core::iter::successors(Some(self.chunks().0), next)
    }

    /// What lies beside it is one with it.
    fn grow(&mut self, other: &Item) {
        self.range.pages += other.range.pages;
        self.tested &= other.tested;
    }

    /// What the last time has shown; `None`: nothing of it is wanted any more.
    fn settled(mut self, dense: bool) -> Option<Item> {
        let end = match () {
            () if !self.ahead => return Some(self),
            () if self.has_wires() && !self.hit => return None,
            () if self.is_gone() || self.left == (0, self.range.pages) && !self.hit => {
                self.asleep += 1;
                return (self.asleep <= ASLEEP).then_some(self);
            }
            () if self.has_wires() => {
                let wire = self.wire(self.chunks().0 + u64::from(self.reached), dense);
                wire.map_or(self.range.end(), |c| c * CHUNK)
            }
            () if self.left.1 > self.left.0 && !self.hit => self.range.start + u64::from(self.left.0),
            () => self.range.end(),
        };
        self.tested |= self.hit;
        self.asleep = 0;
        self.range.pages = end.saturating_sub(self.range.start).min(self.range.pages.into()) as u32;
        (self.range.pages > 0).then_some(self)
    }

    /// Whether all of it is believed to be wanted.
    fn is_known(&self) -> bool {
        self.tested || self.range.pages <= FEW || self.sure && u64::from(self.range.pages) > CHUNK
    }

    /// Neither its beginning was wanted nor its end.
    fn is_gone(&self) -> bool {
        self.headless && !self.begun && !self.hit
    }

    /// What was left out was not wanted, though all of it was believed to be.
    fn is_doubtful(&self) -> bool {
        self.is_known()
            && self.ahead
            && self.asleep == 0
            && !self.has_wires()
            && self.left.0 < self.left.1
            && !self.hit
    }

    /// A part of it that was left out is fetched. Of a long piece one touch says little: most of such a piece comes if it is wanted.
    fn fetched(&mut self, r: &Range) {
        let (from, to) =
            (self.range.start + u64::from(self.left.0), self.range.start + u64::from(self.left.1));
        self.begun |= r.start == self.range.start;
        let found = r.end().min(to).saturating_sub(r.start.max(from)).min(CHUNK);
        self.found = self.found.saturating_add(found as u16);
        let enough = if to - from > u64::from(FEW) { (to - from) / 4 } else { 1 };
        self.hit |= u64::from(self.found) >= enough;
    }

    /// Whether what is found out about one is likely to hold for the other: halos of one kind, records of one size.
    fn is_like(&self, other: &Item) -> bool {
        self.range.is_like(&other.range) && self.range.pages == other.range.pages
    }

    /// What is left out this time if it is `due`, or if it is not known whether all of it is wanted. `number` is new each time.
    fn piece(&self, due: bool, number: u32) -> (u32, u32) {
        let (start, pages) = (self.range.start, self.range.pages);
        if self.is_known() && !due {
            return (pages, pages);
        }
        if u64::from(pages) <= CHUNK {
            // What came along without being wanted is at its end.
            return (pages - (pages / 4).max(1), pages);
        }
        let (first, count) = self.chunks();
        let chunk = first + u64::from(number.wrapping_mul(0x9e37_79b1) >> 16) % count;
        let from = (chunk * CHUNK).saturating_sub(start) as u32;
        (from, ((chunk * CHUNK + CHUNK - start) as u32).min(pages))
    }
}

/// The ranges of one kind that are expected after a launch.
#[derive(Clone, Copy)]
pub(super) struct Expect<const N: usize> {
    len: usize,
    /// Where the last touch ended.
    last: u64,
    /// When the next piece is left out (how often its launch has come by then), and how long after that the next but one.
    test: (u32, u32),
    of: [Item; N],
}

impl<const N: usize> Expect<N> {
    pub(super) const NONE: Expect<N> = Expect { len: 0, last: 0, test: (TEST, TEST), of: [Item::NONE; N] };

    pub(super) fn all(&self) -> &[Item] {
        &self.of[..self.len]
    }

    fn push(&mut self, item: Item) {
        if self.len < N {
            self.of[self.len] = item;
            self.len += 1;
        }
    }

    /// Its launch counts for so many times less.
    pub(super) fn age(&mut self, by: u32) {
        self.test.0 = self.test.0.saturating_sub(by);
    }

    /// The launch came again, for the `seen`th time: what followed the last time, less what was not wanted, is moved early if it
    /// is `believed`, or if the evidence is strong; the rest has to be touched again to be remembered. Gives what is to be moved.
    pub(super) fn again(&mut self, seen: u32, believed: u32, dense: [bool; 2], mut ahead: impl FnMut(Range)) {
        let then = core::mem::replace(self, Expect::NONE);
        // Where there was no room for all of it, what there is says little.
        let strong = then.len < N && then.all().iter().all(|i| i.sure);
        if seen <= if strong { 1 } else { believed } {
            self.test = then.test;
            return;
        }
        // That which was not tested for the longest time, or all that are like one that was not wanted any more.
        let doubt = |item: &Item| then.all().iter().any(|i| i.is_doubtful() && i.is_like(item));
        let gone = |item: &Item| then.all().iter().any(|i| i.is_gone() && i.is_like(item));
        let is_new = then.all().iter().any(|i| i.ahead) && then.all().iter().any(|i| !i.ahead);
        let (mut at, mut after) = then.test;
        if is_new && seen + SOON < at {
            (at, after) = (seen + SOON, SOON);
        }
        let (mut turn, mut soon) = (usize::MAX, false);
        if seen >= at {
            soon = after == SOON;
            turn = (0..then.len)
                .rev()
                .filter(|i| then.of[*i].asleep == 0)
                .max_by_key(|i| then.of[*i].untested)
                .unwrap_or(turn);
            (at, after) = (seen + after, (after * 2).min(TESTS));
        }
        self.test = (at, after);
        for (i, item) in then.all().iter().enumerate() {
            let (due, head) = (i == turn || doubt(item), i == turn && soon || gone(item));
            let Some(mut item) = item.settled(dense[0]) else { continue };
            (item.ahead, item.hit, item.again, item.reached) = (true, false, false, 0);
            (item.headless, item.begun, item.found) = (false, false, 0);
            item.untested = if due { 0 } else { item.untested.saturating_add(1) };
            let r = item.range;
            if item.asleep > 0 {
                item.left = (0, r.pages);
                self.push(item);
                continue;
            }
            let mut give = |start: u64, end: u64| {
                if start < end {
                    ahead(Range { start, pages: (end - start) as u32, ..r });
                }
            };
            if item.has_wires() {
                item.left = (0, 0);
                let mut from = r.start;
                for c in item.wires(dense[1]) {
                    give(from, (c * CHUNK).max(from));
                    from = c * CHUNK + CHUNK;
                }
                give(from, r.end());
            } else {
                item.left = item.piece(due, seen.wrapping_add(i as u32));
                item.headless = due && head && r.pages > 1 && u64::from(r.pages) <= CHUNK;
                give(r.start + u64::from(item.headless), r.start + u64::from(item.left.0));
                give(r.start + u64::from(item.left.1), r.end());
            }
            self.push(item);
        }
    }

    /// The CPU touched pages: something that was left out, or something new.
    pub(super) fn note(&mut self, r: Range) {
        let len = self.len;
        let all = &mut self.of[..len];
        let has = |i: &&mut Item| i.range.meets(r.start, r.start + 1);
        if let Some(i) = all.iter_mut().find(has) {
            let reached = (r.start / CHUNK + 1 - i.chunks().0) as u32;
            i.again |= if i.ahead { reached < i.reached } else { r.end() <= i.range.end() };
            if !i.ahead {
                i.range.pages = (r.end().max(i.range.end()) - i.range.start) as u32;
            } else if i.has_wires() {
                i.hit = true;
                i.reached = i.reached.max(reached);
            } else {
                i.fetched(&r);
            }
            return;
        }
        let goes_on =
            core::mem::replace(&mut self.last, r.end()) == r.start && !r.start.is_multiple_of(CHUNK);
        let before = |i: &Item| i.range.end() == r.start && i.range.is_like(&r);
        let after = |i: &Item| i.range.start == r.end() && i.range.is_like(&r);
        let item = Item { range: r, tested: r.pages == 1, ..Item::NONE };
        match (all.iter().position(before), all.iter().position(after)) {
            (Some(b), None) => {
                all[b].sure |= goes_on;
                all[b].grow(&item);
            }
            (None, Some(a)) => {
                all[a].range.start = r.start;
                all[a].grow(&item);
            }
            (Some(b), Some(a)) => {
                all[b].grow(&item);
                let other = all[a];
                all[b].grow(&other);
                all[b].sure &= other.sure;
                all[a] = all[len - 1];
                self.len -= 1;
            }
            (None, None) => {
                // The same place of another chunk says what this one is like.
                let same =
                    |i: &Item| i.sure && i.range.pages == r.pages && i.range.start % CHUNK == r.start % CHUNK;
                let sure = r.pages < CHUNK as u32 && all.iter().any(same);
                self.push(Item { sure, ..item });
            }
        }
    }

    /// What followed a launch as it follows another of the same kind: `map` says where its ranges are there.
    pub(super) fn moved(&self, map: impl Fn(&Range) -> Option<Range>) -> Expect<N> {
        let mut there = Expect::NONE;
        for item in self.all() {
            if let Some(range) = map(&item.range).filter(|_| item.asleep == 0) {
                there.push(Item { range, sure: item.sure, tested: item.tested, ..Item::NONE });
            }
        }
        there
    }

    /// A writer has come to the chunk of page `at`, which had been left closed: what it has left behind since the last of these.
    pub(super) fn left_behind(&self, at: u64, dense: bool) -> Option<Range> {
        let item = self.all().iter().find(|i| i.ahead && i.has_wires() && i.range.meets(at, at + 1))?;
        let chunk = at / CHUNK;
        let from = item.wires(dense).take_while(|c| *c < chunk).last()?;
        let start = (from * CHUNK).max(item.range.start);
        Some(Range { start, pages: (chunk * CHUNK - start) as u32, ..item.range })
    }

    /// Whether something of it is moved early and meets the pages.
    pub(super) fn meets(&self, start: u64, end: u64) -> bool {
        self.all().iter().any(|i| i.ahead && i.asleep == 0 && i.range.meets(start, end))
    }

    /// Whether something could have been sent behind its writer.
    pub(super) fn could_go(&self) -> bool {
        self.all().iter().any(|i| i.ahead && i.has_wires())
    }

    /// Whether something was taken twice.
    pub(super) fn was_again(&self) -> bool {
        self.all().iter().any(|i| i.again)
    }
}

#[cfg(test)]
#[path = "expect_tests.rs"]
mod tests;
