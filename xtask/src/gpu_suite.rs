//! `cargo xtask gpu-suite`: all that is run on a machine with a GPU and without Rust, in one folder: tests, tours,
//! benchmark, probe, and the script that runs them. gpu/README.md says how it is used.
//!
//! Called by `main`, and by `check`, which runs it on the driver doubles. The folder may be no larger than what is easily
//! sent, and its programs must start where the C library is older than here: both are checked.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cc::{self, Language};
use crate::command::Command;
use crate::course::without_settings;
use crate::install;
use crate::workspace::Workspace;

/// The most that all files may take together.
const MOST: u64 = 64 << 20;
/// The newest version of the C library that a program may ask for (Ubuntu 22.04 and everything younger have it), and the
/// one that is expected: more than that is worth a line.
const NEWEST: (u32, u32) = (2, 35);
const EXPECTED: (u32, u32) = (2, 34);

/// Tests of the crate `hmmrt` that stay here, and why. All others go along.
const LEFT_OUT: &[(&str, &str)] = &[
    ("driver", "tests the backends on the driver doubles, which it builds"),
    ("failures", "injects failures into the host backend"),
    ("neighbours", "runs on the driver doubles, too"),
    ("interop_backend", "is empty without the crate's optional features"),
    ("interop_cudarc", "is empty without the feature cudarc"),
    ("interop_cust", "is empty without the feature cust"),
    ("interop_hip_sys", "is empty without the feature hip-sys"),
];
/// What the unit tests' program is called in the folder.
const UNIT_TESTS: &str = "unit";

/// The tests that `check` runs on the doubles: the whole suites run there by other tests.
const SMOKE: &[&str] = &["roundtrip", "surface_device"];
/// For a run with `--quick` on a double, which takes a quarter of it.
const LIMIT: Duration = Duration::from_secs(1800);

/// The subcommand: builds the folder, says what is in it.
pub fn run(workspace: &Workspace, out: Option<&Path>) -> Result<()> {
    let out = out.map_or_else(|| workspace.target.join("gpu-suite"), Path::to_path_buf);
    for (name, why) in LEFT_OUT {
        println!("  left out: {name}: {why}");
    }
    build(workspace, &out, None, true)?;
    println!("{}: send it to the machine and run ./run.sh there (--help)", out.display());
    Ok(())
}

/// Builds the folder with a few of the tests, and runs it on each double from end to end. Returns how many runs.
pub fn run_on_doubles(workspace: &Workspace) -> Result<u64> {
    let out = workspace.scratch().join("gpu-suite");
    // Where somebody only checks, a younger C library is no fault: nothing is sent anywhere.
    build(workspace, &out, Some(SMOKE), workspace.ci)?;
    workspace.build_release(&["hmmrt-double-cuda", "hmmrt-double-hip"])?;
    let backends = ["cuda", "hip"];
    for backend in backends {
        let results = workspace.scratch().join(format!("gpu-suite-{backend}"));
        fs::remove_dir_all(&results).ok();
        let driver = workspace.release().join(format!("libhmmrt_double_{backend}.so"));
        without_settings(Command::new(out.join("run.sh")))
            .env("HMMRT_SUITE_PATIENCE", "10")
            .args(["--quick", "--backend", backend, "--driver"])
            .args([&driver])
            .args(["--out"])
            .args([&results])
            .limit(LIMIT)
            .run()?;
        let found: Vec<PathBuf> = files(&results)?.into_iter().filter(|path| is_results(path)).collect();
        ensure!(found.len() == 1, "{backend}: {} results files in {}", found.len(), results.display());
        Command::new(out.join("bin/hmmrt-gpu-bench"))
            .args(["--check"])
            .args(&found)
            .run()
            .with_context(|| format!("{backend}: the results are not what they should be"))?;
    }
    Ok(backends.len() as u64)
}

fn is_results(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("results-") && name.ends_with(".json")
}

