//! `cargo xtask proof`: large programs that know nothing of the library, run with it before them.
//!
//! Each workload (`proof/workloads/`, see `proof/driver.sh`) runs plain, and then under the preload library at each minimum
//! size while a background thread keeps moving random managed blocks to the host backend's device and home. Exit status,
//! standard output and the files it leaves must be the same. `--overhead` measures what the library costs where nobody uses a
//! device. Called by `main`.

mod compare;
mod overhead;
mod processes;
mod run;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::command;
use crate::workspace::Workspace;
use run::{Ran, Runner, Setting};
use workload::Workload;

/// What `cargo xtask proof` was asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Only list the workloads and what each needs
    #[arg(long)]
    list: bool,
    /// Run only the workloads whose name contains this (may be given more than once)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Only this minimum size (default: 0, 64K and 1M; without the last if quick)
    #[arg(long, value_name = "SIZE")]
    min_size: Option<String>,
    /// Fewer workloads, and smaller ones
    #[arg(long)]
    quick: bool,
    /// Preload this library instead of building it
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Measure what the library costs while no device is used, instead
    #[arg(long)]
    overhead: bool,
    /// With --overhead: how often each is run, plain and with the library
    #[arg(long, default_value_t = 7)]
    runs: usize,
}

/// How a workload at one minimum size came out.
enum Verdict {
    Same { moves: Option<u64>, notes: Vec<String> },
    Differs(String),
    Skipped(String),
}

/// What CI runs: how many rows were the same.
pub fn quick(workspace: &Workspace) -> Result<u64> {
    let options = Options {
        list: false,
        only: Vec::new(),
        min_size: None,
        quick: true,
        library: None,
        overhead: false,
        runs: 0,
    };
    examine_all(workspace, &options)
}

/// The subcommand.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    examine_all(workspace, options).map(|_| ())
}

fn examine_all(workspace: &Workspace, options: &Options) -> Result<u64> {
    let mut workloads = Workload::all(&workspace.root.join("proof/workloads"))?;
    let only = &options.only;
    workloads.retain(|w| only.is_empty() || only.iter().any(|text| w.name.contains(text.as_str())));
    if options.list {
        for w in &workloads {
            println!("{:18} {}\n{:18}   from: {}", w.name, w.what, "", w.packages);
        }
        return Ok(0);
    }
    let library = options.library.as_ref().map(fs::canonicalize).transpose()?;
    if library.is_none() {
        workspace.build_release(&["hmmrt-preload"])?;
    }
    if options.overhead {
        workloads.retain(|w| w.overhead);
        overhead::run(workspace, library.as_deref(), &workloads, options.runs)?;
        return Ok(0);
    }
    workloads.retain(|w| w.quick || !options.quick || !only.is_empty());
    let runner = Runner::new(workspace, library.as_deref(), if options.quick { "quick" } else { "full" });
    // What the largest has least of all is left to the whole proof.
    let usual = if options.quick { &["0", "64K"][..] } else { &["0", "64K", "1M"] };
    let sizes = options.min_size.as_deref().map_or(usual.to_vec(), |one| vec![one]);
    let start = Instant::now();
    let (mut same, mut differ, mut skipped) = (0_u64, Vec::new(), Vec::new());
    println!("{:18} {:>5}  {:>8} {:>8}  outcome", "workload", "min", "plain", "with it");
    for workload in &workloads {
        for (size, plain, with, verdict) in examine(&runner, workload, &sizes)? {
            let outcome = match verdict {
                Verdict::Same { moves, notes } => {
                    same += 1;
                    let moved = match moves {
                        None => "no statistics".to_owned(),
                        Some(0) => "nothing moved".to_owned(),
                        Some(moves) => format!("{moves} moves"),
                    };
                    std::iter::once(format!("ok, {moved}")).chain(notes).collect::<Vec<_>>().join("; ")
                }
                Verdict::Differs(how) => {
                    differ.push(format!("{} at {size}", workload.name));
                    format!("DIFFERS: {how}")
                }
                Verdict::Skipped(why) => {
                    skipped.push(format!("{} ({why})", workload.name));
                    format!("skipped: {why}")
                }
            };
            println!("{:18} {size:>5}  {plain:>6.1} s {with:>6.1} s  {outcome}", workload.name);
        }
    }
    println!("\n{same} the same, {} not, in {:.0} s", differ.len(), start.elapsed().as_secs_f64());
    if !skipped.is_empty() {
        println!("skipped: {}", skipped.join(", "));
        if workspace.ci {
            bail!("CI needs all of them");
        }
    }
    if !differ.is_empty() {
        bail!("not the same: {}; what they left is in {}", differ.join(", "), workspace.shown(&runner.dir));
    }
    Ok(same)
}

/// Runs a workload plain and at each size. One line for each size, or one for all when it can't run.
fn examine(runner: &Runner, w: &Workload, sizes: &[&str]) -> Result<Vec<(String, f64, f64, Verdict)>> {
    let all = |why: String| Ok(vec![("-".to_owned(), 0.0, 0.0, Verdict::Skipped(why))]);
    if let Some(program) = w.needs.iter().find(|p| !command::installed(p)) {
        return all(format!("no {program}; it comes from: {}", w.packages));
    }
    if let Some(why) = runner.prepare(w)? {
        return all(why);
    }
    let plain = runner.run(w, &Setting::Plain)?;
    let mut lines = Vec::new();
    for &size in sizes {
        let with = runner.run(w, &Setting::Chaos { min_size: size })?;
        lines.push((size.to_owned(), plain.seconds, with.seconds, judge(&plain, &with)));
    }
    if lines.iter().all(|(.., verdict)| matches!(verdict, Verdict::Same { .. })) {
        fs::remove_dir_all(runner.dir.join(&w.name)).ok();
    }
    Ok(lines)
}

fn judge(plain: &Ran, with: &Ran) -> Verdict {
    match compare::difference(plain, with) {
        Some(how) => Verdict::Differs(how),
        None => {
            let mut notes = with.complaints();
            if plain.code != Some(0) {
                notes.push(format!("{} both ways", plain.ended));
            }
            if with.left != plain.left {
                notes.push(format!("{} processes were left, and {} by the plain run", with.left, plain.left));
            }
            Verdict::Same { moves: with.moves(), notes }
        }
    }
}
