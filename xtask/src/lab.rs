//! `cargo xtask lab`: builds the policy lab with optimisation and runs it; the picture goes to the target folder unless
//! `--svg` says otherwise. With `--recorded` what is replayed are the programs of `hmmrt-policy-bench`, which are run and recorded
//! before: under `demand`, on the host backend.
//!
//! Called by `main`. What it prints is described in bench/policy/README.md.

use anyhow::Result;

use crate::command::Command;
use crate::workspace::Workspace;

/// Passes `args` on, shows the table and draws it.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    workspace.build_release(&["hmmrt-policy-lab"])?;
    let mut args = args.to_vec();
    if args.iter().any(|a| a == "--recorded") {
        args.retain(|a| a != "--recorded");
        args.extend(record(workspace)?);
    }
    if !args.iter().any(|a| a.starts_with("--svg")) {
        let svg = workspace.release().with_file_name("policy-lab.svg");
        args.extend(["--svg".to_owned(), svg.to_string_lossy().into_owned()]);
    }
    Command::new(workspace.release().join("hmmrt-policy-lab")).args(&args).dir(&workspace.root).run()
}

/// Records each program once, some seconds each: the files.
fn record(workspace: &Workspace) -> Result<Vec<String>> {
    workspace.build_release(&["hmmrt-bench"])?;
    let folder = workspace.release().with_file_name("recorded");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let to = folder.to_string_lossy().into_owned();
    let args = ["--way", "demand", "--runs", "1", "--trace", &to];
    Command::new(workspace.release().join("hmmrt-policy-bench")).args(args).dir(&workspace.root).run()?;
    let mut files = Vec::new();
    for file in std::fs::read_dir(&folder)? {
        files.push(file?.path().to_string_lossy().into_owned());
    }
    files.sort();
    Ok(files)
}
