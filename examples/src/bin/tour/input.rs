//! Chapter 1: the file, in managed memory by ordinary `read`, and once more in an ordinary `Vec`.
//!
//! Called by `main`. A file that would not fit is cut, and the tour says so.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use hmmrt::ManagedVec;

use crate::meter::{Meter, size};
use crate::{Outcome, Tour};

/// The file's bytes, twice.
pub struct Data {
    managed: ManagedVec<u8>,
    /// How much of `managed` the file filled.
    len: usize,
    /// The same bytes in ordinary memory, for the checks.
    pub plain: Vec<u8>,
}

impl Data {
    /// The bytes in managed memory.
    pub fn managed(&self) -> &[u8] {
        &self.managed[..self.len]
    }

    /// The same, to write.
    pub fn managed_mut(&mut self) -> &mut [u8] {
        &mut self.managed[..self.len]
    }
}

/// Reads the file into managed memory, and again into a `Vec` (what cannot be read twice is copied instead).
pub fn read(tour: &mut Tour, path: &Path) -> Outcome<Data> {
    let mut file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let metadata = file.metadata()?;
    let limit = limit(hmmrt::raw::device_info(0)?.memory_total);
    let room =
        if metadata.is_file() && metadata.len() > 0 { limit.min(metadata.len() as usize) } else { limit };
    // Memory that is never touched costs nothing: there may be much more room than the file needs.
    let mut managed = ManagedVec::<u8>::zeroed(room)?;
    tour.report.title("read(2) puts the file into managed memory");
    if metadata.is_file() {
        tour.report.map("before", &managed)?;
    }
    let meter = Meter::start();
    let len = fill(&mut file, &mut managed)?;
    let moved = meter.moved();
    let more = file.read(&mut [0])? > 0;
    tour.report.map("after", &managed[..len])?;
    tour.report.moved(&moved, len);
    println!(
        "   {}: {}{}",
        path.display(),
        size(len as u64),
        if more { ", the rest is left out" } else { "" }
    );

    let mut plain = vec![0; len];
    if metadata.is_file() {
        fill(&mut File::open(path)?, &mut plain)?;
    } else {
        plain.copy_from_slice(&managed[..len]);
    }
    tour.report.check("every byte is as in ordinary memory", managed[..len] == plain[..]);
    Ok(Data { managed, len, plain })
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The most that is taken: the device and the host each hold it, and the checks hold it once more.
fn limit(device: u64) -> usize {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map_or(1 << 30, |kib| kib << 10);
    (device / 4).min(available / 6) as usize
}
