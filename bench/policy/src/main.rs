//! `hmmrt-policy-lab`: the table and the picture. `cargo xtask lab` builds and runs it.

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use hmmrt_policy_lab::checks::{self, Check};
use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::report::{Row, explain, summary, table};
use hmmrt_policy_lab::trace::Trace;
use hmmrt_policy_lab::variants::{self, Variants};
use hmmrt_policy_lab::{draw, record, traces};
use std::error::Error;
use std::path::PathBuf;

/// Replays traces under each policy and the oracle.
#[derive(Parser)]
#[command(name = "cargo xtask lab")]
struct Cli {
    /// Recordings (HMMRT_TRACE) to replay instead of the generated traces
    recordings: Vec<PathBuf>,
    /// Only generated traces whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The shapes that were kept aside instead of the usual ones
    #[arg(long)]
    held_out: bool,
    /// What sizes and speeds are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds from `seed` on: ours by shape instead of the table
    #[arg(long, value_name = "COUNT")]
    seeds: Option<u64>,
    /// The device's memory in chunks of 2 MiB, instead of the recording's
    #[arg(long, value_name = "CHUNKS", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    device: Option<usize>,
    /// The bus, in bytes per second each way
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<f64>,
    /// As if launches returned before their pages are there, and kernels waited for them
    #[arg(long)]
    no_wait: bool,
    /// What checksums after launches would do to ours, medians of 24 seeds: where launches change a share of what they name, on
    /// all other shapes, or on those if nobody says what launches do with what they name
    #[arg(long, value_name = "SHAPES", num_args = 0..=1, default_missing_value = "partly")]
    checksums: Option<Shapes>,
    /// Ours with UVM's density tree in the place of its own rules about chunks, by 24 seeds of all shapes
    #[arg(long)]
    tree: bool,
    /// What a device hashes, in bytes per second
    #[arg(long, value_name = "BYTES")]
    hash: Option<f64>,
    /// Say why each waits
    #[arg(long)]
    explain: bool,
    /// Where the picture goes, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What checksums are tried on.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shapes {
    Partly,
    All,
    Unnamed,
}

/// Traces of shapes that are wanted, 24 seeds of each if nothing else is said.
fn made(cli: &Cli, names: Vec<&'static str>) -> impl Iterator<Item = Trace> {
    let wanted = names.into_iter().filter(|name| cli.only.as_deref().is_none_or(|text| name.contains(text)));
    let seeds = cli.seed..cli.seed.saturating_add(cli.seeds.unwrap_or(24));
    wanted.flat_map(move |name| seeds.clone().filter_map(move |s| traces::generate(name, s)))
}

/// The table of `--checksums`.
fn checksums(cli: &Cli, shapes: Shapes, costs: &Costs) -> String {
    let names: Vec<_> = match shapes {
        Shapes::Partly => traces::partly_changed().collect(),
        _ => traces::names().chain(traces::held_out()).collect(),
    };
    let traces = made(cli, names).map(|t| if shapes == Shapes::Unnamed { traces::unnamed(t) } else { t });
    checks::table(&traces.filter_map(|t| Check::new(&t, costs)).collect::<Vec<_>>())
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    let mut costs = Costs::default();
    costs.bandwidth = cli.bandwidth.unwrap_or(costs.bandwidth);
    costs.launches_wait = !cli.no_wait;
    costs.hash = cli.hash.unwrap_or(costs.hash);
    if cli.tree {
        let made = made(&cli, traces::names().chain(traces::held_out()).collect());
        print!("{}", variants::table(&made.filter_map(|t| Variants::new(&t, &costs)).collect::<Vec<_>>()));
        return Ok(());
    }
    if let Some(shapes) = cli.checksums {
        print!("{}", checksums(&cli, shapes, &costs));
        return Ok(());
    }
    let names: Vec<_> = if cli.held_out { traces::held_out().collect() } else { traces::names().collect() };
    let wanted = names.into_iter().filter(|name| cli.only.as_deref().is_none_or(|text| name.contains(text)));
    if let Some(count) = cli.seeds {
        let seeds = cli.seed..cli.seed.saturating_add(count);
        let made = wanted.flat_map(|name| seeds.clone().map(move |s| (s, traces::generate(name, s))));
        let rows: Vec<_> = made.filter_map(|(s, t)| Some((s, Row::new(&t?, &costs)))).collect();
        print!("{}", summary(&rows));
        return Ok(());
    }
    let mut all = Vec::new();
    for path in &cli.recordings {
        let recording = hmmrt::trace::Trace::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut trace = record::from(&recording);
        if let Some(name) = path.file_stem() {
            trace.name = name.to_string_lossy().into_owned(); // programs may be called the same
        }
        if trace.device == 0 && cli.device.is_none() {
            let path = path.display();
            let why = "no device of at least one chunk of 2 MiB is recorded";
            return Err(format!("{path}: {why}: --device says how large it is").into());
        }
        all.push(trace);
    }
    if cli.recordings.is_empty() {
        all.extend(wanted.filter_map(|name| traces::generate(name, cli.seed)));
    }
    if let Some(device) = cli.device {
        all.iter_mut().for_each(|t| t.device = device);
    }
    let rows: Vec<Row> = all.iter().map(|t| Row::new(t, &costs)).collect();
    print!("{}", table(&rows));
    if cli.explain {
        rows.iter().for_each(|row| print!("\n{}", explain(row)));
    }
    if let Some(path) = cli.svg {
        draw::draw(&rows, &path)?;
        println!("drawn in {}", path.display());
    }
    Ok(())
}
