//! What a thread does again and again, so that there is something to foresee (`HMMRT_POLICY=auto`): it fills a source in order,
//! launches a copy of it, a sum over a table that seldom changes, and reads the result in order. Now and then it breaks the habit: it reads
//! only a part or nothing, fills twice or not at all, takes the table home, writes into the result. Every word is known.

use crate::kernels::{Device, allowed};
use crate::private::Private;
use crate::random::Random;
use hmmrt::raw::{self, HMM_HOST};

/// Words of each block: three chunks and a bit of a fourth.
const WORDS: usize = (3 << 20) * 2 / 8 + 5000;
/// One word in so many is touched: some in each page.
const STEP: usize = 96;

/// A thread's three blocks, and where sums go to.
pub struct Habit {
    source: Private,
    result: Private,
    table: Private,
    sum: Private,
}

impl Habit {
    /// Zeros, but for the table.
    pub fn new(random: &mut Random) -> Habit {
        let block = |adopted: bool| match adopted {
            true => Private::adopt((WORDS * 8).div_ceil(4096)),
            false => Private::allocate(WORDS * 8),
        };
        let mut table = block(false);
        table.write(0, WORDS, STEP, random.next() | 1);
        let (source, result) = (block(random.below(2) == 0), block(random.below(2) == 0));
        Habit { source, result, table, sum: Private::allocate(8) }
    }

    /// All of its blocks.
    pub fn blocks(&self) -> [&Private; 4] {
        [&self.source, &self.result, &self.table, &self.sum]
    }

    /// Where its source is, for the report.
    pub fn addr(&self) -> usize {
        self.source.ptr.addr()
    }

    /// Some rounds. How many words were compared, and how many launches were refused.
    pub fn rounds(&mut self, device: &Device, random: &mut Random) -> (u64, u64) {
        let (mut compared, mut refused) = (0, 0);
        for _ in 0..3 + random.below(6) {
            match random.below(12) {
                0 => {}
                1 => (0..2).for_each(|_| self.source.write(0, WORDS, STEP, random.next() | 1)),
                2 => self.source.write(random.below(WORDS / 2), WORDS / 2, STEP, random.next() | 1),
                _ => self.source.write(0, WORDS, STEP, random.next() | 1),
            }
            let (to, from) = (self.result.ptr, self.source.ptr.cast_const());
            if device.copy(to, from, WORDS as u64 * 8) {
                self.result.model[..WORDS].copy_from_slice(&self.source.model[..WORDS]);
            } else {
                self.result.restore(0, WORDS);
                refused += 1;
            }
            refused += u64::from(!self.add(device));
            let most = match random.below(12) {
                0 => 0,
                1 => random.below(WORDS),
                _ => WORDS,
            };
            self.result.check(0, most, STEP);
            compared += (most / STEP) as u64;
            match random.below(24) {
                0 => self.result.write(random.below(WORDS - 600), 600, 7, random.next() | 1),
                1 => self.table.write(random.below(WORDS - 600), 600, 7, random.next() | 1),
                2..=7 => {
                    let home = raw::migrate(self.table.ptr, self.table.len(), HMM_HOST).map(|_| ());
                    refused += u64::from(!allowed(home, self.table.ptr.addr()));
                }
                8 => self.sum.check(0, 1, 1),
                _ => {}
            }
        }
        (compared, refused)
    }

    /// Adds the sum of the table; whether that was launched.
    fn add(&mut self, device: &Device) -> bool {
        let launched = device.sum(self.sum.ptr, self.table.ptr.cast_const(), WORDS as u64 * 2);
        if launched {
            let halves = |w: &u64| (w & 0xffff_ffff).wrapping_add(w >> 32);
            let sum = self.table.model[..WORDS].iter().map(halves).fold(0, u64::wrapping_add);
            self.sum.model[0] = self.sum.model[0].wrapping_add(sum);
        }
        launched
    }

    /// Gives its blocks back, having looked at them.
    pub fn free(self) {
        [self.source, self.result, self.table, self.sum].into_iter().for_each(|b| b.free(true));
    }
}
