//! When launches last used what, and how regularly: for choosing what leaves a device that is full. By ranges as launches
//! name them, in a table of fixed size. Time is counted in launches. Signal-safe.

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

const SETS: usize = 256;
const WAYS: usize = 4;

/// The table.
pub struct Recency {
    entries: [[Entry; WAYS]; SETS],
    /// The most launches that lie between two uses of one thing, of what was seen last.
    regular: [(u64, u64); 16],
}

impl Default for Recency {
    fn default() -> Self {
        Recency::new()
    }
}

impl Recency {
    /// An empty one.
    pub const fn new() -> Recency {
        Recency { entries: [[UNUSED; WAYS]; SETS], regular: [(0, 0); 16] }
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
                self.regular[place(around, 16)] = (around, e.used.period);
            }
            return;
        }
        if let Some(e) = set.iter_mut().min_by_key(|e| e.used.last) {
            *e = Entry { device, around, start, end, used: Used { last: now, period: 0 }, gap: 0 };
        }
    }

    /// When `start..end` was used on `device`: of what overlaps it, the last. What was used once takes the period of its
    /// allocation's other parts.
    pub fn of(&self, device: u8, start: u64, end: u64) -> Used {
        let of = |e: &&Entry| e.device == device && e.start < end && start < e.end;
        let Some(e) = self.entries.iter().flatten().filter(of).max_by_key(|e| e.used.last) else {
            return Used::default();
        };
        let (around, period) = self.regular[place(e.around, 16)];
        match e.used.period {
            0 if e.gap == 0 && around == e.around => Used { period, ..e.used },
            _ => e.used,
        }
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
        let first = |i: u64| r.of(0, tile(i).0, tile(i).1).distance(25);
        assert_eq!(first(5), 1, "tile 5 comes next");
        assert!((0..10).all(|i| first(i) <= first(4)), "tile 4 has just been");
        assert_eq!(r.of(1, 0, 100), Used::default());
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
        let of = |i: u64| r.of(0, i * 100, i * 100 + 100).distance(now);
        assert!((0..9).all(|i| of(i) >= of(i + 1)), "{:?}", (0..10).map(of).collect::<Vec<_>>());
    }

    #[test]
    fn what_has_no_period_does_not_take_that_of_others() {
        let mut r = Recency::new();
        [1, 11, 13].iter().for_each(|now| r.uses(0, 7, 0, 100, *now));
        [20, 27].iter().for_each(|now| r.uses(0, 7, 500, 600, *now));
        r.uses(0, 7, 800, 900, 28);
        assert_eq!(
            (r.of(0, 0, 100).period, r.of(0, 800, 900).period),
            (0, 7),
            "one use may be the first of many"
        );
    }

    #[test]
    fn what_does_not_come_back_is_not_waited_for() {
        let u = Used { last: 10, period: 3 };
        assert_eq!((u.distance(11), u.distance(13), u.distance(40)), (2, 1, 30));
    }
}
