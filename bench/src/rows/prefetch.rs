//! 1 GiB goes to the device: hmm_prefetch + hmm_stream_synchronize, from the second round trip on (the device's
//! memory is committed), every page dirty on the host. Against plain memcpy into warm memory of the same run.

use super::{Outcome, size};
use crate::Bench;
use crate::floors::{CHUNK, Map};
use crate::managed::Block;
use crate::report::{Row, Unit::GigabytesPerSecond};
use crate::sample::{Samples, time_ns};
use hmmrt::{Error, HMM_HOST, StreamId, raw};

pub fn run(b: &mut Bench) -> Outcome {
    let len = b.big();
    let source = Map::filled(len, true)?;
    let mut warm = Map::filled(len, true)?;
    let ours = Block::filled(len)?;
    let [mut whole, mut pieces, mut sent, mut call] = [const { Samples::new() }; 4];
    for run in 0..=b.runs {
        let whole_ns = time_ns(|| warm.copy_from(0, &source, 0, len));
        ours.migrate(HMM_HOST)?;
        ours.dirty();
        if ours.valid(0)? != (true, false) || ours.valid(len - 1)? != (true, false) {
            return Err("the block is not on the host alone after a write to each page".into());
        }
        let before = hmmrt::raw::stats();
        let mut result: Result<(), Error> = Ok(());
        let mut call_ns = 0.0;
        let sent_ns = time_ns(|| {
            call_ns = time_ns(|| result = raw::prefetch(ours.ptr(), len, b.device, StreamId(0)));
            if result.is_ok() {
                result = raw::stream_synchronize(StreamId(0));
            }
        });
        result?;
        let moved = hmmrt::raw::stats().bytes_to_device - before.bytes_to_device;
        if moved != len as u64 || ours.valid(0)? != (false, true) || ours.valid(len - 1)? != (false, true) {
            return Err(format!(
                "{moved} of {len} bytes were copied to the device, or the pages are not there"
            )
            .into());
        }
        let pieces_ns = time_ns(|| {
            for offset in (0..len).step_by(CHUNK) {
                warm.copy_from(offset, &source, offset, CHUNK);
            }
        });
        if run > 0 {
            whole.push(len as f64 / whole_ns);
            pieces.push(len as f64 / pieces_ns);
            sent.push(len as f64 / sent_ns);
            call.push(call_ns);
        }
    }
    let (whole, pieces, sent) = (whole.stat(), pieces.stat(), sent.stat());
    b.report.row(
        Row::new(format!("prefetch {} to the device", size(len)), GigabytesPerSecond, sent)
            .floor("memcpy warm, one call", whole)
            .target("0.93 of it", sent.median >= 0.93 * whole.median)
            .note(format!(
                "hmm_prefetch itself returns after {:.2} ms; all {} bytes were copied",
                call.stat().median / 1e6,
                len
            )),
    );
    b.report.row(Row::new("the same", GigabytesPerSecond, sent).floor("memcpy warm, 2 MiB a call", pieces));
    Ok(())
}
