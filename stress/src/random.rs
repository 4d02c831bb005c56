//! Numbers from a seed: xorshift64*. The same seed gives a thread the same sequence of operations, whatever the others do.

/// A generator.
pub struct Random(u64);

impl Random {
    /// Thread `number`'s generator of `seed`.
    pub fn new(seed: u64, number: usize) -> Random {
        let mut r = Random((seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        for _ in 0..8 {
            r.next();
        }
        r
    }
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }
    /// A part of `len` bytes, as start and length: a word, some pages, a chunk, or all of it.
    pub fn part(&mut self, len: usize) -> (usize, usize) {
        let most = [8, 4096, 20_000, 65_536, 700_000, 2 << 20, len, len][self.below(8)].min(len);
        let n = if most == len { len } else { (1 + self.below(most / 8)) * 8 };
        (self.below((len - n) / 8 + 1) * 8, n)
    }
}
