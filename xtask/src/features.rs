//! hmmrt's optional features `cust`, `cudarc` and `hip-sys`, without a GPU toolkit and without a GPU, and its `inject`; and the
//! preload library's `small-objects`.
//!
//! Called by `check`. cust and hip-sys link their driver's library by name: here that is the stand-in of doubles/link,
//! which finds the driver at run time. What is run finds the driver doubles under the drivers' usual names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cc::{self, Language};
use crate::command::{Command, ended, installed};
use crate::course;
use crate::workspace::Workspace;

/// Each feature, and the lesson and the backend that are its.
const FEATURES: [(&str, &str, &str); 3] =
    [("cust", "20_cust", "cuda"), ("cudarc", "21_cudarc", "cuda"), ("hip-sys", "22_hip_sys", "hip")];
const ALL: &str = "cust,cudarc,hip-sys";

/// What of hmmrt's tests is linked with one feature alone; the rest is not other than without it, and `lint` has looked at it.
const CONCERNED: [&str; 2] = ["--test", "interop_*"];

/// Ways for the GPU backends to lay their memory out; what is lent to others must be right in each.
const LAYOUTS: [Option<(&str, &str)>; 3] =
    [None, Some(("HMMRT_SAME_ADDRESS", "0")), Some(("HMMRT_DOUBLE_VMM", "0"))];

/// Whether what the stand-ins are made with is there.
pub fn can_build() -> bool {
    cc::compiler(Language::C).is_some() && installed("ar")
}

/// hmmrt with each feature alone and with all, and the lessons: clippy, and the documentation.
pub fn lint(workspace: &Workspace) -> Result<()> {
    let toolkit = Toolkit::make(workspace)?;
    let strict: &[&str] = if workspace.warnings_are_errors()? { &["--", "-D", "warnings"] } else { &[] };
    let clippy = |package: &'static str, features: &'static str| {
        let args = ["clippy", "--package", package, "--all-targets", "--features", features];
        toolkit.cargo(workspace, args).args(strict).run()
    };
    for (feature, ..) in FEATURES {
        clippy("hmmrt", feature)?;
    }
    clippy("hmmrt", ALL)?;
    clippy("hmmrt-examples", ALL)?;
    let flags = if strict.is_empty() { "" } else { "-D warnings" };
    let args = ["doc", "--no-deps", "--package", "hmmrt", "--features", ALL];
    toolkit.cargo(workspace, args).env("RUSTDOCFLAGS", flags).run()
}

/// Our declarations of the drivers' functions against the crates', and their types with managed memory, over the doubles.
/// Returns how many tests passed.
pub fn tests(workspace: &Workspace) -> Result<u64> {
    let toolkit = Toolkit::make(workspace)?;
    let mut passed = 0;
    for (feature, ..) in FEATURES {
        // Alone, so that what another one brings is not there.
        let args = ["test", "--package", "hmmrt", "--features", feature, "--no-run"];
        toolkit.cargo(workspace, args).args(CONCERNED).run()?;
    }
    let mut run = |args: &[&'static str], settings: &[(&str, &str)]| {
        let mut command =
            toolkit.cargo(workspace, ["test", "--package", "hmmrt", "--features", ALL]).args(args);
        for (name, value) in settings {
            command = command.env(name, *value);
        }
        let count = command.run_counting_tests()?;
        ensure!(count > 0, "no test was run");
        passed += count;
        Ok(())
    };
    run(&["--lib", "device::gpu::bindings"], &[])?;
    run(&["--doc", "interop"], &[])?;
    run(&["--test", "interop_backend"], &[("HMMRT_BACKEND", "host")])?;
    for layout in LAYOUTS {
        let settings =
            |backend| -> Vec<_> { [("HMMRT_BACKEND", backend)].into_iter().chain(layout).collect() };
        run(&["--test", "interop_cust", "--test", "interop_cudarc"], &settings("cuda"))?;
        run(&["--test", "interop_hip_sys"], &settings("hip"))?;
    }
    Ok(passed)
}

