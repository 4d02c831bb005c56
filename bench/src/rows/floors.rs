//! The floors that belong to no row of their own: `mremap` of a huge block out and back, and filling a fresh block.

use super::Outcome;
use crate::Bench;
use crate::floors::{CHUNK, Map};
use crate::report::Unit::Nanoseconds;
use crate::sample::{Samples, time_ns};

pub fn run(b: &mut Bench) -> Outcome {
    let len = b.big() / 4;
    let chunks = len / CHUNK;
    let [mut taken, mut put, mut fresh] = [const { Samples::new() }; 3];
    let source = Map::filled(len, true)?;
    let mut blocks = Map::filled(len, true)?;
    let mut pool = Map::new(len, true)?;
    let mut target = Map::new(len, true)?;
    for run in 0..=b.runs {
        let (out, back) = blocks.mremap_pairs(&mut pool)?;
        target.drop_pages();
        let order = b.random.order(chunks);
        let fills: Vec<u64> = order
            .iter()
            .map(|&chunk| time_ns(|| target.copy_from(chunk * CHUNK, &source, chunk * CHUNK, CHUNK)) as u64)
            .collect();
        if run > 0 {
            taken.extend_ns(&out);
            put.extend_ns(&back);
            fresh.extend_ns(&fills);
        }
    }
    b.report.floor("mremap of a huge 2 MiB block out (DONTUNMAP)", Nanoseconds, taken.stat());
    b.report.floor("mremap of a huge 2 MiB block back over it", Nanoseconds, put.stat());
    b.report.floor("memcpy of 2 MiB into a fresh huge block", Nanoseconds, fresh.stat());
    Ok(())
}
