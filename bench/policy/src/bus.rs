//! One direction of the bus: a machine that does one thing at a time. Work is put into the earliest time that is free from its
//! release on, in pieces if need be, in the order of importance.

/// When it is idle.
#[derive(Clone, Debug)]
pub struct Bus {
    /// Idle times, ascending, from and to.
    idle: Vec<(u64, u64)>,
    /// How long it has worked.
    pub busy: u64,
}

impl Default for Bus {
    fn default() -> Self {
        Bus { idle: vec![(0, u64::MAX)], busy: 0 }
    }
}

impl Bus {
    /// When work could begin that may not before `release`.
    pub fn free(&self, release: u64) -> u64 {
        let i = self.idle.partition_point(|(_, to)| *to <= release);
        self.idle[i].0.max(release)
    }

    /// Does work that takes `len`, not before `release`. When it is done.
    pub fn work(&mut self, release: u64, len: u64) -> u64 {
        if len == 0 {
            return release;
        }
        self.busy += len;
        let mut i = self.idle.partition_point(|(_, to)| *to <= release);
        let mut rest = len;
        loop {
            let (from, to) = self.idle[i];
            let start = from.max(release);
            let take = rest.min(to - start);
            rest -= take;
            let end = start + take;
            match (start > from, end < to) {
                (false, false) => {
                    self.idle.remove(i);
                }
                (false, true) => self.idle[i].0 = end,
                (true, false) => {
                    self.idle[i].1 = start;
                    i += 1;
                }
                (true, true) => {
                    self.idle[i].1 = start;
                    self.idle.insert(i + 1, (end, to));
                }
            }
            if rest == 0 {
                return end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_fills_what_is_free() {
        let mut b = Bus::default();
        assert_eq!(b.work(10, 5), 15);
        assert_eq!((b.free(3), b.free(10), b.free(12), b.free(20)), (3, 15, 15, 20));
        assert_eq!(b.work(0, 4), 4);
        assert_eq!(b.work(2, 10), 19, "from 4 to 10, and from 15 on");
        assert_eq!(b.work(0, 1), 20);
        assert_eq!(b.work(100, 0), 100);
        assert_eq!(b.busy, 20);
    }
}
