//! The table of the kernel's benchmark_thp_migration (hmm-tests.c): memory of several sizes, in huge pages and in small ones,
//! moves to the device and back with hmm_migrate. Fresh adopted memory each time, so device memory is made within the time, and
//! pages are what they are said to be. The bytes that were copied and a word of each page are checked.

use super::Outcome;
use crate::Bench;
use crate::floors::{CHUNK, Map, PAGE};
use crate::report::Migration;
use crate::sample::{Samples, time_ns};
use hmmrt::{HMM_HOST, raw};

/// The sizes, in quarters of 2 MiB.
const QUARTERS: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

pub fn run(b: &mut Bench) -> Outcome {
    let most = if b.quick { 32 } else { 512 };
    for huge in [true, false] {
        for bytes in QUARTERS.into_iter().filter(|n| *n <= most).map(|n| n * CHUNK / 4) {
            let (mut out, mut home) = (Samples::new(), Samples::new());
            for run in 0..=b.runs {
                let [out_ns, home_ns] = there_and_back(bytes, huge, b.device)?;
                if run > 0 {
                    out.push(out_ns);
                    home.push(home_ns);
                }
            }
            b.report.migration(Migration { bytes, huge, to_device: out.stat(), home: home.stat() });
        }
    }
    Ok(())
}

/// Nanoseconds each way.
fn there_and_back(bytes: usize, huge: bool, device: i32) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    let mut map = Map::new(bytes, huge)?;
    map.dirty();
    // SAFETY: the map stays until it is disowned, and only the CPU and the runtime know it.
    unsafe { raw::adopt(map.ptr(), bytes)? };
    let before = raw::stats();
    let mut moved = [Ok(0), Ok(0)];
    let out = time_ns(|| moved[0] = raw::migrate(map.ptr(), bytes, device));
    let home = time_ns(|| moved[1] = raw::migrate(map.ptr(), bytes, HMM_HOST));
    let after = raw::stats();
    for moved in moved {
        if moved? != bytes / PAGE {
            return Err(format!("{} of {} pages moved", moved?, bytes / PAGE).into());
        }
    }
    let copied = (after.bytes_to_device - before.bytes_to_device, after.bytes_to_host - before.bytes_to_host);
    if copied != (bytes as u64, bytes as u64) {
        return Err(format!("{copied:?} bytes were copied, not {bytes} each way").into());
    }
    if !map.is_dirty() {
        return Err("a page came home with other bytes".into());
    }
    // SAFETY: as above.
    unsafe { raw::disown(map.ptr(), bytes)? };
    Ok([out, home])
}
