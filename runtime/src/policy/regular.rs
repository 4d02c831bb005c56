//! Pages that change sides round after round, the same ones of a chunk each time: only those move, and all of them with the first
//! touch of the chunk. Which they are takes a round of touches one by one, so that where whole chunks come (`auto`) a few show first whether
//! the same pages are touched again. What comes along is not seen to be touched: at times some are left out, and have to be. Fixed
//! memory; signal-safe.

use super::{PageMask, Touch};

/// So many chunks are remembered, of each kind of touch: 8 GiB in a row.
const CHUNKS: usize = 4096;
/// The most faults that are spent on learning a chunk's pages: pages that have to come (20 us each, where all of the chunk takes 125), and
/// those that are only taken (5, and 160).
const FETCHES: u16 = 24;
const TAKES: u16 = 48;
/// If so many of them move, all of them could.
const MOST: usize = 256;
/// A new piece is taken to be as long as the shortest, up to so long: copying it costs less than the next fault.
const WIDE: usize = 16;
/// If they are in more pieces, protecting each by itself costs as much as copying all of the chunk.
const PIECES: usize = 9;
/// So many chunks show, at a time, whether the same pages come again.
const SAMPLES: u8 = 2;
/// So many pages are left out to see whether they are still touched, the first time and each so-many-th.
const LEFT: usize = 4;
const TEST: u16 = 16;
/// Rounds until the next try after one that was in vain; twice as many after each, so often.
const REST: u32 = 8;
const DOUBLED: u8 = 6;

/// When something is worth another try.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: u32,
    times: u8,
}

impl Rest {
    const NONE: Rest = Rest { until: 0, times: 0 };

    fn begin(&mut self, round: u32) {
        self.until = round.saturating_add(REST << self.times);
        self.times = (self.times + 1).min(DOUBLED);
    }
    fn is_over(&self, round: u32) -> bool {
        round >= self.until
    }
}

/// Whether the chunks of an allocation have such pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    /// What those that were predicted say; enough of it: they have.
    score: i8,
    rest: Rest,
    /// Chunks that began to be learnt in a round, and in all, less those that were predicted since: more than are remembered would be
    /// learnt again and again.
    round: u32,
    samples: u8,
    learnt: u16,
}

impl Habit {
    pub(super) const NONE: Habit = Habit { score: 0, rest: Rest::NONE, round: 0, samples: 0, learnt: 0 };
    const ENOUGH: i8 = SAMPLES as i8;
    const MOST: i8 = 16;

    fn is_known(&self) -> bool {
        self.score >= Habit::ENOUGH
    }

    /// Whether another chunk is to be learnt, if so, it counts.
    fn learns(&mut self, round: u32) -> bool {
        if round != self.round {
            (self.round, self.samples) = (round, 0);
        }
        let room =
            if self.is_known() { usize::from(self.learnt) < CHUNKS / 4 } else { self.samples < SAMPLES };
        let learns = room && self.rest.is_over(round);
        if learns {
            self.samples = self.samples.saturating_add(1);
            self.learnt = (self.learnt + 1).min(CHUNKS as u16 / 4);
        }
        learns
    }

    /// A chunk's pages were touched again, or were not, or there are too many.
    fn found(&mut self, again: bool, round: u32) {
        self.score = if again { (self.score + 1).min(Habit::MOST) } else { self.score - 2 };
        if self.score < 0 {
            self.score = 0;
            self.rest.begin(round);
        }
    }
}

/// Of one chunk and one kind of touch.
#[derive(Clone, Copy, Debug)]
pub struct Regular {
    /// The chunk's number and one; 0: none.
    chunk: u64,
    /// The round of the last touch.
    round: u32,
    rest: Rest,
    /// Which they are; none: it is not being learnt.
    pages: PageMask,
    /// How often they were predicted; 0: they are being learnt.
    times: u16,
    /// They were touched again when they were expected.
    again: bool,
    /// Touches in this round, but for those of pages that were left out.
    faults: u16,
    /// Those that were left out, and how many of them were touched.
    left: [u16; LEFT],
    lefts: u8,
    hits: u8,
}

impl Default for Regular {
    fn default() -> Self {
        Regular::NONE
    }
}

impl Regular {
    const NONE: Regular = Regular {
        chunk: 0,
        round: 0,
        rest: Rest::NONE,
        pages: PageMask::EMPTY,
        times: 0,
        again: false,
        faults: 0,
        left: [0; LEFT],
        lefts: 0,
        hits: 0,
    };

    /// Whether they have been touched again when they were expected.
    pub(super) fn is_known(&self) -> bool {
        self.again && !self.pages.is_empty()
    }

    /// The chunk is touched in a second place: it is learnt the next time.
    pub(super) fn has_places(&mut self, chunk: u64, round: u32) {
        if self.chunk != chunk + 1 {
            *self = Regular { chunk: chunk + 1, round, ..Regular::NONE };
        }
    }

