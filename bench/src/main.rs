//! `bench`: the floors (C, see c/floors.c) and libhmmrt measured in one process, turn by turn, printed as one table.
//! Run by hand: `cargo run --release -p hmmrt-bench`. README.md beside this crate says what each row means.
//! Everything here runs on the main thread; nothing is asserted about time.

mod report;
mod rows;

use clap::{Parser, ValueEnum};
use hmmrt::{Config, PolicyChoice};
use hmmrt_bench::{floors, machine, managed, sample};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// The rows that `--only` can name, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// bare floors that no other row measures: mremap of a huge block, a fresh 2 MiB block
    Floors,
    /// CPU reads 1 GiB that is on the device
    CpuRead,
    /// one 2 MiB chunk comes home
    ChunkHome,
    /// write to a page that is valid on both sides
    BothWrite,
    /// one 4 KiB page comes home, its neighbours stay
    PageFault,
    /// 1 GiB goes to the device
    Prefetch,
    /// acquire + release of resident ranges
    Acquire,
    /// fork, with memory on the host, on the device, and on both
    Fork,
    /// malloc + free
    Malloc,
    /// size of the residency table
    Table,
    /// memory of 512 KiB to 256 MiB moves and comes back, in huge pages and in small ones
    ThpMigration,
}

/// Floors written in C and libhmmrt's own figures, measured in one run.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// Small sizes and few runs: shows that the benchmark works, the figures mean little
    #[arg(long)]
    quick: bool,
    /// Runs of each row (default 11, with --quick 3); one more is made first and thrown away
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: Option<u32>,
    /// Only this row; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<Group>,
    /// Also writes everything to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What a row needs to know, and where it puts its results.
struct Bench {
    quick: bool,
    runs: usize,
    device: i32,
    random: sample::Random,
    report: report::Report,
}

impl Bench {
    /// The "1 GiB" of the rows, in bytes (64 MiB with `--quick`).
    fn big(&self) -> usize {
        if self.quick { 64 << 20 } else { 1 << 30 }
    }
}

/// Starts the runtime anew, with a policy or with that of the environment.
fn follow(policy: Option<PolicyChoice>) -> Result<(), hmmrt::Error> {
    hmmrt::raw::shutdown()?;
    let from_env = Config::from_env()?;
    let policy = policy.unwrap_or(from_env.policy);
    hmmrt::raw::init(Some(Config { policy, ..from_env }))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    hmmrt::raw::init(None)?;
    let device = 0;
    let machine = machine::Machine::look(&hmmrt::raw::device_info(device)?);
    let runs = args.runs.map_or(if args.quick { 3 } else { 11 }, |n| n as usize);
    let report = report::Report::new(machine, args.quick, runs);
    let mut bench = Bench { quick: args.quick, runs, device, random: sample::Random::new(), report };
    print!("{}", bench.report.heading());
    for &group in Group::value_variants() {
        if !args.only.is_empty() && !args.only.contains(&group) {
            continue;
        }
        let name = group.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        eprintln!("measuring {name} ...");
        // These are about the moving of one chunk, not about how much comes with a touch.
        follow(matches!(group, Group::ChunkHome | Group::BothWrite).then_some(PolicyChoice::Chunk))?;
        let run = match group {
            Group::Floors => rows::floors::run,
            Group::CpuRead => rows::cpu_read::run,
            Group::ChunkHome => rows::chunk_home::run,
            Group::BothWrite => rows::both_write::run,
            Group::PageFault => rows::page_fault::run,
            Group::Prefetch => rows::prefetch::run,
            Group::Acquire => rows::acquire::run,
            Group::Fork => rows::fork::run,
            Group::Malloc => rows::malloc::run,
            Group::Table => rows::table::run,
            Group::ThpMigration => rows::thp_migration::run,
        };
        if let Err(error) = run(&mut bench) {
            bench.report.failure(format!("{name}: {error}"));
        }
    }
    print!("{}", bench.report.tables());
    if let Some(path) = args.json {
        std::fs::write(&path, serde_json::to_string_pretty(&bench.report)? + "\n")
            .map_err(|error| format!("--json {}: {error}", path.display()))?;
    }
    hmmrt::raw::shutdown()?;
    Ok(if bench.report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
