//! Samples and their median and spread, a stopwatch, and a small random generator. Used by every row.

use serde::Serialize;
use std::time::Instant;

/// Measured values of one thing, in the unit of its row.
#[derive(Default)]
pub struct Samples(Vec<f64>);

/// Median and spread (10th to 90th percentile) of some samples.
#[derive(Clone, Copy, Serialize)]
pub struct Stat {
    /// The 50th percentile.
    pub median: f64,
    /// The 10th.
    pub p10: f64,
    /// The 90th.
    pub p90: f64,
    /// How many samples there were.
    pub samples: usize,
}

impl Samples {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// One more.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Some more, of nanoseconds.
    pub fn extend_ns(&mut self, values: &[u64]) {
        self.0.extend(values.iter().map(|&ns| ns as f64));
    }

    /// All of them, as they came.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// Nearest-rank percentiles; all zero when there is no sample.
    pub fn stat(&self) -> Stat {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| match sorted.len() {
            0 => 0.0,
            n => sorted[((n - 1) as f64 * share).round() as usize],
        };
        Stat { median: at(0.5), p10: at(0.1), p90: at(0.9), samples: sorted.len() }
    }
}

impl Stat {
    /// A value that was read, not sampled.
    pub fn exact(value: f64) -> Self {
        Self { median: value, p10: value, p90: value, samples: 1 }
    }
}

/// Nanoseconds that `work` takes.
pub fn time_ns(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

/// xorshift64* (Vigna 2016), always from the same seed: each run of the benchmark touches the same places.
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

impl Random {
    /// At the seed.
    pub fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound as u64) as usize
    }

    /// 0..n in random order.
    pub fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}
