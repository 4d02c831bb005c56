//! hmm_malloc of 1 MiB, its first byte written, hmm_free; against glibc's malloc in its steady state (after the
//! first free its mmap threshold has risen, so the block comes from the heap with its pages still there), and
//! against mmap + munmap, which is what malloc does below that state.

use super::Outcome;
use crate::Bench;
use crate::floors;
use crate::report::{Row, Unit::Nanoseconds};
use crate::sample::{Samples, time_ns};
use hmmrt::{Error, raw};

const SIZE: usize = 1 << 20;
const PAIRS: usize = 200;

pub fn run(b: &mut Bench) -> Outcome {
    let [mut malloc, mut mmap, mut ours] = [const { Samples::new() }; 3];
    for run in 0..=b.runs * 4 {
        let malloc_ns = time_ns(|| floors::malloc_pairs(SIZE, PAIRS));
        let mut result = Ok(());
        let ours_ns = time_ns(|| result = managed_pairs());
        result?;
        let mmap_ns = time_ns(|| floors::mmap_pairs(SIZE, PAIRS));
        if run > 0 {
            malloc.push(malloc_ns / PAIRS as f64);
            ours.push(ours_ns / PAIRS as f64);
            mmap.push(mmap_ns / PAIRS as f64);
        }
    }
    let (malloc, mmap, ours) = (malloc.stat(), mmap.stat(), ours.stat());
    let what = "hmm_malloc + hmm_free of 1 MiB";
    b.report.row(
        Row::new(what, Nanoseconds, ours)
            .floor("glibc malloc + free", malloc)
            .target("1.5 x", ours.median <= 1.5 * malloc.median)
            .note("first byte written by all"),
    );
    b.report.row(Row::new("the same", Nanoseconds, ours).floor("mmap + munmap", mmap));
    Ok(())
}

fn managed_pairs() -> Result<(), Error> {
    for i in 0..PAIRS {
        let p = raw::malloc(SIZE)?;
        // SAFETY: the block is SIZE bytes, not null, and freed once after its only use.
        unsafe {
            p.write_volatile(i as u8);
            raw::free(p)?;
        }
    }
    Ok(())
}
