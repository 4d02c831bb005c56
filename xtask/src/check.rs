//! `cargo xtask check`: all that CI does, in order, with a line and a time for each step.
//!
//! Called by `main`. Stops at the first failure; the verdict `N passed, 0 failed` is printed only when everything
//! ran. A tool that is not installed skips its step, except in CI (`CI=true`), where it must be there.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cc::{self, Language};
use crate::command::{self, Command};
use crate::workspace::Workspace;
use crate::{
    bench, conformance, course, doubles, engines, features, gpu_suite, install, lab, proof, readme, sanitize,
    stress, tour,
};

/// What a step that did not fail has to say.
enum Outcome {
    /// So many tests, programs or checks passed.
    Passed(u64),
    /// Not run, and why.
    Skipped(String),
}

use Outcome::{Passed, Skipped};

type Step = (&'static str, fn(&Workspace) -> Result<Outcome>);

/// The tests come before the slow builds; header drift and the ABI's C and C++ programs are tests in ffi/.
const STEPS: &[Step] = &[
    ("format", |w| ran(w.cargo(["fmt", "--all", "--check"]))),
    ("clippy", |w| {
        let mut args = vec!["clippy", "--workspace", "--all-targets"];
        args.extend(w.locked());
        if w.warnings_are_errors()? {
            args.extend(["--", "-D", "warnings"]);
        }
        ran(w.cargo(args))
    }),
    // The examples' tests are their runs, below.
    ("tests", |w| {
        tests(w, &["--exclude", "hmmrt-examples", "--exclude", "hmmrt-models", "--lib", "--bins", "--tests"])
    }),
    ("tests on the GPU backends, over driver doubles", |w| Ok(Passed(doubles::suites(w)?))),
    ("the kernel's HMM cases, on all backends and fault engines", |w| {
        Ok(Passed(conformance::run(w, false)?))
    }),
    ("tests on the userfaultfd engines", |w| match engines::suites(w)? {
        (0, missing) => Ok(Skipped(format!("this machine lacks {}", missing.join(" and ")))),
        (passed, _) => Ok(Passed(passed)),
    }),
    ("tests under the policy auto", |w| Ok(Passed(engines::suites_under_auto(w)?))),
    // Its figures are tests' (bench/policy/tests); that the command runs is this.
    ("the policy lab", |w| {
        lab::run(w, &["--only".to_owned(), "solver".to_owned()])?;
        Ok(Passed(1))
    }),
    // The stand-in is the crate hmmrt by another name, which examples do not know.
    ("doc tests", |w| tests(w, &["--exclude", "hmmrt-standin", "--doc"])),
    ("docs", |w| {
        // The C library has the same crate name; its documentation is the header.
        let args = ["doc", "--workspace", "--no-deps", "--exclude", "hmmrt-ffi"];
        let flags = if w.warnings_are_errors()? { "-D warnings" } else { "" };
        ran(w.cargo(args.into_iter().chain(w.locked())).env("RUSTDOCFLAGS", flags))
    }),
    ("features: clippy and docs", |w| match features::can_build() {
        false => missing(w, "cc and ar"),
        true => features::lint(w).map(|()| Passed(1)),
    }),
    ("features: tests", |w| match features::can_build() {
        false => missing(w, "cc and ar"),
        true => Ok(Passed(features::tests(w)?)),
    }),
    ("features: examples", |w| match features::can_build() {
        false => missing(w, "cc and ar"),
        true => Ok(Passed(features::examples(w)?)),
    }),
    ("features: small objects of the preload library", |w| {
        match features::can_build() && command::installed("make") {
            false => missing(w, "cc, ar and make"),
            true => Ok(Passed(features::small_objects(w)?)),
        }
    }),
    ("features: calls to the system that fail", |w| Ok(Passed(features::failing_calls(w)?))),
    ("release build", |w| {
        w.build_release(&["hmmrt-ffi", "hmmrt-examples"])?;
        w.build_release(&["hmmrt-bench"])?;
        install::scratch_prefix(w)?;
        Ok(Passed(1))
    }),
    ("examples in Rust", |w| Ok(Passed(course::run_rust(w)?))),
    ("examples in C", |w| Ok(Passed(course::run_native(w, &install::scratch_prefix(w)?, Language::C)?))),
    ("examples in C++", |w| match cc::compiler(Language::Cpp) {
        None => missing(w, "c++"),
        Some(_) => Ok(Passed(course::run_native(w, &install::scratch_prefix(w)?, Language::Cpp)?)),
    }),
    ("C programs under AddressSanitizer and UBSan", |w| match sanitize::has_sanitizers() {
        false => missing(w, "gcc with libasan and libubsan"),
        true => Ok(Passed(sanitize::sanitizers(w, &install::scratch_prefix(w)?)?)),
    }),
    ("C programs under Valgrind", |w| match command::installed("valgrind") && command::installed("gcc") {
        false => missing(w, "gcc and valgrind"),
        true => Ok(Passed(sanitize::valgrind(w, &install::scratch_prefix(w)?)?)),
    }),
    ("stress, on all fault engines and backends", |w| Ok(Passed(stress::run(w)?))),
    ("loom models", |w| {
        let args = ["test", "--release", "--package", "hmmrt-models"];
        Ok(Passed(w.cargo(args.into_iter().chain(w.locked())).run_counting_tests()?))
    }),
    // On stable it is among the tests. Few cases: Miri takes about a thousand times as long.
    ("the stand-in under Miri", |w| {
        match miri(w, &["--version"]).capture().is_ok_and(|o| o.status.success()) {
            false => Ok(Skipped("there is no nightly toolchain with miri".to_owned())),
            true => {
                let command =
                    miri(w, &["test", "--package", "hmmrt-standin", "--lib"]).env("PROPTEST_CASES", "2");
                let flags = "-Zmiri-permissive-provenance -Zmiri-disable-isolation";
                Ok(Passed(command.env("MIRIFLAGS", flags).run_counting_tests()?))
            }
        }
    }),
    ("README.md", |w| Ok(Passed(readme::run(w, &install::scratch_prefix(w)?)?))),
    ("tours", |w| Ok(Passed(tour::run_small(w, &install::scratch_prefix(w)?, &|command| command)?))),
    ("tours on the GPU backends, over driver doubles", |w| {
        Ok(Passed(doubles::tours(w, &install::scratch_prefix(w)?)?))
    }),
    ("bench", |w| Ok(Passed(bench::quick(w)?))),
    ("GPU suite, over driver doubles", |w| Ok(Passed(gpu_suite::run_on_doubles(w)?))),
    // The library that the release build made is built for it, too.
    ("large programs under the preload library", |w| Ok(Passed(proof::quick(w)?))),
    ("device code", |w| match command::installed("clang-14") {
        false => missing(w, "clang-14"),
        true => {
            Command::new(w.root.join("kernels/build.sh")).args(["--check"]).dir(&w.root).run()?;
            ran(Command::new(w.root.join("bench/kernels/build.sh")).args(["--check"]).dir(&w.root))
        }
    }),
    ("licences and sources", |w| match command::installed("cargo-deny") {
        false => missing(w, "cargo-deny"),
        true => ran(w.cargo(["deny", "check", "bans", "licenses", "sources"])),
    }),
    ("advisories", advisories),
];

/// The subcommand.
pub fn run(workspace: &Workspace, list: bool, only: Option<&str>) -> Result<()> {
    let (mut passed, mut skipped) = (0, Vec::new());
    let start = Instant::now();
    for (number, (name, step)) in STEPS.iter().enumerate() {
        let title = format!("[{}/{}] {name}", number + 1, STEPS.len());
        if list {
            println!("{title}");
            continue;
        }
        if only.is_some_and(|text| !name.contains(text)) {
            continue;
        }
        println!("{title} ...");
        let step_start = Instant::now();
        let outcome = step(workspace).with_context(|| format!("check stopped at {title}"))?;
        let seconds = step_start.elapsed().as_secs_f64();
        match outcome {
            Passed(count) => {
                println!("{title}: ok, {seconds:.1} s");
                passed += count;
            }
            Skipped(why) => {
                println!("{title}: skipped: {why}");
                skipped.push(format!("{name} ({why})"));
            }
        }
    }
    if list || only.is_some() {
        return Ok(());
    }
    println!("\nall steps done in {:.0} s", start.elapsed().as_secs_f64());
    if !skipped.is_empty() {
        println!("skipped: {}", skipped.join(", "));
    }
    println!("{passed} passed, 0 failed");
    Ok(())
}

fn ran(command: Command) -> Result<Outcome> {
    command.run()?;
    Ok(Passed(1))
}

fn tests(workspace: &Workspace, which: &[&str]) -> Result<Outcome> {
    let mut args = vec!["test", "--workspace"];
    args.extend(which);
    args.extend(workspace.locked());
    Ok(Passed(course::without_settings(workspace.cargo(args)).run_counting_tests()?))
}

/// `cargo miri` of whatever nightly toolchain there is.
fn miri(workspace: &Workspace, args: &[&str]) -> Command {
    Command::new("rustup").args(["run", "nightly", "cargo", "miri"]).args(args).dir(&workspace.root)
}

fn missing(workspace: &Workspace, tool: &str) -> Result<Outcome> {
    if workspace.ci {
        bail!("{tool} is not installed, and CI needs it");
    }
    Ok(Skipped(format!("not installed: {tool}")))
}

/// Known vulnerabilities, where the database can be had.
fn advisories(workspace: &Workspace) -> Result<Outcome> {
    if !command::installed("cargo-deny") {
        return missing(workspace, "cargo-deny");
    }
    let fetched = workspace.cargo(["deny", "fetch", "db"]).capture()?;
    if !fetched.status.success() {
        return Ok(Skipped("advisory database not reachable".to_owned()));
    }
    ran(workspace.cargo(["deny", "--offline", "check", "advisories"]))
}
