//! `hmmrt-engine-bench`: the three fault engines side by side, each beside a bare loop in C of its mechanism (c/engines.c).
//! An engine is chosen once in a process, so each is measured by children of this program, turn by turn; what they print is
//! merged into one table. README.md beside this crate says what each row means. Nothing is asserted about time.

mod bare;
mod case;
mod ours;
mod table;

use case::Way;
use clap::{Parser, ValueEnum};
use hmmrt_bench::machine;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The fault engines side by side, and bare loops of what they are made of.
#[derive(Parser)]
#[command(name = "hmmrt-engine-bench")]
struct Args {
    /// Few touches and one round: shows that the benchmark works, the figures mean little
    #[arg(long)]
    quick: bool,
    /// Rounds: in each, every engine and every bare loop has its turn
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Also writes the samples' medians and spreads to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What this process measures, and prints as JSON (set by the parent)
    #[arg(long, hide = true)]
    child: Option<Who>,
    /// The child's way
    #[arg(long, hide = true, default_value = "segv")]
    way: Way,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Who {
    /// The bare loop.
    Bare,
    /// libhmmrt.
    Ours,
}

/// What a child found: for each case its samples, or why there are none.
#[derive(Serialize, Deserialize)]
struct Found {
    cases: Vec<(case::Case, Vec<f64>)>,
    missing: Option<String>,
    machine: Option<String>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    if let Some(who) = args.child {
        let found = match who {
            Who::Bare => bare::measure(args.way, args.quick),
            Who::Ours => ours::measure(args.way, args.quick),
        }?;
        println!("{}", serde_json::to_string(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table::Table::default();
    let rounds = if args.quick { 1 } else { args.rounds };
    for round in 0..rounds {
        eprintln!("round {} of {rounds} ...", round + 1);
        for way in Way::value_variants() {
            for who in [Who::Bare, Who::Ours] {
                table.add(who, *way, turn(who, *way, args.quick)?);
            }
        }
    }
    print!("{}", table.text(rounds, args.quick));
    if let Some(path) = args.json {
        std::fs::write(&path, serde_json::to_string_pretty(&table.rows())? + "\n")
            .map_err(|error| format!("--json {}: {error}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One child's turn.
fn turn(who: Who, way: Way, quick: bool) -> Result<Found, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let name = |v: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        v().map_or_else(String::new, |v| v.get_name().to_owned())
    };
    let way_name = name(&|| way.to_possible_value());
    command.args(["--child", &name(&|| who.to_possible_value()), "--way", &way_name]);
    command.env("HMMRT_FAULT", &way_name).env("HMMRT_BACKEND", "host");
    if quick {
        command.arg("--quick");
    }
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{way_name}: {}: {}", output.status, said.trim()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The machine's lines, from a child in which the runtime is up.
fn machine_line() -> Result<String, Box<dyn Error>> {
    let mut machine = machine::Machine::look(&hmmrt::raw::device_info(0)?);
    machine.settings.retain(|s| !s.starts_with("HMMRT_FAULT=") && !s.starts_with("HMMRT_BACKEND="));
    Ok(machine.line())
}
