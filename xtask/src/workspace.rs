//! Where things are: the repository's root, cargo's target folder, and whether this is CI.
//!
//! Built once by `main`; every subcommand gets it by reference. Nothing here runs a program except `cargo build`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::Command;

/// The repository and its build folder.
pub struct Workspace {
    /// Root of the repository.
    pub root: PathBuf,
    /// cargo's target folder, wherever `CARGO_TARGET_DIR` or the configuration put it.
    pub target: PathBuf,
    /// `CI=true`: missing tools are failures, and Cargo.lock is not changed.
    pub ci: bool,
}

impl Workspace {
    /// Finds both folders from what cargo tells the program it runs, and from where that program lies.
    pub fn find() -> Result<Workspace> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().context("xtask has no parent folder")?.to_path_buf();
        // <target>/<profile>/xtask
        let program = env::current_exe().context("cannot find the running program")?;
        let target = program.ancestors().nth(2).context("cannot find the target folder")?.to_path_buf();
        let ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        Ok(Workspace { root, target, ci })
    }

    /// The `cargo` that runs this program, in the root.
    pub fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo).args(args).dir(&self.root);
        // Set for this program by the `cargo run` around it; the packages built here have their own.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
                command = command.env_remove(&name);
            }
        }
        command
    }

    /// `--locked` in CI, nothing elsewhere.
    pub fn locked(&self) -> Option<&'static str> {
        self.ci.then_some("--locked")
    }

    /// Whether this is the release that the code is kept clean of warnings with. A newer one has new warnings, and they
    /// are no reason to fail on the machine of someone who only wants to see the tests pass.
    pub fn warnings_are_errors(&self) -> Result<bool> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = Command::new(rustc).args(["--version"]).dir(&self.root).capture()?.stdout;
        let same = version.starts_with(concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"), "."));
        if !same {
            println!(
                "  warnings are not errors: they are with {}, and this is {}",
                env!("CARGO_PKG_RUST_VERSION"),
                version.trim()
            );
        }
        Ok(same)
    }

    /// Builds packages with optimisation; their files are then in [`Workspace::release`].
    pub fn build_release(&self, packages: &[&str]) -> Result<()> {
        let mut args = vec!["build", "--release"];
        for package in packages {
            args.extend(["--package", package]);
        }
        args.extend(self.locked());
        self.cargo(args).run()
    }

    /// Folder of optimised programs and libraries.
    pub fn release(&self) -> PathBuf {
        self.target.join("release")
    }

    /// Folder for what xtask itself makes: the installed prefix, C programs, inputs.
    pub fn scratch(&self) -> PathBuf {
        self.target.join("xtask")
    }

    /// `path` as seen from the root where it lies there, for messages.
    pub fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}
