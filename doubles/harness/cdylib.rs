//! Building a package's shared library for tests. Cargo does not build it for the package's own integration tests, nor for
//! another's, so this asks it to, with the profile of the test. Included by the test crates that need it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, process};

/// Runs cargo for the library of the package in `package`, relative to this one's folder, into the folder that the calling
/// test came from; it answers at once when the library is current. Returns that folder.
#[allow(dead_code, reason = "each test program uses its own way")]
pub fn build(package: &str) -> PathBuf {
    build_with(package, "")
}

/// As [`build`], with features.
pub fn build_with(package: &str, features: &str) -> PathBuf {
    // TARGET[/TRIPLE]/PROFILE/deps/this
    let this = env::current_exe().expect("this program");
    let folder = this.ancestors().nth(2).expect("the profile's folder").to_path_buf();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()).expect("the profile") {
        // What the tests' own dependencies were built with, so that nothing is built twice.
        "debug" => "test",
        other => other,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--lib", "--profile", profile, "--features", features]);
    command
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(package).join("Cargo.toml"));
    command.arg("--target-dir").arg(target);
    if folder.parent() != Some(target) {
        command.arg("--target").arg(folder.parent().and_then(Path::file_name).expect("the triple"));
    }
    // Not this package's, which cargo set for the tests.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    let status: process::ExitStatus = command.status().expect("cargo");
    assert!(status.success(), "cargo build of the library: {status}");
    folder
}
