//! `cargo xtask tour`: the Rust tour, then the C tour, over the same file.
//!
//! Called by `main`, and by `check` with small inputs. The C tour is built against a freshly installed prefix, as a
//! user's program would be.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cc::{self, Language};
use crate::command::Command;
use crate::course::without_settings;
use crate::input;
use crate::install;
use crate::workspace::Workspace;

/// For small inputs only: a tour over a user's file may take as long as it takes.
const LIMIT: Duration = Duration::from_secs(360);

/// The subcommand.
pub fn run(workspace: &Workspace, file: Option<&Path>) -> Result<()> {
    workspace.build_release(&["hmmrt-examples"])?;
    let prefix = install::scratch_prefix(workspace)?;
    let [rust, c] = programs(workspace, &prefix)?;
    let file = match file {
        Some(file) => file.to_path_buf(),
        None => {
            let (file, what) = input::default(workspace, &rust)?;
            println!("no file given, taking {what}: {}\n", workspace.shown(&file));
            file
        }
    };
    for (language, program) in [("Rust", &rust), ("C", &c)] {
        println!("==== the tour in {language}");
        Command::new(program)
            .args([&file])
            .run()
            .with_context(|| format!("the tour in {language} failed"))?;
        println!();
    }
    Ok(())
}

/// Both tours over each small input, with the settings that `set` adds. Returns how many runs.
pub fn run_small(workspace: &Workspace, prefix: &Path, set: &dyn Fn(Command) -> Command) -> Result<u64> {
    workspace.build_release(&["hmmrt-examples"])?;
    let mut runs = 0;
    for program in programs(workspace, prefix)? {
        for file in input::small(workspace)? {
            println!("  {} {}", workspace.shown(&program), workspace.shown(&file));
            set(without_settings(Command::new(&program))).args([&file]).limit(LIMIT).run()?;
            runs += 1;
        }
    }
    Ok(runs)
}

/// The Rust program, and the C program built from all files in examples/c/tour.
fn programs(workspace: &Workspace, prefix: &Path) -> Result<[PathBuf; 2]> {
    let dir = workspace.root.join("examples/c/tour");
    let mut sources = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        sources.push(entry?.path());
    }
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    let c = workspace.scratch().join("c/tour");
    fs::create_dir_all(workspace.scratch().join("c"))?;
    cc::build(Language::C, &sources, prefix, &c)?;
    Ok([workspace.release().join("tour"), c])
}
