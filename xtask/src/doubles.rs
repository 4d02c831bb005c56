//! The runtime's test suites and the tours on the doubles of the GPU drivers: what holds on the host backend must hold on
//! the GPU backends.
//!
//! Called by `check`, after its tests and tours on the host backend.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::Command;
use crate::course;
use crate::tour;
use crate::workspace::Workspace;

/// A backend, the variable that names its driver, and how the doubles lay addresses out.
struct Variant {
    backend: &'static str,
    library: &'static str,
    layout: Option<(&'static str, &'static str)>,
    /// How long the random and racing tests are.
    scale: &'static str,
    /// Only this suite.
    only: Option<&'static str>,
}

const CUDA: Variant =
    Variant { backend: "cuda", library: "HMMRT_CUDA_LIBRARY", layout: None, scale: "0.06", only: None };
const HIP: Variant = Variant { backend: "hip", library: "HMMRT_HIP_LIBRARY", ..CUDA };

const VARIANTS: [Variant; 5] = [
    CUDA,
    HIP,
    Variant { layout: Some(("HMMRT_SAME_ADDRESS", "0")), only: Some("model"), scale: "0.03", ..CUDA },
    Variant { layout: Some(("HMMRT_DOUBLE_VMM", "0")), only: Some("model"), scale: "0.03", ..HIP },
    // Copies and kernels that take their time, so that more meets.
    Variant { layout: Some(("HMMRT_DOUBLE_LATENCY", "50000")), only: Some("races"), scale: "0.03", ..CUDA },
];

/// All that has to do with devices; `driver` runs on the doubles by itself.
const SUITES: [&str; 14] = [
    "roundtrip",
    "model",
    "races",
    "failures",
    "shutdown",
    "fork",
    "signals",
    "resources",
    "limits",
    "fresh",
    "surface",
    "surface_device",
    "surface_devices",
    "surface_free",
];

/// The suites. Returns how many tests passed.
pub fn suites(workspace: &Workspace) -> Result<u64> {
    let mut passed = 0;
    for variant in &VARIANTS {
        let double = build(workspace, variant.backend)?;
        let mut args = vec!["test", "--package", "hmmrt"];
        match variant.only {
            Some(suite) => args.extend(["--test", suite]),
            None => SUITES.iter().for_each(|suite| args.extend(["--test", suite])),
        }
        args.extend(workspace.locked());
        let command = course::without_settings(workspace.cargo(args)).env("HMMRT_TEST_SCALE", variant.scale);
        passed += variant.set(command, &double).run_counting_tests()?;
    }
    Ok(passed)
}

/// Both tours over the small inputs. Returns how many runs.
pub fn tours(workspace: &Workspace, prefix: &Path) -> Result<u64> {
    let mut runs = 0;
    for variant in [CUDA, HIP] {
        let double = build(workspace, variant.backend)?;
        runs += tour::run_small(workspace, prefix, &|command| variant.set(command, &double))?;
    }
    Ok(runs)
}

impl Variant {
    fn set(&self, command: Command, double: &Path) -> Command {
        println!(
            "  on the {} double {}",
            self.backend,
            self.layout.map_or(String::new(), |(n, v)| format!("with {n}={v}"))
        );
        let command = command.env("HMMRT_BACKEND", self.backend).env(self.library, double);
        self.layout.iter().fold(command, |command, (name, value)| command.env(name, value))
    }
}

/// Builds a double, with the tests' profile.
pub fn build(workspace: &Workspace, backend: &str) -> Result<PathBuf> {
    let package = format!("hmmrt-double-{backend}");
    let args = ["build", "--quiet", "--lib", "--profile", "test", "--package", &package];
    workspace.cargo(args.into_iter().chain(workspace.locked())).run()?;
    Ok(workspace.target.join(format!("debug/libhmmrt_double_{backend}.so")))
}
