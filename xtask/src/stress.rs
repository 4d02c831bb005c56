//! The stress program for some seconds on each fault engine and backend: `stress/README.md`. An engine that this machine
//! has not is asked of the runtime, and said.
//!
//! Called by `check`.

use std::time::Duration;

use anyhow::Result;

use crate::command::Command;
use crate::course;
use crate::doubles;
use crate::workspace::Workspace;

/// Settings of a run.
type Settings = &'static [(&'static str, &'static str)];
/// More arguments.
type More = &'static [&'static str];

/// Many threads on many devices.
const MANY: More = &["--threads", "12", "--devices", "4"];

const ON_THE_HOST: [(Settings, More); 8] = [
    (&[("HMMRT_FAULT", "segv")], &[]),
    (&[("HMMRT_FAULT", "segv"), ("HMMRT_HOST_DIRECT", "0"), ("HMMRT_POLICY", "auto")], &[]),
    (&[("HMMRT_FAULT", "segv")], MANY),
    (&[("HMMRT_FAULT", "uffd")], &[]),
    (&[("HMMRT_FAULT", "uffd"), ("HMMRT_HOST_DIRECT", "0")], &[]),
    (&[("HMMRT_FAULT", "uffd"), ("HMMRT_UFFD_MOVE", "0")], &[]),
    (&[("HMMRT_FAULT", "uffd-thread")], &[]),
    (&[("HMMRT_FAULT", "uffd-thread"), ("HMMRT_UFFD_MOVE", "0")], &[]),
];

/// The doubles' backend and fault engine.
const ON_THE_DOUBLES: [(&str, &str); 4] =
    [("cuda", "segv"), ("hip", "segv"), ("cuda", "uffd"), ("hip", "uffd-thread")];

/// Minutes of each run.
const MINUTES: &str = "0.15";
/// Few operations between two looks at everything, so that the runtime is also stopped and started.
const ROUND: &str = "300";
/// Seconds without an operation after which it ends by itself.
const PATIENCE: &str = "600";
/// What ends a run that its own watch did not end.
const LIMIT: Duration = Duration::from_secs(1800);

/// Runs it. Returns how many runs there were.
pub fn run(workspace: &Workspace) -> Result<u64> {
    workspace.build_release(&["hmmrt-stress"])?;
    for (settings, more) in ON_THE_HOST {
        println!("  {settings:?} {more:?}");
        let command = settings.iter().fold(program(workspace), |c, (name, value)| c.env(name, *value));
        command.args(more).env("HMMRT_BACKEND", "host").run()?;
    }
    for (backend, engine) in ON_THE_DOUBLES {
        println!("  on the {backend} double, {engine}");
        let library = format!("HMMRT_{}_LIBRARY", backend.to_uppercase());
        let double = doubles::build(workspace, backend)?;
        let command = program(workspace).env("HMMRT_BACKEND", backend).env(&library, double);
        command.env("HMMRT_FAULT", engine).env("HMMRT_DOUBLE_MEMORY", "48M").run()?;
    }
    Ok((ON_THE_HOST.len() + ON_THE_DOUBLES.len()) as u64)
}

fn program(workspace: &Workspace) -> Command {
    let program = Command::new(workspace.release().join("hmmrt-stress"));
    let arguments = ["--minutes", MINUTES, "--round", ROUND, "--patience", PATIENCE];
    course::without_settings(program.args(arguments).limit(LIMIT))
}
