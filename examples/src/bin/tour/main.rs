//! The tour: any file, read with ordinary `read` into managed memory, worked on by device and CPU, checked and shown.
//!
//! Run by `cargo xtask tour [FILE]`. Every result is compared with the same computation in plain code over ordinary
//! memory (`plain`); a difference gives exit status 1. The same tour in C: examples/c/tour/.

mod bytes;
mod input;
mod list;
mod map;
mod meter;
mod numbers;
mod plain;
mod report;
mod resident;
mod together;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use hmmrt::{Runtime, Stream};
use report::Report;

/// What every chapter works with.
struct Tour {
    stream: Stream,
    report: Report,
}

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let file = args.next().map_or_else(|| PathBuf::from("/proc/self/exe"), PathBuf::from);
    if args.next().is_some() {
        eprintln!("usage: tour [FILE]");
        return ExitCode::from(2);
    }
    match run(file) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::from(2)
        }
    }
}

/// The chapters in order. True when every check passed.
fn run(file: PathBuf) -> Outcome<bool> {
    let runtime = Runtime::new()?;
    let stream = runtime.device(0)?.stream()?;
    let mut tour = Tour { stream, report: Report::new() };
    tour.report.machine(&hmmrt::raw::device_info(0)?);
    let mut data = input::read(&mut tour, &file)?;
    if data.plain.is_empty() {
        println!("\nThe file is empty: nothing to move, nothing to check.");
        return Ok(true);
    }
    bytes::device_reads(&mut tour, &data)?;
    bytes::goes_away(&mut tour, &data)?;
    bytes::half_comes_home(&mut tour, &data)?;
    bytes::cpu_writes(&mut tour, &mut data)?;
    let mut results = numbers::stencil(&mut tour, &data)?;
    list::walk(&mut tour, &data)?;
    together::run(&mut tour, &mut results)?;
    Ok(tour.report.summary())
}