/// The preload library with small objects: what is its own, and malloc's rules. jemalloc is built for it, which takes about a minute.
/// Returns how many tests passed.
pub fn small_objects(workspace: &Workspace) -> Result<u64> {
    const FEATURE: [&str; 4] = ["--package", "hmmrt-preload", "--features", "small-objects"];
    let strict: &[&str] = if workspace.warnings_are_errors()? { &["--", "-D", "warnings"] } else { &[] };
    let cargo = |first: &'static [&'static str]| {
        let args = first.iter().copied().chain(FEATURE).chain(workspace.locked());
        course::without_settings(workspace.cargo(args))
    };
    cargo(&["clippy", "--all-targets"]).args(strict).run()?;
    let mut passed = cargo(&["test", "--test", "small"]).run_counting_tests()?;
    // What of these small objects have of their own is in the former.
    let skipped = ["--", "--skip", "python", "--skip", "the_kernels_own_accesses"];
    passed += cargo(&["test", "--test", "programs"]).args(skipped).run_counting_tests()?;
    let freed = cargo(&["test", "--test", "gpu"]).args(["--", "small_objects"]).run_counting_tests()?;
    ensure!(freed > 0, "no test was run");
    passed += freed;
    Ok(passed)
}

/// The runtime's own calls to the system fail one by one: the feature `inject`, which is in no other build. Returns how many tests
/// passed.
pub fn failing_calls(workspace: &Workspace) -> Result<u64> {
    const FEATURE: [&str; 6] = ["--package", "hmmrt", "--features", "inject", "--test", "failing"];
    let strict: &[&str] = if workspace.warnings_are_errors()? { &["--", "-D", "warnings"] } else { &[] };
    let cargo = |first: &'static str| {
        let args = [first].into_iter().chain(FEATURE).chain(workspace.locked());
        course::without_settings(workspace.cargo(args))
    };
    cargo("clippy").args(["--lib"]).args(strict).run()?;
    // What drivers do to it is among the tests without the feature.
    let mut passed = 0;
    for module in ["os::", "places::", "closed::"] {
        let of_module = cargo("test").args(["--", module]).run_counting_tests()?;
        ensure!(of_module > 0, "no test of {module} was run");
        passed += of_module;
    }
    Ok(passed)
}

/// The lessons that need a feature, over the doubles. Returns how many there were.
pub fn examples(workspace: &Workspace) -> Result<u64> {
    let toolkit = Toolkit::make(workspace)?;
    toolkit.cargo(workspace, ["build", "--package", "hmmrt-examples", "--features", ALL, "--bins"]).run()?;
    for (_, lesson, backend) in FEATURES {
        let program = workspace.target.join("debug").join(lesson);
        needs_no_driver(&program)?;
        starts_without_driver(&program)?;
        let source = workspace.root.join(format!("examples/src/bin/{lesson}.rs"));
        let command = course::without_settings(Command::new(&program))
            .env("LD_LIBRARY_PATH", &toolkit.drivers)
            .env("HMMRT_BACKEND", backend);
        course::run_lesson(workspace, &source, command)?;
    }
    Ok(FEATURES.len() as u64)
}

/// The program starts where there is no driver: none is among the libraries that it must have.
fn needs_no_driver(program: &Path) -> Result<()> {
    // A ROCm that is installed is linked instead of the stand-in.
    if !installed("readelf") || installed("hipconfig") {
        return Ok(());
    }
    let output = Command::new("readelf").args(["--dynamic"]).args([program]).capture()?;
    ensure!(output.status.success(), "readelf failed\n{}", output.stderr);
    for library in ["libcuda", "libamdhip64"] {
        ensure!(!output.stdout.contains(library), "{} must have {library} to start", program.display());
    }
    Ok(())
}

