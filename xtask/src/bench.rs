//! `cargo xtask bench`: builds the benchmark with optimisation and runs it.
//!
//! Called by `main`, and by `check`, which runs its two companions as well, all with `--quick`. What they print is described in
//! bench/README.md.

use anyhow::Result;

use crate::command::Command;
use crate::workspace::Workspace;

/// Passes `args` on and shows the table.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    workspace.build_release(&["hmmrt-bench"])?;
    Command::new(workspace.release().join("bench")).args(args).dir(&workspace.root).run()
}

/// That all three work. How many there are.
pub fn quick(workspace: &Workspace) -> Result<u64> {
    let all = ["bench", "hmmrt-engine-bench", "hmmrt-policy-bench"];
    workspace.build_release(&["hmmrt-bench"])?;
    for program in all {
        Command::new(workspace.release().join(program)).args(["--quick"]).dir(&workspace.root).run()?;
    }
    Ok(all.len() as u64)
}