/// Makes the folder anew, with all tests or some. `travels`: it must run elsewhere.
fn build(workspace: &Workspace, out: &Path, tests: Option<&[&str]>, travels: bool) -> Result<()> {
    let programs = test_programs(workspace, tests)?;
    workspace.build_release(&["hmmrt-ffi", "hmmrt-examples"])?;
    workspace.build_release(&["hmmrt-bench"])?;
    // Only what an earlier run has made is taken away.
    for part in ["bin", "tests"] {
        fs::remove_dir_all(out.join(part)).ok();
        fs::create_dir_all(out.join(part))
            .with_context(|| format!("cannot make the folder {}", out.display()))?;
    }
    let release = workspace.release();
    for (from, to) in
        [("hmmrt-gpu-bench", "hmmrt-gpu-bench"), ("tour", "tour-rust"), ("libhmmrt.so", "libhmmrt.so.0")]
    {
        stripped(&release.join(from), &out.join("bin").join(to))?;
    }
    for (name, program) in &programs {
        stripped(program, &out.join("tests").join(name))?;
    }
    c_tour(workspace, out)?;
    let gpu = workspace.root.join("gpu");
    probe(&gpu.join("probe.c"), &out.join("bin/gpu_probe"))?;
    for file in ["run.sh", "probe.c", "README.md"] {
        fs::copy(gpu.join(file), out.join(file)).with_context(|| format!("copying gpu/{file}"))?;
    }
    fs::write(out.join("BUILD"), describe(workspace)? + "\n")?;
    look_over(out, travels)
}

/// The test programs of the crate `hmmrt`, by name: built with optimisation, found in what cargo says that it built.
fn test_programs(workspace: &Workspace, only: Option<&[&str]>) -> Result<BTreeMap<String, PathBuf>> {
    let mut args = vec![
        "test",
        "--release",
        "--no-run",
        "--package",
        "hmmrt",
        "--message-format=json-render-diagnostics",
    ];
    match only {
        None => args.extend(["--lib", "--tests"]),
        Some(names) => args.extend(names.iter().flat_map(|name| ["--test", name])),
    }
    args.extend(workspace.locked());
    let output = without_settings(workspace.cargo(args)).capture()?;
    if !output.status.success() {
        bail!("the tests can't be built\n{}", output.stderr);
    }
    let mut found = BTreeMap::new();
    for line in output.stdout.lines() {
        let message: Value = serde_json::from_str(line).context("cargo's message is not JSON")?;
        let (target, Some(program)) = (&message["target"], message["executable"].as_str()) else { continue };
        if message["profile"]["test"] != Value::Bool(true) {
            continue;
        }
        let is_lib = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"));
        let name =
            if is_lib { UNIT_TESTS } else { target["name"].as_str().context("a test without a name")? };
        if !LEFT_OUT.iter().any(|(left_out, _)| *left_out == name) {
            found.insert(name.to_owned(), PathBuf::from(program));
        }
    }
    ensure!(!found.is_empty(), "cargo has built no test");
    Ok(found)
}

/// A copy without symbols: they are most of a program's size.
fn stripped(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Command::new("strip").args([to]).run()
}

/// The tour in C, which finds the library beside itself.
fn c_tour(workspace: &Workspace, out: &Path) -> Result<()> {
    let prefix = install::scratch_prefix(workspace)?;
    let sources = files(&workspace.root.join("examples/c/tour"))?;
    let sources =
        sources.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "c"));
    compiler()?
        .args(["-std=c11", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-s", "-I"])
        .args([prefix.join("include")])
        .args(sources)
        .args([
            "-o".as_ref(),
            out.join("bin/tour-c").as_os_str(),
            "-L".as_ref(),
            prefix.join("lib").as_os_str(),
        ])
        .args(["-lhmmrt", "-Wl,-rpath,$ORIGIN"])
        .run()
}

fn probe(source: &Path, program: &Path) -> Result<()> {
    compiler()?
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-s"])
        .args([source])
        .args(["-o".as_ref(), program.as_os_str(), "-ldl".as_ref()])
        .run()
}

fn compiler() -> Result<Command> {
    Ok(Command::new(cc::compiler(Language::C).context("no C compiler: install cc or set CC")?))
}

/// What was built, in one line without quotes: the commit, or the version where there is no git.
fn describe(workspace: &Workspace) -> Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).dir(&workspace.root).capture();
    let commit = match git {
        Ok(output) if output.status.success() => output.stdout.trim().to_owned(),
        _ => "no commit".to_owned(),
    };
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = Command::new(rustc).args(["--version"]).dir(&workspace.root).capture()?.stdout;
    let text = format!("hmmrt {version}, {commit}, {}", rustc.trim());
    Ok(text.replace(['"', '\\'], "'"))
}

