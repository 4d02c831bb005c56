//! `cargo xtask lab`: builds the policy lab with optimisation and runs it; the picture goes to the target folder unless
//! `--svg` says otherwise.
//!
//! Called by `main`. What it prints is described in bench/policy/README.md.

use anyhow::Result;

use crate::command::Command;
use crate::workspace::Workspace;

/// Passes `args` on, shows the table and draws it.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    workspace.build_release(&["hmmrt-policy-lab"])?;
    let mut args = args.to_vec();
    if !args.iter().any(|a| a.starts_with("--svg")) {
        let svg = workspace.release().with_file_name("policy-lab.svg");
        args.extend(["--svg".to_owned(), svg.to_string_lossy().into_owned()]);
    }
    Command::new(workspace.release().join("hmmrt-policy-lab")).args(&args).dir(&workspace.root).run()
}
