//! When launches last used what, and how regularly: for choosing what leaves a device that is full. By ranges as launches
//! name them, in a table of fixed size. Time is counted in launches. Signal-safe but for [`Uses`].

use std::collections::BinaryHeap;

/// When something was last used, and how many launches lay between its last two uses (0: there was one, or the time before was quite
/// another).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The number of the launch.
    pub last: u64,
    /// Launches from one use to the next.
    pub period: u64,
}

impl Used {
    /// In how many launches it is expected to be used again. What comes back regularly comes back on time: so a sweep over
    /// more than the device has gives up what it has just used, as Belady's rule would. Of what was used once, or did not come
    /// when it should have, nothing better is known than that it stays away for as long again.
    pub fn distance(&self, now: u64) -> u64 {
        let age = now.saturating_sub(self.last);
        let due = self.period.saturating_sub(age);
        if self.period > 0 && age <= self.period { due.max(1) } else { age.max(1) }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    device: u8,
    around: u64,
    start: u64,
    end: u64,
    used: Used,
    /// How many launches lay between its last two uses, whatever there was before; 0: there was one.
    gap: u64,
}

const UNUSED: Entry =
    Entry { device: 0, around: 0, start: 0, end: 0, used: Used { last: 0, period: 0 }, gap: 0 };

impl Entry {
    /// Of entries that overlap the same memory the highest counts: what was used last.
    fn rank(&self) -> (u64, u64, u64) {
        (self.used.last, self.start, self.end)
    }
}

/// What is known of all parts of an allocation.
#[derive(Clone, Copy)]
struct Regular {
    around: u64,
    /// Launches between two uses of one part, of what was seen last.
    period: u64,
    /// When the table last had no room for one of its parts.
    lost: u64,
}

const NOTHING: Regular = Regular { around: 0, period: 0, lost: 0 };

/// By allocation; a new one takes the place of another.
#[derive(Clone, Copy)]
struct Regulars([Regular; 16]);

impl Regulars {
    fn slot(&mut self, around: u64) -> &mut Regular {
        &mut self.0[place(around, 16)]
    }

    /// When what `e` is about was used, in allocation `around`. What was used once takes the period of its allocation's other
    /// parts. What is not in the table because that is too small for a sweep over so many parts is due in half a round, as far as anybody
    /// knows: later than what comes next, sooner than what has just been.
    fn judge(&self, e: Option<&Entry>, around: u64, now: u64) -> Used {
        let around = e.map_or(around, |e| e.around);
        let of = self.0[place(around, 16)];
        let period = if of.around == around { of.period } else { 0 };
        match e {
            Some(e) if e.used.period == 0 && e.gap == 0 => Used { period, ..e.used },
            Some(e) => e.used,
            None if period > 0 && of.lost > 0 && now - of.lost.min(now) <= 2 * period => {
                Used { last: now.saturating_sub(period / 2), period }
            }
            None => Used::default(),
        }
    }
}

const SETS: usize = 1024;
const WAYS: usize = 4;

/// The table.
pub struct Recency {
    entries: [[Entry; WAYS]; SETS],
    regular: Regulars,
}

impl Default for Recency {
    fn default() -> Self {
        Recency::new()
    }
}

impl Recency {
    /// An empty one.
    pub const fn new() -> Recency {
        Recency { entries: [[UNUSED; WAYS]; SETS], regular: Regulars([NOTHING; 16]) }
    }