/// Prints what is in the folder; fails where it is too large, or must run elsewhere and needs too new a C library.
fn look_over(out: &Path, travels: bool) -> Result<()> {
    let (mut sum, mut newest) = (0, (0, 0));
    for dir in [out.to_path_buf(), out.join("bin"), out.join("tests")] {
        for path in files(&dir)? {
            let metadata = fs::metadata(&path)?;
            sum += metadata.len();
            let mut glibc = String::new();
            if is_program(&path)? {
                let needed = glibc_needed(&path)?;
                newest = newest.max(needed);
                glibc = format!("GLIBC_{}.{}", needed.0, needed.1);
                ensure!(
                    needed <= NEWEST || !travels,
                    "{} needs {glibc}: it would not start where the C library is {}.{}",
                    path.display(),
                    NEWEST.0,
                    NEWEST.1
                );
                ensure!(metadata.permissions().mode() & 0o100 != 0, "{} can't be run", path.display());
            }
            let shown = path.strip_prefix(out).unwrap_or(&path).display().to_string();
            println!("  {shown:24} {:>9} bytes  {glibc}", metadata.len());
        }
    }
    println!(
        "  in all {:.1} MiB of at most {}, GLIBC_{}.{}",
        sum as f64 / f64::from(1 << 20),
        MOST >> 20,
        newest.0,
        newest.1
    );
    if newest > EXPECTED {
        println!("  newer than GLIBC_{}.{}: fewer machines can run it", EXPECTED.0, EXPECTED.1);
    }
    ensure!(sum <= MOST, "{sum} bytes: more than {MOST}");
    Ok(())
}

fn is_program(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut magic = Vec::new();
    fs::File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(magic == b"\x7fELF")
}

/// The newest version of the C library that a program's symbols name.
fn glibc_needed(program: &Path) -> Result<(u32, u32)> {
    let output = Command::new("objdump").args(["-T"]).args([program]).capture()?;
    ensure!(output.status.success(), "objdump: {}", output.stderr);
    Ok(versions(&output.stdout).max().unwrap_or((0, 0)))
}

/// All `GLIBC_a.b` in a listing.
fn versions(listing: &str) -> impl Iterator<Item = (u32, u32)> {
    listing.split("GLIBC_").skip(1).filter_map(|rest| {
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

/// The files in a folder, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{is_results, versions};
    use std::path::Path;

    #[test]
    fn versions_are_compared_as_numbers() {
        let listing = "0 DF *UND* 0 (GLIBC_2.9) memcpy\n0 DF *UND* 0 (GLIBC_2.34) dlsym\n0 DF (GLIBC_2.2.5) free\n0 DF (GLIBC_PRIVATE) x";
        assert_eq!(versions(listing).collect::<Vec<_>>(), [(2, 9), (2, 34), (2, 2)]);
        assert_eq!(versions(listing).max(), Some((2, 34)));
    }

    #[test]
    fn results_are_told_by_their_name() {
        assert!(is_results(Path::new("/x/results-nvidia-h200-2026-11-22.json")));
        assert!(!is_results(Path::new("/x/results-nvidia-h200-2026-11-22.new")));
        assert!(!is_results(Path::new("/results-x.json/suite.json")));
    }
}
