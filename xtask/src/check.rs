//! `cargo xtask check`: all that CI does, with a line and a time for each step.
//!
//! Called by `main`. Two steps run at a time (`lanes`). Stops at the first failure; the verdict `N passed, 0 failed` is printed only when everything
//! ran. A tool that is not installed skips its step, except in CI (`CI=true`), where it must be there.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cc::{self, Language};
use crate::command::{self, Command};
use crate::workspace::Workspace;
use crate::{
    bench, conformance, course, doubles, engines, features, gpu_suite, install, lab, lanes, proof, readme,
    sanitize, skips, stress, tour, valgrind,
};

/// What a step that did not fail has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many tests, programs or checks passed.
    Passed(u64),
    /// Not run, and why.
    Skipped(String),
}

use Outcome::{Passed, Skipped};

type Step = (&'static str, fn(&Workspace) -> Result<Outcome>);

/// Steps one after the other, beside the other list's; both take about as long. Whatever needs or builds the preload library
/// without optimisation, which there is with two sets of features, is in the first, and what needs the release build in the second.
const LISTS: [&[Step]; 2] = [TESTS, PROGRAMS];

/// Header drift and the ABI's C and C++ programs are tests in ffi/.
const TESTS: &[Step] = &[
    ("format", |w| ran(w.cargo(["fmt", "--all", "--check"]))),
    ("clippy", |w| {
        let mut args = vec!["clippy", "--workspace", "--all-targets"];
        args.extend(w.locked());
        if w.warnings_are_errors()? {
            args.extend(["--", "-D", "warnings"]);
        }
        ran(w.cargo(args))
    }),
    // The examples' tests are their runs, below; the lab's are too slow without optimisation.
    ("tests", |w| {
        let elsewhere = ["hmmrt-examples", "hmmrt-models", "hmmrt-policy-lab"];
        let mut which = vec!["--lib", "--bins", "--tests"];
        elsewhere.iter().for_each(|package| which.extend(["--exclude", package]));
        tests(w, &which)
    }),
    ("the kernel's HMM cases, on all backends and fault engines", |w| {
        Ok(Passed(conformance::run(w, false)?))
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
];

/// The release build's, and what else is long.
const PROGRAMS: &[Step] = &[
    ("release build", |w| {
        w.build_release(&["hmmrt-ffi", "hmmrt-examples"])?;
        w.build_release(&["hmmrt-bench"])?;
        install::scratch_prefix(w)?;
        Ok(Passed(1))
    }),
    // The library that the release build made is built for it, too.
    ("large programs under the preload library", |w| Ok(Passed(proof::quick(w)?))),
    ("tests on the GPU backends, over driver doubles", |w| Ok(Passed(doubles::suites(w)?))),
    ("tests on the userfaultfd engines", |w| match engines::suites(w)? {
        (0, missing) => Ok(Skipped(format!("this machine lacks {}", missing.join(" and ")))),
        (passed, _) => Ok(Passed(passed)),
    }),
    ("tests under the policy auto", |w| Ok(Passed(engines::suites_under_auto(w)?))),
    ("features: calls to the system that fail", |w| Ok(Passed(features::failing_calls(w)?))),
    ("examples in Rust", |w| Ok(Passed(course::run_rust(w)?))),
    ("examples in C", |w| Ok(Passed(course::run_native(w, &install::scratch_prefix(w)?, Language::C)?))),
    ("examples in C++", |w| match cc::compiler(Language::Cpp) {
        None => missing(w, "c++"),
        Some(_) => Ok(Passed(course::run_native(w, &install::scratch_prefix(w)?, Language::Cpp)?)),
    }),
    ("C programs under AddressSanitizer and UBSan", |w| match sanitize::has_sanitizers() {
        false => missing(w, "gcc and g++ with libasan and libubsan"),
        true => Ok(Passed(sanitize::run(w, &install::scratch_prefix(w)?)?)),
    }),
    ("C programs and two suites under Valgrind", |w| {
        match command::installed("valgrind") && command::installed("gcc") {
            false => missing(w, "gcc and valgrind"),
            true => Ok(Passed(valgrind::run(w, &install::scratch_prefix(w)?)?)),
        }
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
    ("the policy lab", |w| {
        lab::run(w, &["--only".to_owned(), "solver".to_owned()])?;
        let args = ["test", "--release", "--package", "hmmrt-policy-lab"];
        Ok(Passed(1 + w.cargo(args.into_iter().chain(w.locked())).run_counting_tests()?))
    }),
    // The stand-in is the crate hmmrt by another name, which examples do not know.
    ("doc tests", |w| tests(w, &["--exclude", "hmmrt-standin", "--doc"])),
    ("docs", |w| {
        // The C library has the same crate name; its documentation is the header.
        let args = ["doc", "--workspace", "--no-deps", "--exclude", "hmmrt-ffi"];
        let flags = if w.warnings_are_errors()? { "-D warnings" } else { "" };
        ran(w.cargo(args.into_iter().chain(w.locked())).env("RUSTDOCFLAGS", flags))
    }),
    ("device code", |w| match command::installed("clang-14") {
        false => missing(w, "clang-14"),
        true => {
            Command::new(w.root.join("kernels/build.sh")).args(["--check"]).dir(&w.root).run()?;
            ran(Command::new(w.root.join("bench/kernels/build.sh")).args(["--check"]).dir(&w.root))
        }
    }),
    ("licences and sources", |w| match command::installed("cargo-deny") {
        false => missing(w, "cargo-deny"),
        true => {
            // The fuzzing programs have dependencies of their own. What only one of the two uses is only warned of.
            ["Cargo.toml", "fuzz/Cargo.toml"].iter().try_for_each(|of| {
                let named = ["deny", "--locked", "--manifest-path", of, "--config", "deny.toml"];
                w.cargo(named).args(["check", "bans", "licenses", "sources"]).run()
            })?;
            Ok(Passed(2))
        }
    }),
    ("advisories", advisories),
];

/// What the command line says of the steps.
#[derive(clap::Args)]
pub struct Options {
    /// Only list the steps
    #[arg(long)]
    list: bool,
    /// Run only the steps whose name contains this (then no verdict is printed)
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run the step of this number, and say in a last line what came of it: for `lanes`
    #[arg(long, hide = true)]
    step: Option<usize>,
}

/// The subcommand.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let steps: Vec<Step> = LISTS.concat();
    let title = |number: usize| format!("[{}/{}] {}", number + 1, steps.len(), steps[number].0);
    if let Some(number) = options.step {
        let (_, step) = steps.get(number).context("there is no such step")?;
        println!("{}", lanes::line(&step(workspace)?));
        return Ok(());
    }
    if options.list {
        (0..steps.len()).for_each(|number| println!("{}", title(number)));
        return Ok(());
    }
    skips::begin(workspace)?;
    let failed = |number| format!("check stopped at {}", title(number));
    if let Some(only) = &options.only {
        for number in (0..steps.len()).filter(|n| steps[*n].0.contains(only.as_str())) {
            println!("{} ...", title(number));
            let start = Instant::now();
            let outcome = (steps[number].1)(workspace).with_context(|| failed(number))?;
            println!("{}: {}", title(number), said(&outcome, start));
        }
        skips::tell();
        return Ok(());
    }
    let start = Instant::now();
    let mut first = 0;
    let lists = LISTS.map(|list| {
        first += list.len();
        (first - list.len()..first).collect::<Vec<usize>>()
    });
    let (mut passed, mut skipped) = (0, Vec::new());
    lanes::run(
        &lists,
        |number| println!("{} ...", title(number)),
        |done| {
            print!("{}", done.output);
            let outcome = done.outcome.with_context(|| failed(done.step))?;
            println!("{}: {}", title(done.step), said(&outcome, done.begun));
            match outcome {
                Passed(count) => passed += count,
                Skipped(why) => skipped.push(format!("{} ({why})", steps[done.step].0)),
            }
            Ok(())
        },
    )?;
    println!("\nall steps done in {:.0} s", start.elapsed().as_secs_f64());
    if !skipped.is_empty() {
        println!("skipped: {}", skipped.join(", "));
    }
    skips::tell();
    println!("{passed} passed, 0 failed");
    Ok(())
}

fn said(outcome: &Outcome, begun: Instant) -> String {
    match outcome {
        Passed(_) => format!("ok, {:.1} s", begun.elapsed().as_secs_f64()),
        Skipped(why) => format!("skipped: {why}"),
    }
}

fn ran(command: Command) -> Result<Outcome> {
    command.run()?;
    Ok(Passed(1))
}

fn tests(workspace: &Workspace, which: &[&str]) -> Result<Outcome> {
    let mut args = vec!["test", "--workspace"];
    args.extend(which);
    args.extend(workspace.locked());
    // The random and racing ones at a fifth of their length: their suites come six times more.
    let command = course::without_settings(workspace.cargo(args)).env("HMMRT_TEST_SCALE", "0.2");
    Ok(Passed(command.env("PROPTEST_CASES", "64").run_counting_tests()?))
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
