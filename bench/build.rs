//! Compiles the floors and the bare loops with the system's C compiler at -O2, whatever the Rust profile is: a floor must not get
//! slower in a debug build. And notes what was built: results name the commit.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=c");
    cc::Build::new()
        .files(["c/floors.c", "c/engines.c"])
        .opt_level(2)
        .flag("-std=gnu11")
        .flag("-pthread")
        // Host and device round each operation.
        .flag("-ffp-contract=off")
        .warnings(true)
        .warnings_into_errors(true)
        .compile("hmmrt_bench_floors");

    // Looked at again after a commit, and after a change of what is measured.
    for input in ["build.rs", "src", "../runtime/src", "../kernels"] {
        println!("cargo:rerun-if-changed={input}");
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = git(&["describe", "--always", "--dirty"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=HMMRT_BENCH_COMMIT={commit}");
}

/// What git says, where there is a git and a repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
