//! What is measured: which granule, by how many threads at once, and what is done about the touch.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::sync::Barrier;

/// How a touch is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Page protection and SIGSEGV
    Segv,
    /// userfaultfd and SIGBUS
    Uffd,
    /// userfaultfd and a thread
    UffdThread,
}

/// What is done about a touch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It was away: bytes are copied, and put in place; the touch is a read.
    Read,
    /// The same of a write.
    Write,
    /// It was away: pages are put in place, and nothing is copied (bare loops only).
    PutOnly,
    /// It was away: the kernel copies bytes into pages of its own, `UFFDIO_COPY` (bare loops of userfaultfd only).
    Copied,
    /// It was there and could be read only: it is made writable. Nothing is copied.
    LetWrite,
    /// 64 MiB: a device writes all, the CPU reads all, a device reads all; one sample is the whole.
    Round,
    /// The bytes that a round copied (not a time).
    RoundBytes,
    /// Mappings more than before, when every other granule of many is home (not a time).
    Mappings,
}

/// One row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Case {
    /// What is done.
    pub what: What,
    /// Of how many bytes.
    pub granule: usize,
    /// By how many threads at once.
    pub threads: usize,
}

/// Granules, and how many of each. No more than the spare pool has by default (64 MiB).
pub const GRANULES: [(usize, usize); 3] = [(4 << 10, 512), (64 << 10, 256), (2 << 20, 32)];

/// All rows of `what`s, and the number of their granules.
pub fn cases(whats: &[What], quick: bool) -> Vec<(Case, usize)> {
    let mut out = Vec::new();
    for (granule, count) in GRANULES {
        for threads in [1, 2] {
            for &what in whats {
                out.push((Case { what, granule, threads }, if quick { count / 8 } else { count }));
            }
        }
    }
    out
}

/// Nanoseconds of each touch: `order` is dealt out to the threads, which begin together.
pub fn touches<F>(threads: usize, order: &[usize], touch: F) -> Result<Vec<f64>, Box<dyn Error>>
where
    F: Fn(&[usize]) -> Vec<u64> + Sync,
{
    let start = Barrier::new(threads);
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|t| {
                let mine: Vec<usize> = order.iter().skip(t).step_by(threads).copied().collect();
                let (start, touch) = (&start, &touch);
                scope.spawn(move || {
                    start.wait();
                    touch(&mine)
                })
            })
            .collect();
        for worker in workers {
            let ns = worker.join().map_err(|_| "a touching thread ended early")?;
            all.extend(ns.into_iter().map(|ns| ns as f64));
        }
        Ok(all)
    })
}
