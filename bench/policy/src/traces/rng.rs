//! Random numbers that are the same everywhere (SplitMix64), and Zipf's law.

pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed)
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    /// From `low` to `high`, both included.
    pub(super) fn pick(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
    pub(super) fn size(&mut self, low: usize, high: usize) -> usize {
        self.pick(low as u64, high as u64) as usize
    }
    /// From 0 to 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks `0..n` with a probability by Zipf's law, each at a place that has nothing to do with its rank.
pub(super) struct Zipf {
    sums: Vec<f64>,
    places: Vec<usize>,
}

impl Zipf {
    pub(super) fn new(n: usize, exponent: f64, rng: &mut Rng) -> Zipf {
        let mut sum = 0.0;
        let sums = (1..=n)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        let mut places: Vec<usize> = (0..n).collect();
        (1..n).rev().for_each(|i| places.swap(i, rng.size(0, i)));
        Zipf { sums, places }
    }
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        let x = rng.unit() * self.sums[self.sums.len() - 1];
        self.places[self.sums.partition_point(|s| *s < x).min(self.places.len() - 1)]
    }
}