    /// Launch number `now` uses `start..end` of the allocation at `around` on `device`. A caller's unit, everywhere the same.
    pub fn uses(&mut self, device: u8, around: u64, start: u64, end: u64, now: u64) {
        let set = &mut self.entries[place(start ^ end.rotate_left(20) ^ u64::from(device), SETS)];
        if let Some(e) = set.iter_mut().find(|e| e.device == device && (e.start, e.end) == (start, end)) {
            if now > e.used.last {
                // Sweeps to and fro have no period: there the last used comes first.
                let (gap, before) = (now - e.used.last, e.gap);
                let steady = before == 0 || gap.abs_diff(before) <= gap.max(before) / 8;
                e.used = Used { last: now, period: if steady { gap } else { 0 } };
                e.gap = gap;
                let period = e.used.period;
                let regular = self.regular.slot(around);
                let lost = if regular.around == around { regular.lost } else { 0 };
                *regular = Regular { around, period, lost };
            }
            return;
        }
        // Whoever goes is chosen by no rule: of a sweep over more than there is room for the oldest would go always, and none be
        // there the second time.
        let free = set.iter().position(|e| e.used.last == 0);
        let e = &mut set[free.unwrap_or_else(|| place(now ^ start, WAYS))];
        let regular = self.regular.slot(e.around);
        if free.is_none() && regular.around == e.around {
            regular.lost = now;
        }
        *e = Entry { device, around, start, end, used: Used { last: now, period: 0 }, gap: 0 };
    }

    /// When `start..end` of the allocation at `around` was used on `device`: of what overlaps it, the last.
    pub fn of(&self, device: u8, around: u64, start: u64, end: u64, now: u64) -> Used {
        let of = |e: &&Entry| e.device == device && e.start < end && start < e.end;
        let last = self.entries.iter().flatten().filter(of).max_by_key(|e| e.rank());
        self.regular.judge(last, around, now)
    }

    /// Copies all that was used on `device` for one who asks about many.
    pub fn copy(&self, device: u8, now: u64, uses: &mut Uses) {
        uses.now = now;
        uses.regular = self.regular;
        uses.entries.clear();
        uses.entries.extend(self.entries.iter().flatten().filter(|e| e.device == device && e.used.last > 0));
    }
}

/// All uses of one device at one moment. Asked about every chunk of a device, the table itself would be searched for each.
pub struct Uses {
    now: u64,
    regular: Regulars,
    entries: Vec<Entry>,
    /// Memory without gaps, ascending: from, to, and the number of the entry that counts there.
    segments: Vec<(u64, u64, usize)>,
}

impl Default for Uses {
    fn default() -> Self {
        Uses::new()
    }
}

impl Uses {
    /// None yet, with room for all that a table can have: copying allocates nothing.
    pub fn new() -> Uses {
        let entries = Vec::with_capacity(SETS * WAYS);
        Uses { now: 0, regular: Regulars([NOTHING; 16]), entries, segments: Vec::new() }
    }

    /// Makes what was copied ready to be asked.
    pub fn sort(&mut self) {
        self.entries.sort_unstable_by_key(|e| e.start);
        let entries = &self.entries;
        let mut ends: Vec<u64> = entries.iter().flat_map(|e| [e.start, e.end]).collect();
        ends.sort_unstable();
        ends.dedup();
        self.segments.clear();
        let (mut begun, mut next) = (BinaryHeap::new(), 0);
        for (&from, &to) in ends.iter().zip(&ends[ends.len().min(1)..]) {
            while entries.get(next).is_some_and(|e| e.start <= from) {
                begun.push((entries[next].rank(), next));
                next += 1;
            }
            while begun.peek().is_some_and(|(_, i)| entries[*i].end <= from) {
                begun.pop();
            }
            match (begun.peek(), self.segments.last_mut()) {
                (Some((_, i)), Some((_, end, last))) if *end == from && last == i => *end = to,
                (Some((_, i)), _) => self.segments.push((from, to, *i)),
                (None, _) => {}
            }
        }
    }

