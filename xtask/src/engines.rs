//! The runtime's test suites with the fault engines that are not the default one, and under the policy that is not: what holds by
//! page protection must hold by userfaultfd, and whatever moves in the background. Called by `check`.

use anyhow::{Context, Result};

use crate::course;
use crate::workspace::Workspace;

/// The engines, as this variable has them.
pub const VARIABLE: &str = "HMMRT_FAULT";
const ENGINES: [&str; 2] = ["uffd", "uffd-thread"];

/// What runs once more on them with copies into pages in place of moved ones, which is what kernels before 6.8 have.
const BY_COPY: [&str; 6] = ["roundtrip", "model", "races", "resources", "fresh", "fork"];

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

/// And what only an engine of its own makes different.
const MORE: [&str; 9] = [
    "surface_devices",
    "surface_alloc",
    "surface_free",
    "surface_global",
    "streams",
    "ahead",
    "ahead_races",
    "trace_file",
    "driver",
];

/// The engines that this machine has, and those that it lacks.
pub fn here(workspace: &Workspace) -> Result<(Vec<&'static str>, Vec<&'static str>)> {
    let info = workspace.cargo(["run", "--quiet", "--package", "hmmrt-cli", "--", "info"]).capture()?;
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for engine in ENGINES {
        let line = info.stdout.lines().find(|line| {
            line.split_whitespace().find(|word| *word != "*").is_some_and(|name| name == engine)
        });
        let line = line.context("`hmmrt info` does not name the engines")?;
        if line.contains("this machine lacks") {
            println!("  {engine}: this machine lacks it");
            missing.push(engine);
        } else {
            here.push(engine);
        }
    }
    Ok((here, missing))
}

/// Runs them with every engine that this machine has. How many tests passed; and the engines that it lacks.
pub fn suites(workspace: &Workspace) -> Result<(u64, Vec<&'static str>)> {
    let (here, missing) = here(workspace)?;
    let mut passed = 0;
    for engine in &here {
        passed += with(workspace, &[&SUITES[..], &MORE].concat(), &[(VARIABLE, engine)])?;
        passed += with(workspace, &BY_COPY, &[(VARIABLE, engine), ("HMMRT_UFFD_MOVE", "0")])?;
    }
    Ok((passed, missing))
}

/// Runs them under the policy that moves most by itself. How many tests passed.
pub fn suites_under_auto(workspace: &Workspace) -> Result<u64> {
    with(workspace, &SUITES, &[("HMMRT_POLICY", "auto")])
}

fn with(workspace: &Workspace, suites: &[&'static str], settings: &[(&str, &str)]) -> Result<u64> {
    println!("  {settings:?}:");
    let mut args = vec!["test", "--package", "hmmrt"];
    suites.iter().for_each(|suite| args.extend(["--test", suite]));
    args.extend(workspace.locked());
    let command = course::without_settings(workspace.cargo(args)).env("HMMRT_TEST_SCALE", "0.06");
    settings.iter().fold(command, |command, (name, value)| command.env(name, *value)).run_counting_tests()
}
