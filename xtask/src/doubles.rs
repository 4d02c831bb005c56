//! The runtime's test suites and the tours on the doubles of the GPU drivers: what holds on the host backend must hold on
//! the GPU backends.
//!
//! Called by `check`, after its tests and tours on the host backend.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::Command;
use crate::course;
use crate::engines;
use crate::tour;
use crate::workspace::Workspace;

/// A backend, the variable that names its driver, and a setting: how the doubles lay addresses out, or the fault engine.
struct Variant {
    backend: &'static str,
    library: &'static str,
    setting: Option<(&'static str, &'static str)>,
    /// How long the random and racing tests are.
    scale: &'static str,
    suites: &'static [&'static str],
}

const CUDA: Variant =
    Variant { backend: "cuda", library: "HMMRT_CUDA_LIBRARY", setting: None, scale: "0.06", suites: &SUITES };
const HIP: Variant = Variant { backend: "hip", library: "HMMRT_HIP_LIBRARY", ..CUDA };
const SHORT_CUDA: Variant = Variant { scale: "0.03", ..CUDA };
const SHORT_HIP: Variant = Variant { scale: "0.03", ..HIP };

const VARIANTS: [Variant; 7] = [
    CUDA,
    HIP,
    Variant { setting: Some(("HMMRT_SAME_ADDRESS", "0")), suites: &["model"], ..SHORT_CUDA },
    Variant { setting: Some(("HMMRT_DOUBLE_VMM", "0")), suites: &["model"], ..SHORT_HIP },
    // Copies and kernels that take their time, so that more meets.
    Variant { setting: Some(("HMMRT_DOUBLE_LATENCY", "50000")), suites: &["races"], ..SHORT_CUDA },
    Variant { setting: Some((engines::VARIABLE, "uffd")), suites: &MOVING, ..SHORT_CUDA },
    Variant { setting: Some((engines::VARIABLE, "uffd-thread")), suites: &MOVING, ..SHORT_HIP },
];

/// In which pages come and go as in no other.
const MOVING: [&str; 3] = ["roundtrip", "model", "races"];

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
    let (_, missing) = engines::here(workspace)?;
    let is_missing = |(name, value): &(&str, &str)| *name == engines::VARIABLE && missing.contains(value);
    for variant in VARIANTS.iter().filter(|v| !v.setting.as_ref().is_some_and(is_missing)) {
        let double = build(workspace, variant.backend)?;
        let mut args = vec!["test", "--package", "hmmrt"];
        variant.suites.iter().for_each(|suite| args.extend(["--test", suite]));
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
            self.setting.map_or(String::new(), |(n, v)| format!("with {n}={v}"))
        );
        let command = command.env("HMMRT_BACKEND", self.backend).env(self.library, double);
        self.setting.iter().fold(command, |command, (name, value)| command.env(name, value))
    }
}

/// Builds a double, with the tests' profile.
pub fn build(workspace: &Workspace, backend: &str) -> Result<PathBuf> {
    let package = format!("hmmrt-double-{backend}");
    let args = ["build", "--quiet", "--lib", "--profile", "test", "--package", &package];
    workspace.cargo(args.into_iter().chain(workspace.locked())).run()?;
    Ok(workspace.target.join(format!("debug/libhmmrt_double_{backend}.so")))
}
