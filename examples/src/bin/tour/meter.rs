//! What one step moved and how long it took: the runtime's counters before and after, and a clock.
//!
//! Started at the head of a step; `report` prints it at the end.

use std::time::{Duration, Instant};

use hmmrt::Stats;

/// Counters and clock at the start of a step.
pub struct Meter {
    before: Stats,
    start: Instant,
}

/// The differences at its end.
pub struct Moved {
    /// Bytes copied to the device.
    pub to_device: u64,
    /// Bytes copied home.
    pub to_host: u64,
    /// Bytes of moved pages that needed no copy.
    pub not_copied: u64,
    /// CPU faults on reads.
    pub read_faults: u64,
    /// CPU faults on writes.
    pub write_faults: u64,
    /// CPU touches that had to wait for a kernel or for another thread.
    pub waits: u64,
    /// The time it took.
    pub time: Duration,
}

impl Meter {
    /// From here on.
    pub fn start() -> Meter {
        Meter { before: hmmrt::stats(), start: Instant::now() }
    }

    /// Up to here.
    pub fn moved(&self) -> Moved {
        let (time, now) = (self.start.elapsed(), hmmrt::stats());
        Moved {
            to_device: now.bytes_to_device - self.before.bytes_to_device,
            to_host: now.bytes_to_host - self.before.bytes_to_host,
            not_copied: now.bytes_not_copied - self.before.bytes_not_copied,
            read_faults: now.read_faults - self.before.read_faults,
            write_faults: now.write_faults - self.before.write_faults,
            waits: now.waits - self.before.waits,
            time,
        }
    }
}

/// "12.5 MiB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
