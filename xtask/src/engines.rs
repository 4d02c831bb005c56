//! The runtime's test suites with the fault engines that are not the default one, and under the policy that is not: what holds by
//! page protection must hold by userfaultfd, and whatever moves in the background. Called by `check`.

use anyhow::{Context, Result};

use crate::course;
use crate::workspace::Workspace;

/// The engines, as HMMRT_FAULT has them.
const ENGINES: [&str; 2] = ["uffd", "uffd-thread"];

/// All in which pages come and go.
const SUITES: [&str; 20] = [
    "roundtrip",
    "model",
    "races",
    "reuse",
    "holds",
    "pins",
    "mapping",
    "neighbours",
    "evict",
    "advice",
    "failures",
    "shutdown",
    "fork",
    "signals",
    "resources",
    "limits",
    "fresh",
    "trace",
    "surface",
    "surface_device",
];

/// Runs them with every engine that this machine has. How many tests passed; and the engines that it lacks.
pub fn suites(workspace: &Workspace) -> Result<(u64, Vec<&'static str>)> {
    let info = workspace.cargo(["run", "--quiet", "--package", "hmmrt-cli", "--", "info"]).capture()?;
    let lacks = |engine: &str| {
        let line = info.stdout.lines().find(|line| {
            line.split_whitespace().find(|word| *word != "*").is_some_and(|name| name == engine)
        });
        line.map(|line| line.contains("this machine lacks")).context("`hmmrt info` does not name the engines")
    };
    let (mut passed, mut missing) = (0, Vec::new());
    for engine in ENGINES {
        if lacks(engine)? {
            println!("  {engine}: this machine lacks it");
            missing.push(engine);
            continue;
        }
        passed += with(workspace, "HMMRT_FAULT", engine)?;
    }
    Ok((passed, missing))
}

/// Runs them under the policy that moves most by itself. How many tests passed.
pub fn suites_under_auto(workspace: &Workspace) -> Result<u64> {
    with(workspace, "HMMRT_POLICY", "auto")
}

fn with(workspace: &Workspace, name: &str, value: &str) -> Result<u64> {
    println!("  {name}={value}:");
    let mut args = vec!["test", "--package", "hmmrt"];
    SUITES.iter().for_each(|suite| args.extend(["--test", suite]));
    args.extend(workspace.locked());
    let command = course::without_settings(workspace.cargo(args)).env("HMMRT_TEST_SCALE", "0.06");
    command.env(name, value).run_counting_tests()
}
