//! Pages that change sides round after round, the same ones of a chunk each time: only those move, and all of them with the first
//! touch of the chunk. Which they are takes a round of touches one by one, so that where whole chunks come (`auto`) a few show first whether
//! the same pages are touched again. What comes along is not seen to be touched: at times some are left out, and have to be. Fixed
//! memory; signal-safe.

use super::{History, Learn, PageMask, Touch};

/// Pages of a chunk.
const PAGES: usize = 512;
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
/// So many chunks are taken to have lost their place to others in each round.
const FORGOTTEN: u16 = 8;
/// Who is known keeps his place until so many others have wanted it.
const CLAIMS: u8 = 8;
/// So many chunks show, at a time, whether the same pages come again.
const SAMPLES: u8 = 2;
/// So many pages are left out to see whether they are still touched, the first time and after so many rounds.
const LEFT: usize = 4;
const TEST: u32 = 16;
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
    /// Also for another history's rounds: no rest is that long.
    fn is_over(&self, round: u32) -> bool {
        round >= self.until || self.until - round > REST << DOUBLED
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
            self.learnt = self.learnt.saturating_sub(FORGOTTEN);
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

    /// A chunk's pages were touched again.
    fn found(&mut self) {
        self.score = (self.score + 1).min(Habit::MOST);
        if self.is_known() {
            self.rest = Rest::NONE;
        }
    }

    /// They were not, or there are too many.
    fn missed(&mut self, round: u32) {
        self.score -= 2;
        if self.score < 0 {
            self.score = 0;
            // Many chunks may say the same.
            if self.rest.is_over(round) {
                self.rest.begin(round);
            }
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
    /// They are being learnt.
    learning: bool,
    /// Others have wanted its place so often since it was used.
    claims: u8,
    /// The round in which some were left out last.
    tested: u32,
    /// They were touched again when they were expected.
    again: bool,
    /// Touches in this round, but for those of pages that were left out.
    faults: u16,
    /// Those that were left out and have not been touched, and how many have.
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
        learning: false,
        claims: 0,
        tested: 0,
        again: false,
        faults: 0,
        left: [0; LEFT],
        lefts: 0,
        hits: 0,
    };

    /// Whether they have been touched again when they were expected.
    fn is_known(&self) -> bool {
        self.again && !self.pages.is_empty()
    }

    /// The chunk is touched in a second place: it is learnt the next time.
    pub(super) fn has_places(&mut self, chunk: u64, round: u32) {
        if self.chunk != chunk + 1 {
            self.replaced_by(chunk, round);
        }
    }

    /// Another chunk wants the place; whether it has it.
    fn replaced_by(&mut self, chunk: u64, round: u32) -> bool {
        self.claims += 1;
        let gives_way = !self.is_known() || self.claims >= CLAIMS;
        if gives_way {
            *self = Regular { chunk: chunk + 1, round, ..Regular::NONE };
        }
        gives_way
    }

    /// A touch. What is to come, if the chunk's pages are known, or to be learnt, and what is learnt of that; `may_learn`: that may
    /// begin, and with any chunk.
    pub(super) fn touched(
        &mut self,
        touch: &Touch,
        habit: &mut Habit,
        round: u32,
        may_learn: [bool; 2],
    ) -> Option<(PageMask, Learn)> {
        let learns = |habit: &mut Habit, one: bool| one && touch.done.is_empty() && habit.learns(round);
        if self.chunk != touch.chunk + 1 {
            let begins = may_learn[1] && learns(habit, may_learn[0]) && self.replaced_by(touch.chunk, round);
            if !begins {
                return None;
            }
            self.learning = true;
        } else if self.round != round {
            self.settle(habit, round);
            if !self.pages.is_empty() {
                let one = PageMask::span(touch.page, 1);
                let is_new = !self.pages.has(touch.page);
                let come = self.predicted(touch.alike & !one, is_new, habit, round) | one;
                self.faults = u16::from(is_new);
                self.pages = self.pages | one;
                return Some((come, if self.is_known() { Learn::Chunk } else { Learn::Pages }));
            }
            self.begin(round);
            if !self.rest.is_over(round) || !learns(habit, may_learn[0]) {
                return None;
            }
            (self.learning, self.again) = (true, false);
        } else if self.pages.is_empty() {
            return None;
        }
        let learn = if self.is_known() { Learn::Nothing } else { Learn::Pages };
        let come = if self.learning { self.going_on(touch) } else { PageMask::span(touch.page, 1) };
        let mut left = self.left[..self.lefts.into()].iter();
        if let Some(i) = left.position(|page| usize::from(*page) == touch.page) {
            self.lefts -= 1;
            self.left[i] = self.left[usize::from(self.lefts)];
            self.hits = self.hits.saturating_add(1);
            // One will do: what came along in a row may be more than is wanted.
            if self.hits == 1 {
                habit.found();
                (self.again, self.rest) = (true, Rest::NONE);
            }
            return Some((come, learn));
        }
        if !self.learning && self.pages.has(touch.page) {
            // Not all of them came the first time.
            return Some((self.pages & !self.left_out(), learn));
        }
        self.faults += 1;
        self.pages = self.pages | come;
        let pages = self.pages.count();
        let most = match () {
            () if !self.learning => (LEFT + pages / 4) as u16,
            () if touch.fetch => FETCHES,
            () => TAKES,
        };
        if self.faults > most || pages > MOST || self.pages.runs().count() > PIECES {
            self.is_irregular(habit, round);
            return None;
        }
        Some((come, learn))
    }

    /// The page, and as many behind it as have come before it in a row; if none have, as many as the shortest piece has.
    fn going_on(&self, touch: &Touch) -> PageMask {
        let mut before = touch.done.runs();
        let len = match before.find(|(first, count)| first + count == touch.page) {
            Some((_, count)) => count,
            None => self.pages.runs().map(|(_, count)| count).min().map_or(1, |least| least.min(WIDE)),
        };
        let len = len.min(PAGES - touch.page);
        PageMask::span(touch.page, len) & touch.alike
    }

    /// `pages` of the chunk, which is away, are about to be moved before they are touched: which are worth it.
    fn moved_early(&mut self, pages: PageMask, habit: &mut Habit, round: u32) -> PageMask {
        if self.round == round {
            self.lefts = 0; // what comes now says nothing
            return if self.is_known() { pages & self.pages } else { pages };
        }
        self.settle(habit, round);
        match () {
            () if self.is_known() => self.predicted(pages, false, habit, round),
            // To be learnt again: that takes touches.
            () if self.pages.is_empty()
                && self.rest.times > 0
                && self.rest.is_over(round)
                && habit.is_known() =>
            {
                PageMask::EMPTY
            }
            () => pages,
        }
    }

    /// The first that a round has of a chunk whose pages are known: those of `missing` come, but for some at times.
    fn predicted(&mut self, missing: PageMask, is_new: bool, habit: &mut Habit, round: u32) -> PageMask {
        self.begin(round);
        habit.learnt = habit.learnt.saturating_sub(1);
        let come = self.pages & missing;
        let is_due = round.abs_diff(self.tested) >= TEST;
        if !(is_new || is_due || self.learning || !habit.is_known()) {
            return come;
        }
        (self.learning, self.tested) = (false, round);
        let count = come.count();
        let apart = count.div_ceil(LEFT).max(2);
        let skipped = (self.chunk as usize).wrapping_add(round as usize) % apart.min(count.max(1));
        let each = come.runs().flat_map(|(first, count)| first..first + count);
        let mut left = PageMask::EMPTY;
        for page in each.skip(skipped).step_by(apart) {
            self.left[usize::from(self.lefts)] = page as u16;
            self.lefts += 1;
            left = left | PageMask::span(page, 1);
        }
        come & !left
    }

    /// A round begins.
    fn begin(&mut self, round: u32) {
        (self.round, self.claims) = (round, 0);
        (self.faults, self.lefts, self.hits) = (0, 0, 0);
    }

    /// What was left out and has not been touched.
    fn left_out(&self) -> PageMask {
        let left = self.left[..self.lefts.into()].iter();
        left.fold(PageMask::EMPTY, |all, page| all | PageMask::span((*page).into(), 1))
    }

    /// The round of the last touches is over.
    fn settle(&mut self, habit: &mut Habit, round: u32) {
        self.pages = self.pages & !self.left_out();
        if self.lefts > 0 && self.hits == 0 {
            self.is_irregular(habit, round);
        }
        self.lefts = 0;
    }

    fn is_irregular(&mut self, habit: &mut Habit, round: u32) {
        habit.missed(round);
        self.rest.begin(round);
        (self.pages, self.lefts, self.learning) = (PageMask::EMPTY, 0, false);
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

    /// `pages` of a chunk of that history are about to be moved before they are touched (`fetch`: they have to come): which are worth it.
    pub fn moved_early(
        &mut self,
        chunk: u64,
        pages: PageMask,
        fetch: bool,
        history: &mut History,
    ) -> PageMask {
        let regular = &mut self.of[usize::from(fetch)][place(chunk)];
        if regular.chunk != chunk + 1 {
            return pages;
        }
        let round = history.rounds;
        let pattern = if fetch { &mut history.fetch } else { &mut history.take };
        regular.moved_early(pages, &mut pattern.habit, round)
    }
}

fn place(chunk: u64) -> usize {
    (chunk % CHUNKS as u64) as usize
}
