//! The tour's input when no file is given, and the small inputs that `check` gives it.
//!
//! Called by `tour`. The default is the first of these that has at least 64 MiB: this repository's history as one
//! stream, the Rust compiler's own library, the tour's own program again and again. Each says what it is.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// At least this much for a default input.
const ENOUGH: u64 = 64 << 20;
/// No more than this of the history.
const MOST: u64 = 256 << 20;

/// The file to take when none is given, and what it is.
pub fn default(workspace: &Workspace, program: &Path) -> Result<(PathBuf, String)> {
    let dir = workspace.scratch().join("input");
    fs::create_dir_all(&dir)?;
    if let Some(file) = history(workspace, &dir.join("history"))? {
        return Ok((file, "this repository's history, from `git log -p`".to_owned()));
    }
    if let Some(file) = compiler_library() {
        let what = format!("the Rust compiler's library (the history has less than {} MiB)", ENOUGH >> 20);
        return Ok((file, what));
    }
    let file = dir.join("repeated");
    repeat(program, &file)?;
    Ok((file, format!("the tour's own program, repeated up to {} MiB", ENOUGH >> 20)))
}

/// `git log -p` as a file, when there is a git, a history, and enough of it.
fn history(workspace: &Workspace, file: &Path) -> Result<Option<PathBuf>> {
    let child = Command::new("git")
        .args(["log", "-p", "--no-color", "--no-ext-diff", "--no-textconv"])
        .current_dir(&workspace.root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return Ok(None) };
    let stream = child.stdout.take().context("no pipe")?;
    let taken = std::io::copy(&mut stream.take(MOST), &mut File::create(file)?);
    child.kill().ok();
    child.wait()?;
    Ok((taken? >= ENOUGH).then(|| file.to_path_buf()))
}

/// The largest file in the compiler's lib folder.
fn compiler_library() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let lib = Path::new(String::from_utf8(output.stdout).ok()?.trim()).join("lib");
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(lib)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("librustc_driver"))
        })
        .filter_map(|path| Some((fs::metadata(&path).ok()?.len(), path)))
        .collect();
    found.sort();
    found.pop().filter(|(len, _)| *len >= ENOUGH).map(|(_, path)| path)
}

fn repeat(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut out = File::create(to)?;
    let mut written = 0;
    while written < ENOUGH {
        out.write_all(&bytes)?;
        written += bytes.len() as u64;
    }
    Ok(())
}

/// Inputs for `check`: nothing, one byte, and a few chunks with an odd tail.
pub fn small(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let dir = workspace.scratch().join("input");
    fs::create_dir_all(&dir)?;
    let mut word = 1_u64;
    let some: Vec<u8> = (0..(9 << 20) + 13)
        .map(|_| {
            // xorshift64 (Marsaglia 2003)
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word >> 56) as u8
        })
        .collect();
    let mut files = Vec::new();
    for (name, bytes) in [("empty", &some[..0]), ("one-byte", &some[..1]), ("nine-mib", &some[..])] {
        let file = dir.join(name);
        fs::write(&file, bytes)?;
        files.push(file);
    }
    Ok(files)
}
