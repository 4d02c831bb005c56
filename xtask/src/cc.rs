//! The C and C++ compilers, as a user of the installed library would call them.
//!
//! Used by `course` and `tour`. Warnings are errors; the program finds the library through its run path.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{self, Command};

/// A language of the examples.
#[derive(Clone, Copy, PartialEq)]
pub enum Language {
    /// C11.
    C,
    /// C++17.
    Cpp,
}

/// The compiler for a language: `$CC`/`$CXX`, else the usual name; None when it is not installed.
pub fn compiler(language: Language) -> Option<String> {
    let (variable, usual) = match language {
        Language::C => ("CC", "cc"),
        Language::Cpp => ("CXX", "c++"),
    };
    let name = env::var(variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| usual.to_owned());
    (name.contains('/') || command::installed(&name)).then_some(name)
}

/// Compiles `sources` against the library installed in `prefix` and links them to `program`.
pub fn build(language: Language, sources: &[PathBuf], prefix: &Path, program: &Path) -> Result<()> {
    let standard = match language {
        Language::C => "-std=c11",
        Language::Cpp => "-std=c++17",
    };
    let name = compiler(language).context("no C compiler: install cc or set CC")?;
    let lib = prefix.join("lib");
    Command::new(name)
        .args([standard, "-O2", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"])
        // The checks compare bit for bit with what the kernels compute: no fused multiply-add.
        .args(["-ffp-contract=off", "-I"])
        .args([prefix.join("include")])
        .args(sources)
        .args(["-o".as_ref(), program.as_os_str()])
        .args(["-L".as_ref(), lib.as_os_str()])
        .args(["-lhmmrt".to_owned(), format!("-Wl,-rpath,{}", lib.display())])
        .run()
}
