//! The course in examples/: builds it, runs each lesson, compares what it printed.
//!
//! Called by `check`. The expected output stands in the lesson itself, in lines that begin with `// > `; `...` in
//! such a line stands for anything. A lesson must also end with status 0 and within the time limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cc::{self, Language};
use crate::command::{Command, ended};
use crate::skips;
use crate::workspace::Workspace;

/// A lesson takes well under a second; this is for one that hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// Builds and runs every Rust lesson but those that need a feature, which are `features`'s. Returns how many.
pub fn run_rust(workspace: &Workspace) -> Result<u64> {
    workspace.build_release(&["hmmrt-examples"])?;
    let mut lessons = lessons(&workspace.root.join("examples/src/bin"), "rs")?;
    // A lesson that has lines of its own in Cargo.toml has them for what it requires.
    let manifest = fs::read_to_string(workspace.root.join("examples/Cargo.toml"))?;
    lessons.retain(|lesson| !manifest.contains(&format!("name = \"{}\"", stem(lesson))));
    for lesson in &lessons {
        let program = workspace.release().join(stem(lesson));
        run_lesson(workspace, lesson, without_settings(Command::new(program)))?;
    }
    Ok(lessons.len() as u64)
}

/// Builds every C or C++ lesson against the installed `prefix`, and runs it. Returns how many.
pub fn run_native(workspace: &Workspace, prefix: &Path, language: Language) -> Result<u64> {
    let extension = if language == Language::C { "c" } else { "cpp" };
    let lessons = lessons(&workspace.root.join("examples").join(extension), extension)?;
    let dir = workspace.scratch().join(extension);
    fs::create_dir_all(&dir)?;
    for lesson in &lessons {
        let program = dir.join(stem(lesson));
        cc::build(language, std::slice::from_ref(lesson), prefix, &program)?;
        run_lesson(workspace, lesson, without_settings(Command::new(program)))?;
    }
    Ok(lessons.len() as u64)
}

/// The numbered sources of one folder, in order.
fn lessons(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        let numbered = stem(&path).starts_with(|c: char| c.is_ascii_digit());
        if numbered && path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "no lesson in {}", dir.display());
    Ok(found)
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("")
}

/// Runs the program of one lesson and compares what it prints.
pub fn run_lesson(workspace: &Workspace, source: &Path, program: Command) -> Result<()> {
    let name = workspace.shown(source);
    let text = fs::read_to_string(source)?;
    let expected: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("// >"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    ensure!(!expected.is_empty(), "{name} does not say what it prints (lines that begin with `// > `)");
    let output = program.limit(LIMIT).capture()?;
    if !output.status.success() {
        bail!("{name} {}\n{}{}", ended(output.status), output.stdout, output.stderr);
    }
    let printed: Vec<&str> = output.stdout.lines().collect();
    let same = printed.len() == expected.len() && printed.iter().zip(&expected).all(|(p, e)| matches(e, p));
    ensure!(same, "{name} printed\n{}\nand not what it says:\n{}", output.stdout, expected.join("\n"));
    println!("  {name}: ok");
    Ok(())
}

/// The program without the HMMRT_* variables of whoever runs the check. What it chooses by chance is chosen by [`seed`].
pub fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HMMRT_") {
            command = command.env_remove(&name);
        }
    }
    if let Some(seed) = seed() {
        command = command.env(SEED, seed).env("PROPTEST_RNG_SEED", seed);
    }
    match skips::file() {
        Some(file) => command.env(skips::VARIABLE, file),
        None => command,
    }
}

const SEED: &str = "HMMRT_TEST_SEED";

/// The seed of the random tests: the caller's, else that of the runtime's files as they are committed, so that what has passed passes
/// again. `None` without git: theirs is the time then.
fn seed() -> Option<&'static str> {
    static ALL: OnceLock<Option<String>> = OnceLock::new();
    let of_files = || {
        let output = std::process::Command::new("git").args(["rev-parse", "HEAD:runtime"]).output().ok()?;
        let hash = String::from_utf8(output.stdout).ok()?;
        Some(u32::from_str_radix(hash.get(..8)?, 16).ok()?.to_string())
    };
    ALL.get_or_init(|| std::env::var(SEED).ok().or_else(of_files)).as_deref()
}

/// Whether `line` is `pattern`, in which `...` stands for any text.
fn matches(pattern: &str, line: &str) -> bool {
    match pattern.split_once("...") {
        None => pattern == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| matches(rest, &line[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn dots_stand_for_anything() {
        assert!(matches("12 faults", "12 faults"));
        assert!(matches("... faults in ... ms", "12 faults in 0.3 ms"));
        assert!(matches("pointer ...", "pointer 0x7f"));
        assert!(matches("...", ""));
        assert!(!matches("... faults", "12 fault"));
        assert!(!matches("faults", "faults "));
    }
}
