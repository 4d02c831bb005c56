//! `hmmrt-policy-bench`: small programs that say nothing about what should move when, under each policy, beside the same
//! programs with prefetches put in by hand. What the policy lab (`policy/`) predicts by a model, here in real time. A policy
//! is chosen once in a process, so each run is a child of this program, turn by turn. Nothing is asserted about time.

mod programs;
mod table;

use clap::{Parser, ValueEnum};
use hmmrt_bench::machine::Machine;
use programs::Program;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Programs without hints under each policy, in real time.
#[derive(Parser)]
#[command(name = "hmmrt-policy-bench")]
struct Args {
    /// Small programs and one run: shows that the benchmark works, the figures mean little
    #[arg(long)]
    quick: bool,
    /// How often each program runs under each policy
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Only these programs (may be given more than once)
    #[arg(long, value_name = "PROGRAM")]
    only: Vec<Program>,
    /// Only these ways (may be given more than once)
    #[arg(long, value_name = "WAY")]
    way: Vec<Way>,
    /// Also writes the medians and spreads to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Records each run into this folder (`HMMRT_TRACE`), PROGRAM-WAY.trace, for the policy lab
    #[arg(long, value_name = "FOLDER")]
    trace: Option<PathBuf>,
    /// What this process runs, and prints as JSON (set by the parent)
    #[arg(long, hide = true)]
    child: Option<Program>,
}

/// Who decides what moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The programmer: prefetches where they help, pages a touch needs otherwise
    Hand,
    /// The policy `chunk`
    Chunk,
    /// The policy `auto`
    Auto,
    /// The policy `uvm`
    Uvm,
    /// The policy `demand`
    Demand,
}

/// What one run took.
#[derive(Serialize, Deserialize)]
pub struct Run {
    /// The whole program, its first rounds included, in nanoseconds.
    pub ns: f64,
    /// Bytes copied either way.
    pub bytes: u64,
    /// Touches that were answered.
    pub faults: u64,
    /// What it ran on.
    pub machine: String,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    if let Some(program) = args.child {
        println!("{}", serde_json::to_string(&child(program, args.way == [Way::Hand], args.quick)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let some = |given: &[Program]| if given.is_empty() { Program::value_variants() } else { given }.to_vec();
    let ways = if args.way.is_empty() { Way::value_variants().to_vec() } else { args.way };
    let mut table = table::Table::default();
    let runs = if args.quick { 1 } else { args.runs };
    if let Some(folder) = &args.trace {
        std::fs::create_dir_all(folder).map_err(|error| format!("--trace {}: {error}", folder.display()))?;
    }
    for program in some(&args.only) {
        eprintln!("{} ...", name(program));
        for _ in 0..runs {
            for way in &ways {
                table.add(program, *way, turn(program, *way, args.quick, args.trace.as_deref())?);
            }
        }
    }
    print!("{}", table.text(runs, args.quick));
    if let Some(path) = args.json {
        std::fs::write(&path, serde_json::to_string_pretty(&table.rows())? + "\n")
            .map_err(|error| format!("--json {}: {error}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A value's name, as the command line has it.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
}

/// One child's run.
fn turn(program: Program, way: Way, quick: bool, trace: Option<&Path>) -> Result<Run, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--child", &name(program), "--way", &name(way)]);
    let policy = if way == Way::Hand { "chunk".to_owned() } else { name(way) };
    command.env("HMMRT_BACKEND", "host").env("HMMRT_POLICY", policy);
    if let Some(bytes) = program.device_memory(quick) {
        command.env("HMMRT_HOST_MEMORY", bytes.to_string());
    }
    if let Some(folder) = trace {
        let file = folder.join(format!("{}-{}.trace", name(program), name(way)));
        command.env("HMMRT_TRACE", file).env("HMMRT_TRACE_SIZE", "1G");
    }
    if quick {
        command.arg("--quick");
    }
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}, {}: {}: {}", name(program), name(way), output.status, said.trim()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn child(program: Program, by_hand: bool, quick: bool) -> Result<Run, Box<dyn Error>> {
    let ns = programs::run(program, by_hand, quick)?;
    let stats = hmmrt::raw::stats();
    let mut machine = Machine::look(&hmmrt::raw::device_info(0)?);
    let ours = ["HMMRT_BACKEND=", "HMMRT_POLICY=", "HMMRT_HOST_MEMORY=", "HMMRT_TRACE"];
    machine.settings.retain(|s| !ours.iter().any(|name| s.starts_with(name)));
    Ok(Run {
        ns,
        bytes: stats.bytes_to_device + stats.bytes_to_host,
        faults: stats.faults,
        machine: machine.line(),
    })
}
