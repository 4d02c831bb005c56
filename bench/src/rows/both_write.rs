//! Write fault on a page that is valid on both sides: nothing is copied, the device's copy is dropped. Ours and the
//! bare SIGSEGV + mprotect open the same granule: 2 MiB in huge pages, then 4 KiB (ours under advice Random).

use super::Outcome;
use crate::Bench;
use crate::floors::{CHUNK, Map, PAGE};
use crate::managed::Block;
use crate::report::{Row, Unit::Nanoseconds};
use crate::sample::Samples;
use hmmrt::{AccessMode, Advice, raw};

const CHUNKS: usize = 64;

pub fn run(b: &mut Bench) -> Outcome {
    granule(b, CHUNK)?;
    granule(b, PAGE)
}

fn granule(b: &mut Bench, granule: usize) -> Outcome {
    let len = CHUNKS * CHUNK;
    let mut bare = Map::filled(len, granule == CHUNK)?;
    let ours = Block::filled(len)?;
    if granule == PAGE {
        raw::advise(ours.ptr(), len, Advice::Random, b.device)?;
    }
    let [mut floor, mut fault] = [const { Samples::new() }; 2];
    for run in 0..=b.runs {
        let order = b.random.order(CHUNKS);
        let offsets: Vec<usize> = order.iter().map(|&chunk| chunk * CHUNK + b.random.below(CHUNK)).collect();
        let bare_ns = bare.bare_faults(granule, true, &offsets)?;

        ours.use_once(b.device, AccessMode::Read)?;
        for &offset in &offsets {
            if ours.valid(offset)? != (true, true) {
                return Err(format!("page at {offset} is not valid on both sides after a device read").into());
            }
        }
        let before = hmmrt::raw::stats();
        let ns = ours.touch(&offsets, true);
        let after = hmmrt::raw::stats();
        if after.bytes_to_host != before.bytes_to_host {
            return Err("a write to a page that is valid on both sides copied bytes".into());
        }
        if after.faults - before.faults != CHUNKS as u64 {
            return Err(format!("{} faults for {CHUNKS} writes", after.faults - before.faults).into());
        }
        for &offset in &offsets {
            let neighbour = offset / CHUNK * CHUNK + (offset + PAGE) % CHUNK;
            let stays = granule == PAGE;
            if ours.valid(offset)? != (true, false) || ours.valid(neighbour)? != (true, stays) {
                return Err(format!("wrong state around {offset} after a write at granule {granule}").into());
            }
        }
        if run > 0 {
            floor.extend_ns(&bare_ns);
            fault.extend_ns(&ns);
        }
    }
    let (name, kind) = if granule == CHUNK { ("2 MiB", "huge") } else { ("4 KiB", "small pages") };
    let (floor, fault) = (floor.stat(), fault.stat());
    b.report.floor(
        format!("bare SIGSEGV + mprotect, {name} ({kind}), read-only to writable"),
        Nanoseconds,
        floor,
    );
    let note = if granule == CHUNK { "both open 2 MiB" } else { "advice Random; both open 4 KiB" };
    let row = Row::new(format!("write fault on a both page, {name} granule"), Nanoseconds, fault)
        .floor(&format!("bare SIGSEGV + mprotect {name}"), floor);
    let met = fault.median <= 1.3 * floor.median;
    b.report.row(row.target("1.3 x", met).note(note));
    Ok(())
}