    /// A touch. What is to come, if the chunk's pages are known, or to be learnt; `may_learn`: that may begin, and with any chunk.
    pub(super) fn touched(
        &mut self,
        touch: &Touch,
        habit: &mut Habit,
        round: u32,
        may_learn: [bool; 2],
    ) -> Option<PageMask> {
        let learns = |habit: &mut Habit, one: bool| one && touch.done.is_empty() && habit.learns(round);
        if self.chunk != touch.chunk + 1 {
            // Another's, or nobody's.
            if !learns(habit, may_learn[0] && may_learn[1]) {
                return None;
            }
            *self = Regular { chunk: touch.chunk + 1, round, ..Regular::NONE };
        } else if self.round != round {
            self.settle(habit, round);
            self.round = round;
            (self.faults, self.lefts, self.hits) = (0, 0, 0);
            if !self.pages.is_empty() {
                return Some(self.predicted(touch, habit));
            }
            if !self.rest.is_over(round) || !learns(habit, may_learn[0]) {
                return None;
            }
            (self.times, self.again) = (0, false);
        } else if self.pages.is_empty() {
            return None;
        }
        let come = match () {
            () if self.times > 0 => PageMask::span(touch.page, 1),
            () => self.going_on(touch),
        };
        if self.left[..self.lefts.into()].contains(&(touch.page as u16)) {
            self.hits = self.hits.saturating_add(1);
            // Half of them will do.
            if self.hits == self.lefts.div_ceil(2) {
                habit.found(true, round);
                self.again = true;
            }
            return Some(come);
        }
        self.faults += 1;
        self.pages = self.pages | come;
        let pages = self.pages.count();
        let most = match () {
            () if self.times > 0 => (LEFT + pages / 4) as u16,
            () if touch.fetch => FETCHES,
            () => TAKES,
        };
        if self.faults > most || pages > MOST || self.pages.runs().count() > PIECES {
            self.is_irregular(habit, round);
            return None;
        }
        Some(come)
    }

    /// The page, and as many behind it as have come before it in a row; if none have, as many as the shortest piece has.
    fn going_on(&self, touch: &Touch) -> PageMask {
        let mut before = touch.done.runs();
        let len = match before.find(|(first, count)| first + count == touch.page) {
            Some((_, count)) => count,
            None => self.pages.runs().map(|(_, count)| count).min().map_or(1, |least| least.min(WIDE)),
        };
        let len = len.min(touch.page.abs_diff(512));
        PageMask::span(touch.page, len) & touch.alike
    }

    /// The first touch in a round of a chunk whose pages are known: they come, but for some at times.
    fn predicted(&mut self, touch: &Touch, habit: &mut Habit) -> PageMask {
        self.times = self.times.saturating_add(1);
        habit.learnt = habit.learnt.saturating_sub(1);
        let one = PageMask::span(touch.page, 1);
        let is_new = !self.pages.has(touch.page);
        self.faults = u16::from(is_new);
        self.pages = self.pages | one;
        let mut left = PageMask::EMPTY;
        if is_new || self.times == 1 || self.times.is_multiple_of(TEST) || !habit.is_known() {
            let rest = self.pages & !one;
            let apart = rest.count().div_ceil(LEFT).max(2);
            let skipped = usize::from(self.times) % apart.min(rest.count().max(1));
            let each = rest.runs().flat_map(|(first, count)| first..first + count);
            for page in each.skip(skipped).step_by(apart) {
                self.left[usize::from(self.lefts)] = page as u16;
                self.lefts += 1;
                left = left | PageMask::span(page, 1);
            }
        }
        self.pages & !left
    }

    /// The round of the last touches is over.
    fn settle(&mut self, habit: &mut Habit, round: u32) {
        if self.hits < self.lefts.div_ceil(2) {
            self.is_irregular(habit, round);
        }
    }

    fn is_irregular(&mut self, habit: &mut Habit, round: u32) {
        habit.found(false, round);
        self.rest.begin(round);
        self.pages = PageMask::EMPTY;
        self.lefts = 0;
    }
}

/// Of all chunks that are remembered.
pub struct Regulars {
    of: [[Regular; CHUNKS]; 2],
}

impl Default for Regulars {
    fn default() -> Self {
        Regulars::new()
    }
}

impl Regulars {
    /// An empty one.
    pub const fn new() -> Regulars {
        Regulars { of: [[Regular::NONE; CHUNKS]; 2] }
    }

    /// What there may be of the touched chunk, or of another that shares its place.
    pub fn of(&mut self, touch: &Touch) -> &mut Regular {
        &mut self.of[usize::from(touch.fetch)][place(touch.chunk)]
    }

    /// The pages of a chunk that are worth moving before they are touched (`fetch`: that have to come): all, if nothing is known. They
    /// are about to be moved, so that those of them that were left out say nothing.
    pub fn moved_early(&mut self, chunk: u64, fetch: bool) -> PageMask {
        let regular = &mut self.of[usize::from(fetch)][place(chunk)];
        if regular.chunk != chunk + 1 || regular.pages.is_empty() {
            return PageMask::FULL;
        }
        regular.lefts = 0;
        if regular.is_known() { regular.pages } else { PageMask::FULL }
    }
}

fn place(chunk: u64) -> usize {
    (chunk % CHUNKS as u64) as usize
}
