//! A 4 KiB fault whose neighbours stay away: under advice Random, one page of each chunk that is on the device is
//! touched; the other 511 must still be there. Against bare SIGSEGV + mprotect of 4 KiB in the same pattern.

use super::Outcome;
use crate::Bench;
use crate::floors::{CHUNK, Map, PAGE};
use crate::managed::Block;
use crate::report::{Row, Unit::Nanoseconds};
use crate::sample::Samples;
use hmmrt::{Advice, Page, raw};

const CHUNKS: usize = 128;

pub fn run(b: &mut Bench) -> Outcome {
    let len = CHUNKS * CHUNK;
    let mut bare = Map::filled(len, false)?;
    let ours = Block::filled(len)?;
    raw::advise(ours.ptr(), len, Advice::Random, b.device)?;
    let [mut floor, mut read, mut write] = [const { Samples::new() }; 3];
    for run in 0..=b.runs {
        for writes in [false, true] {
            let order = b.random.order(CHUNKS);
            let offsets: Vec<usize> =
                order.iter().map(|&chunk| chunk * CHUNK + b.random.below(CHUNK)).collect();
            let bare_ns = bare.bare_faults(PAGE, false, &offsets)?;
            ours.migrate(b.device)?;
            let ns = ours.touch(&offsets, writes);
            for &offset in &offsets {
                let chunk = offset / CHUNK * CHUNK;
                let pages = ours.pages(chunk, CHUNK / PAGE)?;
                let home = pages.iter().filter(|page| page.flags & Page::HOST != 0).count();
                let there = pages[(offset - chunk) / PAGE].flags & Page::HOST != 0;
                if home != 1 || !there {
                    return Err(format!(
                        "{home} pages of the chunk came home for one touch (its own: {there})"
                    )
                    .into());
                }
            }
            if run > 0 {
                floor.extend_ns(&bare_ns);
                if writes { &mut write } else { &mut read }.extend_ns(&ns);
            }
        }
    }
    let (floor, read, write) = (floor.stat(), read.stat(), write.stat());
    b.report.floor("bare SIGSEGV + mprotect, 4 KiB, none to writable", Nanoseconds, floor);
    let limit = (4.0 * floor.median).max(15_000.0);
    let target = format!("15 us or 4 x: {:.1} us", limit / 1e3);
    let which = "bare SIGSEGV + mprotect 4 KiB";
    b.report.row(
        Row::new("4 KiB fault, neighbours stay, read", Nanoseconds, read)
            .floor(which, floor)
            .target(target.clone(), read.median <= limit)
            .note("511 of 512 pages checked to be on the device still, after each touch"),
    );
    b.report.row(
        Row::new("the same, write", Nanoseconds, write)
            .floor(which, floor)
            .target(target, write.median <= limit),
    );
    Ok(())
}
