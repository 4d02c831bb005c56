//! `cargo xtask bench`: builds the benchmark with optimisation and runs it.
//!
//! Called by `main`, and by `check` with `--quick`. What it prints is described in bench/README.md.

use anyhow::Result;

use crate::command::Command;
use crate::workspace::Workspace;

/// Passes `args` on and shows the table.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    workspace.build_release(&["hmmrt-bench"])?;
    Command::new(workspace.release().join("bench")).args(args).dir(&workspace.root).run()
}
