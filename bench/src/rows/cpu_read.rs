//! CPU reads 1 GiB that is on the device, from the first byte to the last, against memcpy + scan of the same size:
//! into warm memory (nothing to allocate); into warm memory while another thread makes as much fresh memory present,
//! until both are done; into fresh memory (the system zeroes each page first). The target is held against the first.

use super::{Outcome, size};
use crate::Bench;
use crate::floors::{CHUNK, Map};
use crate::managed::Block;
use crate::report::{Row, Unit::GigabytesPerSecond, Unit::Nanoseconds};
use crate::sample::{Samples, time_ns};

/// Faults more than one a chunk: until it is seen that the reader goes on.
const FEW: u64 = 8;

pub fn run(b: &mut Bench) -> Outcome {
    let len = b.big();
    let chunks = (len / CHUNK) as u64;
    let source = Map::filled(len, true)?;
    let mut warm = Map::filled(len, true)?;
    let mut fresh = Map::new(len, true)?;
    let ours = Block::filled(len)?;
    let expected = source.sum();
    let [mut warm_copy, mut warm_pieces, mut warm_streams, mut fresh_copy, mut scan] =
        [const { Samples::new() }; 5];
    let [mut warm_total, mut fresh_total, mut beside_total, mut read, mut faults] =
        [const { Samples::new() }; 5];
    for run in 0..=b.runs {
        let pieces = time_ns(|| {
            for offset in (0..len).step_by(CHUNK) {
                warm.copy_from(offset, &source, offset, CHUNK);
            }
        });
        let streamed = time_ns(|| {
            for offset in (0..len).step_by(CHUNK) {
                warm.stream_from(offset, &source, CHUNK);
            }
        });
        let copy = time_ns(|| warm.copy_from(0, &source, 0, len));
        let mut sum = 0;
        let plain_scan = time_ns(|| sum = warm.sum());

        ours.migrate(b.device)?;
        if ours.valid(0)? != (false, true) || ours.valid(len - 1)? != (false, true) {
            return Err("the block is not on the device alone after hmm_migrate".into());
        }
        let before = hmmrt::raw::stats();
        let mut ours_sum = 0;
        let ours_time = time_ns(|| ours_sum = ours.sum());
        let after = hmmrt::raw::stats();

        let fresh_time = time_ns(|| fresh.copy_from(0, &source, 0, len));
        let mut fresh_sum = 0;
        let fresh_scan = time_ns(|| fresh_sum = fresh.sum());
        fresh.drop_pages();
        let (mut beside_sum, mut populated) = (0, Ok(()));
        let beside = time_ns(|| {
            populated = fresh.while_populating(|| {
                warm.copy_from(0, &source, 0, len);
                beside_sum = warm.sum();
            });
        });
        populated?;
        fresh.drop_pages();
        if [sum, ours_sum, fresh_sum, beside_sum] != [expected; 4] {
            return Err(
                format!("wrong sum: {sum} {ours_sum} {fresh_sum} {beside_sum}, not {expected}").into()
            );
        }
        if run > 0 {
            warm_copy.push(len as f64 / copy);
            warm_pieces.push(len as f64 / pieces);
            warm_streams.push(len as f64 / streamed);
            fresh_copy.push(len as f64 / fresh_time);
            scan.push(len as f64 / plain_scan);
            warm_total.push(copy + plain_scan);
            fresh_total.push(fresh_time + fresh_scan);
            beside_total.push(beside);
            read.push(ours_time);
            faults.push((after.faults - before.faults) as f64);
        }
    }
    let what = size(len);
    for (kind, samples) in [
        ("warm memory, one call", &warm_copy),
        ("warm memory, 2 MiB a call", &warm_pieces),
        ("warm memory, 2 MiB a call, non-temporal stores", &warm_streams),
        ("fresh memory, one call", &fresh_copy),
    ] {
        b.report.floor(format!("memcpy of {what} into {kind}"), GigabytesPerSecond, samples.stat());
    }
    b.report.floor(format!("scan of {what}"), GigabytesPerSecond, scan.stat());
    let (ours, faults) = (read.stat(), faults.stat());
    let note =
        format!("{:.0} faults for {chunks} chunks, {:.2} GB/s", faults.median, len as f64 / ours.median);
    let warm = warm_total.stat();
    let met = ours.median <= 1.10 * warm.median && faults.median <= (chunks + FEW) as f64;
    b.report.row(
        Row::new(format!("CPU reads {what} from the device"), Nanoseconds, ours)
            .floor("memcpy warm + scan", warm)
            .target(format!("1.10 x, at most {} faults", chunks + FEW), met)
            .note(note),
    );
    for (which, samples) in
        [("memcpy warm + scan, other core zeroing", &beside_total), ("memcpy fresh + scan", &fresh_total)]
    {
        b.report.row(Row::new("the same", Nanoseconds, ours).floor(which, samples.stat()));
    }
    Ok(())
}
