//! What tests have left out, because of the machine: they pass, and say so in a file.
//!
//! Called by `check`, whose steps are programs of their own: the file's name is in their environment.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// Names the file.
pub const VARIABLE: &str = "HMMRT_TEST_SKIPPED";

static FILE: OnceLock<PathBuf> = OnceLock::new();

/// An empty file, for all that runs from here on.
pub fn begin(workspace: &Workspace) -> Result<()> {
    let file = FILE.get_or_init(|| workspace.scratch().join("skipped"));
    fs::create_dir_all(workspace.scratch())?;
    fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))
}

/// The file, if there is one: this program's, or that of the program whose step this is.
pub fn file() -> Option<PathBuf> {
    FILE.get().cloned().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from))
}

/// Says what was left out, each once.
pub fn tell() {
    let text = FILE.get().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let all = of(&text);
    if !all.is_empty() {
        println!("left out by tests, which passed:");
    }
    all.iter().for_each(|line| println!("  {line}"));
}

fn of(text: &str) -> Vec<String> {
    let mut all: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    text.lines().filter_map(|line| line.split_once('\t')).for_each(|it| *all.entry(it).or_default() += 1);
    let times = |n: usize| if n == 1 { String::new() } else { format!(" ({n} times)") };
    all.into_iter().map(|((test, why), n)| format!("{test}: {why}{}", times(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn each_is_said_once() {
        let text = "a::b\tno gcc\nc::d\tno root\na::b\tno gcc\nnonsense\n";
        assert_eq!(of(text), ["a::b: no gcc (2 times)", "c::d: no root"]);
        assert!(of("").is_empty());
    }
}
