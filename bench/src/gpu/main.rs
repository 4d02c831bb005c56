//! `hmmrt-gpu-bench`: libhmmrt on a GPU, held against what its driver offers by itself (pinned copies, managed memory, bare
//! launches), measured in one run. Run by gpu/run.sh, or by hand; README.md beside this crate says what each row means.
//!
//! Each group of rows has a process of its own ([`parts`]): an error that ends a GPU's context ends that group only, and
//! some groups need settings of their own. Nothing is asserted about time.

mod compile;
mod driver;
mod kernels;
mod memory;
mod parts;
mod report;
mod results;
mod rows;
mod run;
mod sizes;

use clap::{Parser, ValueEnum};
use rows::Group;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// What nearly everything here answers.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// "Can't be run here", as test harnesses have it.
const NOT_HERE: u8 = 77;

/// libhmmrt on a GPU against pinned copies, managed memory and bare launches of the same driver.
///
/// HMMRT_BACKEND (cuda or hip) says which driver, HMMRT_CUDA_LIBRARY or HMMRT_HIP_LIBRARY which library if not the
/// system's. Exit status 1: a row could not be measured; 77: there is no GPU.
#[derive(Parser)]
#[command(name = "hmmrt-gpu-bench")]
struct Args {
    /// Small sizes and few runs: shows that the benchmark works, the figures mean little
    #[arg(long)]
    quick: bool,
    /// Runs of each row (default 7, with --quick 2); one more is made first and thrown away
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: Option<u32>,
    /// Only this group of rows; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<Group>,
    /// Stop after about this long, with what there is by then
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    limit: u64,
    /// Also write everything to this file as JSON, after each group; what else is in it stays
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only print the card's name, as it stands in the names of results files
    #[arg(long, exclusive = true)]
    card: bool,
    /// Only print the table of a results file
    #[arg(long, value_name = "FILE", exclusive = true)]
    show: Option<PathBuf>,
    /// Only look whether a results file is complete and without failures
    #[arg(long, value_name = "FILE", exclusive = true)]
    check: Option<PathBuf>,
    /// For itself: measure one group and write what it found to this file
    #[arg(long, value_name = "FILE", hide = true)]
    part: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match go(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hmmrt-gpu-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn go(args: &Args) -> Outcome<ExitCode> {
    let runs = args.runs.map_or(if args.quick { 2 } else { 7 }, |n| n as usize);
    if let Some(file) = &args.show {
        print!("{}", results::bench(file)?.show());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.check {
        let complaints = results::complaints(file)?;
        complaints.iter().for_each(|text| println!("{}: {text}", file.display()));
        return Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if args.card {
        return Ok(match run::card() {
            Ok(card) => {
                println!("{}", card.slug());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("hmmrt-gpu-bench: {error}");
                ExitCode::from(NOT_HERE)
            }
        });
    }
    if let (Some(file), [group]) = (&args.part, &args.only[..]) {
        run::group(*group, args.quick, runs, args.limit, file)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Err(error) = parts::try_card() {
        eprintln!("hmmrt-gpu-bench: {error}");
        return Ok(ExitCode::from(NOT_HERE));
    }
    let all = Group::value_variants();
    let groups: Vec<Group> =
        all.iter().copied().filter(|group| args.only.is_empty() || args.only.contains(group)).collect();
    let bench = parts::run(&groups, args.quick, runs, args.limit, args.json.as_deref())?;
    print!("{}", bench.show());
    Ok(if bench.complete && bench.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
