//! What is remembered of the CPU's touches of one allocation: where a reader that goes on would be next, the stride that most
//! of the last faults agree on (Leap, ATC'20), and whether chunks that are opened by one page are then touched in many.
//! Small and of fixed size. Signal-safe.

use super::places::Places;
use super::regular::Habit;

/// Of one allocation.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Touches that bring bytes home.
    pub fetch: Pattern,
    /// Writes that take pages from the device, and copy nothing.
    pub take: Pattern,
    /// How often a device began to use it.
    pub rounds: u32,
    /// Where chunks are touched.
    pub places: Places,
    /// Who goes from one chunk that came early to the next: where he is expected, and how many were opened the last time.
    next_opening: u64,
    openings: u32,
}

/// The most chunks that one touch opens.
const MOST_OPENED: u32 = 8;

impl Default for History {
    fn default() -> Self {
        History::NEW
    }
}

impl History {
    /// An empty one, for tables.
    pub const NEW: History = History {
        fetch: Pattern::NEW,
        take: Pattern::NEW,
        rounds: 0,
        places: Places::NEW,
        next_opening: 0,
        openings: 0,
    };

    /// A device is to use the allocation.
    pub fn device_uses(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        self.fetch.in_vain = self.fetch.in_vain.saturating_sub(1); // worth another try, some time
    }

    /// A chunk that came early, and was closed, is touched: so many behind it are to be opened with it, if they came early, too, and
    /// count as touched. Who goes on from one to the next opens twice as many each time.
    pub fn opens(&mut self, chunk: u64) -> u32 {
        self.openings =
            if chunk == self.next_opening { (self.openings * 2).clamp(1, MOST_OPENED) } else { 1 };
        self.next_opening = chunk + u64::from(self.openings);
        self.openings - 1
    }

    /// A chunk that was served in the background was touched, or it left without having been: then not so far ahead.
    pub fn early_ended(&mut self, used: bool) {
        let p = &mut self.fetch;
        p.in_vain = if used { p.in_vain.saturating_sub(1) } else { (p.in_vain + 4).min(64) };
    }
}

/// How many of the last steps vote.
const VOTERS: usize = 8;

/// The pattern of one kind of touch. Pages are numbered through the address space.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    last: u64,
    steps: [i32; VOTERS],
    /// Which of them is the oldest.
    oldest: u8,
    count: u32,
    /// Where the next touch is expected, if touches go on as they did.
    pub next: u64,
    /// How often that came true in a row.
    pub streak: u32,
    /// How many pages of the stride were served last.
    pub width: u32,
    /// The round of the last touch.
    round: u32,
    /// Chunks that were opened by a single page, since it was last judged.
    opened: u32,
    /// Of them, those that were touched in so many places that the rest came along.
    filled: u32,
    /// The judgement.
    dense: Option<bool>,
    /// In how many rounds before this one there were touches.
    pub returns: u32,
    /// Chunks that were opened by a single page were read on page by page, all of them: evidence that is enough until one is not.
    in_order: bool,
    /// From here on, up to `next`, is what was to be served in the background: a reader who comes there first has gone on.
    pub window: u64,
    /// Chunks that were opened as a whole, since the last that was opened by a single page to see what happens.
    unseen: u32,
    /// How many of the last that were, in a row, were touched in many places: the more, the rarer the next.
    confirmed: u8,
    /// The round of that, and whether one was then not touched in many places: in this round so far, and in the one before.
    looked: u32,
    thin: [bool; 2],
    /// Chunks that were served in the background and not touched, each counted four times, less those that were.
    in_vain: u32,
    /// Whether the same pages of chunks are touched again.
    pub(super) habit: Habit,
}

impl Default for Pattern {
    fn default() -> Self {
        Pattern::NEW
    }
}

impl Pattern {
    const NEW: Pattern = Pattern {
        last: 0,
        steps: [0; VOTERS],
        oldest: 0,
        count: 0,
        next: 0,
        streak: 0,
        width: 0,
        round: 0,
        opened: 0,
        filled: 0,
        dense: None,
        returns: 0,
        in_order: false,
        window: u64::MAX,
        unseen: 0,
        confirmed: 0,
        looked: 0,
        thin: [false; 2],
        in_vain: 0,
        habit: Habit::NONE,
    };

    /// A touch of page `at`, in a round of [`History::rounds`]. Whether it is where it was expected.
    pub fn touched(&mut self, at: u64, round: u32) -> bool {
        if round != self.round {
            // What was opened has had its time to be filled.
            self.in_order &= self.opened == self.filled;
            if self.opened >= KNOWN {
                self.dense = Some(self.filled * 2 >= self.opened);
                (self.opened, self.filled) = (0, 0);
            } else if self.returns == 0 {
                // So far it was about who comes once.
                (self.opened, self.filled) = (0, 0);
            }
            if self.thin[0] {
                self.confirmed = 0;
            }
            self.thin = [false, self.thin[0]];
            self.round = round;
            self.returns = self.returns.saturating_add(u32::from(self.count > 0));
        }
        let expected = self.count > 0 && (self.next == at || (self.window..self.next).contains(&at));
        let step = at.wrapping_sub(self.last).cast_signed().clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        if self.count > 0 && !expected {
            self.steps[usize::from(self.oldest)] = step;
            self.oldest = (self.oldest + 1) % VOTERS as u8;
        }
        self.count = self.count.saturating_add(1);
        self.streak = if expected { self.streak.saturating_add(1) } else { 0 };
        self.last = at;
        self.window = u64::MAX;
        expected
    }