/// And it says what is missing, unless there is a driver.
fn starts_without_driver(program: &Path) -> Result<()> {
    /// The dynamic linker's.
    const COULD_NOT_START: i32 = 127;
    let output = course::without_settings(Command::new(program)).limit(Duration::from_secs(300)).capture()?;
    let started = output.status.code().is_some_and(|code| code != COULD_NOT_START);
    ensure!(started, "{} {}\n{}", program.display(), ended(output.status), output.stderr);
    Ok(())
}

/// What stands for the toolkits and the drivers.
struct Toolkit {
    /// With lib64/libcuda.a.
    cuda: PathBuf,
    /// With lib/libamdhip64.a and include/hip/hip_runtime_api.h.
    hip: PathBuf,
    /// The doubles under the drivers' names.
    drivers: PathBuf,
}

impl Toolkit {
    fn make(workspace: &Workspace) -> Result<Toolkit> {
        let dir = workspace.scratch().join("link");
        let toolkit = Toolkit { cuda: dir.join("cuda"), hip: dir.join("hip"), drivers: dir.join("drivers") };
        stand_in(workspace, "cuda", &toolkit.cuda.join("lib64"), "libcuda.a")?;
        stand_in(workspace, "hip", &toolkit.hip.join("lib"), "libamdhip64.a")?;
        // All that hip-runtime-sys's build script wants of the toolkit.
        let include = toolkit.hip.join("include/hip");
        fs::create_dir_all(&include)?;
        let header = include.join("hip_runtime_api.h");
        if !header.exists() {
            fs::write(header, "")?;
        }
        let packages = ["build", "--package", "hmmrt-double-cuda", "--package", "hmmrt-double-hip"];
        workspace.cargo(packages.into_iter().chain(workspace.locked())).run()?;
        fs::create_dir_all(&toolkit.drivers)?;
        for (double, names) in [
            ("libhmmrt_double_cuda.so", &["libcuda.so.1", "libcuda.so"][..]),
            ("libhmmrt_double_hip.so", &["libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so"]),
        ] {
            let double = workspace.target.join("debug").join(double);
            ensure!(double.exists(), "{} was not built", double.display());
            for name in names {
                let link = toolkit.drivers.join(name);
                let _ = fs::remove_file(&link);
                symlink(&double, &link)
                    .with_context(|| format!("cannot make the link {}", link.display()))?;
            }
        }
        Ok(toolkit)
    }

    /// cargo, with a build that finds the stand-ins and programs that find the doubles.
    fn cargo(&self, workspace: &Workspace, args: impl IntoIterator<Item = &'static str>) -> Command {
        course::without_settings(workspace.cargo(args))
            .args(workspace.locked())
            .env("CUDA_LIBRARY_PATH", &self.cuda)
            .env("HIP_PATH", &self.hip)
            // The newest that cudarc knows, whatever toolkit is installed: the strictest comparison.
            .env("CUDARC_CUDA_VERSION", "13040")
            .env("LD_LIBRARY_PATH", &self.drivers)
    }
}

/// Compiles doubles/link/stub.c into a library. Keeps one that is newer than its sources, since cargo builds what links it
/// again otherwise.
fn stand_in(workspace: &Workspace, driver: &str, dir: &Path, name: &str) -> Result<()> {
    let sources = workspace.root.join("doubles/link");
    let library = dir.join(name);
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let inputs = [sources.join("stub.c"), sources.join(format!("{driver}.def"))];
    if inputs.iter().all(|input| time(input) < time(&library)) {
        return Ok(());
    }
    let Some(compiler) = cc::compiler(Language::C) else { bail!("no C compiler: install cc or set CC") };
    fs::create_dir_all(dir)?;
    let object = dir.join("stub.o");
    Command::new(compiler)
        .args(["-c", "-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror"])
        .args([
            format!("-DDRIVER={driver}").as_ref(),
            inputs[0].as_os_str(),
            "-o".as_ref(),
            object.as_os_str(),
        ])
        .run()?;
    let _ = fs::remove_file(&library);
    Command::new("ar").args(["rcs".as_ref(), library.as_os_str(), object.as_os_str()]).run()
}
