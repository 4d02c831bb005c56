//! `hmmrt report`: what a trace says about a run. Collected into one structure, whose fields are the JSON's; `text` shows the
//! same to people. Times are nanoseconds, sizes bytes. Nothing in a trace is believed: sums saturate, and what does not fit
//! together is left out.

mod blocks;
mod launches;
mod text;
mod totals;

use crate::failure::Failure;
use blocks::Blocks;
use hmmrt::trace::{Trace, What};
use launches::Launches;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use totals::{Faults, TimeLine, Totals, Waits};

/// All of it.
#[derive(Serialize)]
struct Report {
    process: u32,
    program: String,
    /// The library's version that recorded it.
    library: String,
    backend: String,
    /// Nanoseconds since 1970.
    started: u64,
    /// Whether the process ended the trace in order.
    closed: bool,
    /// What of the run is not in the trace, in sentences.
    notes: Vec<String>,
    /// From the start of the trace to the last event.
    duration: u64,
    events: usize,
    threads: usize,
    devices: Vec<Device>,
    to_device: Totals,
    to_host: Totals,
    /// Bytes given up without a copy (discard, free ranges of a mapping).
    discarded: u64,
    /// Times that the CPU's writes made a device's copy worthless, without anything being copied.
    taken: u64,
    faults: Faults,
    waits: Waits,
    errors: Vec<Errors>,
    blocks: Blocks,
    launches: Launches,
    time_line: TimeLine,
}

#[derive(Serialize)]
struct Device {
    device: u16,
    memory: u64,
}

/// Calls that failed with one status of the C interface.
#[derive(Serialize)]
struct Errors {
    code: i32,
    count: u64,
}

/// The report on the trace in `file`, with up to `top` lines in each table.
pub fn report(file: &Path, top: usize, json: bool) -> Result<Vec<u8>, Failure> {
    let trace =
        Trace::read(file).map_err(|error| Failure::general(format!("{}: {error}", file.display())))?;
    let report = Report::new(&trace, top);
    if !json {
        return Ok(text::of(&report).into_bytes());
    }
    let mut bytes =
        serde_json::to_vec_pretty(&report).map_err(|error| Failure::general(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl Report {
    fn new(trace: &Trace, top: usize) -> Report {
        let duration = trace.events.last().map_or(0, |e| e.time);
        let mut devices: Vec<Device> = Vec::new();
        let mut errors: Vec<Errors> = Vec::new();
        let (mut discarded, mut taken) = (0_u64, 0_u64);
        for event in &trace.events {
            match event.what {
                What::Device { device, memory } if devices.iter().all(|d| d.device != device) => {
                    devices.push(Device { device, memory });
                }
                What::Error { code } => match errors.iter_mut().find(|e| e.code == code) {
                    Some(known) => known.count += 1,
                    None => errors.push(Errors { code, count: 1 }),
                },
                What::Discard { spared, .. } => discarded = discarded.saturating_add(spared),
                What::Taken { .. } => taken += 1,
                _ => {}
            }
        }
        Report {
            process: trace.process,
            program: trace.program.clone(),
            library: trace.library.clone(),
            backend: trace.backend.clone(),
            started: trace.started,
            closed: trace.closed,
            notes: notes(trace),
            duration,
            events: trace.events.len(),
            threads: trace.events.iter().map(|e| e.thread).collect::<BTreeSet<_>>().len(),
            devices,
            to_device: Totals::to_device(&trace.events),
            to_host: Totals::to_host(&trace.events),
            discarded,
            taken,
            faults: Faults::new(&trace.events),
            waits: Waits::new(&trace.events),
            errors,
            blocks: Blocks::new(&trace.events, top),
            launches: Launches::new(&trace.events),
            time_line: TimeLine::new(&trace.events, duration),
        }
    }
}

fn notes(trace: &Trace) -> Vec<String> {
    let mut notes = Vec::new();
    if !trace.closed {
        let why = "it runs still, was killed, crashed, or became another program";
        notes.push(format!("the process did not end the trace: {why}"));
    }
    if trace.missing > 0 {
        notes.push(format!("the file is cut off: {} events are missing", trace.missing));
    }
    if trace.unreadable > 0 {
        notes.push(format!("{} events were not written to their end, or make no sense", trace.unreadable));
    }
    if trace.dropped > 0 {
        let why = match trace.errno {
            0 => "the trace was full (HMMRT_TRACE_SIZE)".to_owned(),
            errno => format!("the disk had no room: {}", std::io::Error::from_raw_os_error(errno)),
        };
        notes.push(format!("{} events are not recorded, from some point on: {why}", trace.dropped));
    }
    notes
}

/// The one in the middle of what is sorted here; 0 of none.
fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