    /// How many chunks to be ahead of the touches: twice as many each time that they go on, up to `most`; half as many for
    /// each eight that went and came for nothing.
    pub fn most_ahead(&self, most: u32) -> u32 {
        (2 << self.streak.min(8)).min(most >> (self.in_vain / 8).min(31))
    }

    /// The step that more than half of the last ones were, if one is (Boyer and Moore's vote, then a count).
    pub fn stride(&self) -> Option<i32> {
        let (mut leader, mut votes) = (0, 0);
        for &step in &self.steps {
            match () {
                () if votes == 0 => (leader, votes) = (step, 1),
                () if step == leader => votes += 1,
                () => votes -= 1,
            }
        }
        let agree = self.steps.iter().filter(|s| **s == leader).count();
        (leader != 0 && agree * 2 > VOTERS).then_some(leader)
    }

    /// A chunk is opened by a single page.
    pub fn opened(&mut self) {
        self.unseen = 0;
        self.opened += 1;
        self.looked = self.round;
        self.thin[0] = true;
    }

    /// Whether chunks that were opened by a single page are too few for a judgement.
    pub fn are_few(&self) -> bool {
        self.opened < KNOWN
    }

    /// Whether chunks that were touched in many places, of those opened by a single page, are enough to expect it of the others: in
    /// this round, or before.
    pub fn have_filled(&self) -> bool {
        self.filled >= KNOWN || self.dense == Some(true)
    }

    /// A chunk that was opened by a single page was touched in many places, or (`in_order`) page by page.
    pub fn filled(&mut self, in_order: bool) {
        self.in_order |= in_order;
        self.thin[0] = false;
        self.confirmed = self.confirmed.saturating_add(1);
        self.filled = (self.filled + 1).min(self.opened);
    }

    /// A chunk is opened as a whole. Whether it should be by a single page instead, to see what happens: seldom, once touches
    /// come back, and half as often each time that it was touched in many places; again in the next round, if it was not.
    pub fn is_time_to_look(&mut self) -> bool {
        self.unseen += 1;
        let many = self.unseen >= if self.dense.is_none() { 8 } else { 32 << self.confirmed.min(3) };
        self.returns > 0 && (many || self.thin[1] && self.are_few() || self.round - self.looked >= LOOK)
    }

    /// Whether chunks are touched in many places once they are in one; `None`: not known yet.
    pub fn is_dense(&self) -> Option<bool> {
        let many = self.opened >= KNOWN && self.filled * 2 >= self.opened;
        if many || self.in_order { Some(true) } else { self.dense }
    }

    /// Whether they are touched in many places, and not page by page.
    pub fn is_filled(&self) -> bool {
        !self.in_order && self.is_dense() == Some(true)
    }
}

/// After so many rounds chunks are looked at again, however few come.
const LOOK: u32 = 8;
/// So many chunks are evidence.
const KNOWN: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_finds_the_stride_through_noise() {
        let mut p = Pattern::default();
        let mut at = 1000;
        for i in 0..12 {
            p.touched(at, 0);
            at += if i % 4 == 3 { 77 } else { 5 };
        }
        assert_eq!(p.stride(), Some(5));
        let mut p = Pattern::default();
        for at in [3, 900, 14, 77, 5000, 2, 801, 44, 9] {
            p.touched(at, 0);
        }
        assert_eq!(p.stride(), None);
    }

    /// Where every second touch was expected, the others are the voters.
    #[test]
    fn touches_that_were_expected_take_no_votes_away() {
        let mut p = Pattern::default();
        for i in 0..2 * VOTERS as u64 + 2 {
            assert_eq!(p.touched(1000 + i * 10, 0), i % 2 == 1);
            p.next = 1000 + if i % 2 == 0 { i * 10 + 10 } else { 0 };
        }
        assert_eq!(p.stride(), Some(10));
    }

    #[test]
    fn density_is_learnt_and_unlearnt() {
        let mut p = Pattern::default();
        assert_eq!(p.is_dense(), None);
        (0..4).for_each(|_| p.opened());
        assert_eq!(p.is_dense(), None, "they may still be filled");
        p.touched(1, 1);
        assert_eq!(p.is_dense(), Some(false));
        for _ in 0..4 {
            p.opened();
            p.filled(false);
        }
        assert_eq!(p.is_dense(), Some(true));
        p.touched(1, 2);
        (0..4).for_each(|_| p.opened());
        assert_eq!(p.is_dense(), Some(true));
        p.touched(1, 3);
        assert_eq!(p.is_dense(), Some(false));
    }

    /// How many chunks are opened as a whole until one is by a single page.
    fn until_look(p: &mut Pattern) -> usize {
        let chunks = (1..=1000).find(|_| p.is_time_to_look());
        p.opened();
        chunks.unwrap()
    }

    #[test]
    fn who_is_found_to_be_dense_again_and_again_is_looked_at_less() {
        let mut p = Pattern::default();
        p.touched(0, 0);
        p.touched(0, 1);
        (0..4).for_each(|_| p.opened());
        (0..4).for_each(|_| p.filled(false));
        p.touched(0, 2);
        assert_eq!(until_look(&mut p), 256);
        assert!(p.have_filled(), "it was before");
        p.touched(0, 3);
        assert_eq!(until_look(&mut p), 1, "that one was not touched in many places");
        p.filled(false);
        p.touched(0, 4);
        for chunks in [64, 128, 256, 256] {
            assert_eq!(until_look(&mut p), chunks);
            p.filled(false);
        }
    }
}
