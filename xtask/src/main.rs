//! `cargo xtask`: the commands of README.md.
//!
//! `check` is all that CI does, `tour` the guided tour, `bench` the benchmark table, `lab` what the policies do,
//! `gpu-suite` what is run on a machine with a GPU, `conformance` the kernel's own HMM cases, `proof` runs large programs
//! with the preload library, `install` puts the C library into a prefix. Each subcommand is one module; they share `workspace` (where
//! things are) and `command` (how a program is started, watched and stopped).

mod bench;
mod cc;
mod check;
mod command;
mod conformance;
mod course;
mod doubles;
mod engines;
mod features;
mod gpu_suite;
mod input;
mod install;
mod lab;
mod lanes;
mod proof;
mod readme;
mod sanitize;
mod skips;
mod stress;
mod tour;
mod valgrind;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, checks, shows and installs libhmmrt")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything CI runs, two steps at a time; stops at the first failure
    Check(check::Options),
    /// Build and run the tour, in Rust and then in C, over a file
    Tour {
        /// Any file; without one: this repository's history, or the Rust compiler's own library
        file: Option<PathBuf>,
    },
    /// Build and run the benchmark (arguments go to it: --quick, ...)
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Replay traces under each policy and an oracle, and draw it (arguments go to it: --seed, --only, a recording, ...)
    Lab {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build what is run on a machine with a GPU and without Rust: one folder, see gpu/README.md
    GpuSuite {
        /// The folder (default: gpu-suite in the target folder)
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Run large programs with the preload library while their memory moves, and compare (see docs/PROGRAMS.md)
    Proof(proof::Options),
    /// Run the kernel's own HMM cases on all backends and fault engines, and compare with docs/CONFORMANCE.md
    Conformance {
        /// Write docs/CONFORMANCE.md instead
        #[arg(long)]
        write: bool,
    },
    /// Install libhmmrt.so, libhmmrt.a, the headers and hmmrt.pc
    Install {
        /// Folder to install into, such as /usr/local
        #[arg(long)]
        prefix: PathBuf,
        /// Folder to put before the prefix while copying (for packagers); hmmrt.pc keeps the prefix
        #[arg(long)]
        destdir: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = Workspace::find().and_then(|workspace| match cli.task {
        Task::Check(options) => check::run(&workspace, &options),
        Task::Tour { file } => tour::run(&workspace, file.as_deref()),
        Task::Bench { args } => bench::run(&workspace, &args),
        Task::Lab { args } => lab::run(&workspace, &args),
        Task::GpuSuite { out } => gpu_suite::run(&workspace, out.as_deref()),
        Task::Proof(options) => proof::run(&workspace, &options),
        Task::Conformance { write } => conformance::run(&workspace, write).map(|_| ()),
        Task::Install { prefix, destdir } => install::run(&workspace, &prefix, destdir.as_deref()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