    /// As [`Recency::of`] was at that moment.
    pub fn of(&self, around: u64, start: u64, end: u64) -> Used {
        let first = self.segments.partition_point(|s| s.1 <= start);
        let here = self.segments[first..].iter().take_while(|s| s.0 < end).map(|s| &self.entries[s.2]);
        self.regular.judge(here.max_by_key(|e| e.rank()), around, self.now)
    }
}

/// Where `key` belongs in a table of `sets`, a power of two (Fibonacci hashing).
pub(super) fn place(key: u64, sets: usize) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & (sets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_gives_up_what_it_has_just_used_and_not_what_comes_next() {
        let mut r = Recency::new();
        let tile = |i: u64| (i * 100, i * 100 + 100);
        for now in 1..=25 {
            let (start, end) = tile((now - 1) % 10);
            r.uses(0, 7, start, end, now);
        }
        let first = |i: u64| r.of(0, 7, tile(i).0, tile(i).1, 25).distance(25);
        assert_eq!(first(5), 1, "tile 5 comes next");
        assert!((0..10).all(|i| first(i) <= first(4)), "tile 4 has just been");
        assert_eq!(r.of(1, 7, 0, 100, 25), Used::default());
    }

    #[test]
    fn sweeps_to_and_fro_give_up_what_was_used_longest_ago() {
        let mut r = Recency::new();
        let (mut now, order) = (0, |round: u64, i: u64| if round.is_multiple_of(2) { i } else { 9 - i });
        for round in 0..5 {
            for i in 0..10 {
                now += 1;
                let start = order(round, i) * 100;
                r.uses(0, 7, start, start + 100, now);
            }
        }
        // It has just been at 9 and turns round.
        let of = |i: u64| r.of(0, 7, i * 100, i * 100 + 100, now).distance(now);
        assert!((0..9).all(|i| of(i) >= of(i + 1)), "{:?}", (0..10).map(of).collect::<Vec<_>>());
    }

    #[test]
    fn what_has_no_period_does_not_take_that_of_others() {
        let mut r = Recency::new();
        [1, 11, 13].iter().for_each(|now| r.uses(0, 7, 0, 100, *now));
        [20, 27].iter().for_each(|now| r.uses(0, 7, 500, 600, *now));
        r.uses(0, 7, 800, 900, 28);
        assert_eq!(
            (r.of(0, 7, 0, 100, 28).period, r.of(0, 7, 800, 900, 28).period),
            (0, 7),
            "one use may be the first of many"
        );
    }

    #[test]
    fn what_does_not_come_back_is_not_waited_for() {
        let u = Used { last: 10, period: 3 };
        assert_eq!((u.distance(11), u.distance(13), u.distance(40)), (2, 1, 30));
    }

    /// A table is too small for any number of parts; what it has forgotten must not look as if it were not needed.
    #[test]
    fn a_sweep_over_more_parts_than_there_is_room_for_gives_up_what_it_has_just_used() {
        for parts in [800, 1500, 6000, 20_000] {
            let (mut r, mut now) = (Recency::new(), 0);
            for i in (0..4).flat_map(|_| 0..parts).chain(0..parts / 3) {
                now += 1;
                r.uses(0, 7, i * 100, i * 100 + 100, now);
            }
            let at = parts / 3;
            let mean = |of: std::ops::Range<u64>| {
                let all = of.clone().map(|i| r.of(0, 7, i * 100, i * 100 + 100, now).distance(now));
                all.sum::<u64>() / (of.end - of.start)
            };
            let (next, just) = (mean(at..at + parts / 5), mean(at - parts / 5..at));
            assert!(next < just, "{parts}: {next} to {just}");
        }
    }

    #[test]
    fn what_was_copied_says_what_the_table_does() {
        let (mut r, mut uses, mut x) = (Recency::new(), Uses::new(), 1u64);
        let mut random = |below: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) % below
        };
        for now in 1..=3000 {
            let start = random(4000);
            r.uses(random(2) as u8, random(3), start, start + 1 + random(300), now);
            if now % 100 == 1 {
                r.copy(1, now, &mut uses);
                uses.sort();
                for start in (0..4400).step_by(37) {
                    let end = start + 1 + random(600);
                    assert_eq!(
                        uses.of(2, start, end),
                        r.of(1, 2, start, end, now),
                        "{start} to {end} at {now}"
                    );
                }
            }
        }
    }
}
