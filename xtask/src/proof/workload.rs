//! A workload: the head of its file in `proof/workloads/`, which `proof/driver.sh` describes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// What stands in the head of a workload's file.
pub struct Workload {
    /// The file's name without `.sh`.
    pub name: String,
    /// One line for people.
    pub what: String,
    /// Programs that must be installed.
    pub needs: Vec<String>,
    /// Where they come from.
    pub packages: String,
    /// A run that takes longer has failed.
    pub limit: Duration,
    /// Whether `--quick` has it.
    pub quick: bool,
    /// Whether `--overhead` has it.
    pub overhead: bool,
}

impl Workload {
    /// All of a folder, by name.
    pub fn all(dir: &Path) -> Result<Vec<Workload>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "sh") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let text = fs::read_to_string(&path)?;
                found.push(Workload::parse(name, &text).with_context(|| path.display().to_string())?);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn parse(name: String, text: &str) -> Result<Workload> {
        let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let field = |key: &str| head.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let has = |flag: &str| head.contains(&flag);
        Ok(Workload {
            name,
            what: field("what").context("no line `# what:`")?.to_owned(),
            needs: field("needs").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            packages: field("packages").context("no line `# packages:`")?.to_owned(),
            limit: Duration::from_secs(field("seconds").context("no line `# seconds:`")?.parse()?),
            quick: has("quick"),
            overhead: has("overhead"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Workload;

    #[test]
    fn a_head_is_read_and_nothing_behind_it() {
        let text = "# what: a thing\n# needs: a b\n# packages: c\n# seconds: 7\n# quick\nwork() { :; }\n# overhead\n";
        let w = Workload::parse("x".into(), text).unwrap();
        assert_eq!((w.what.as_str(), w.needs.len(), w.limit.as_secs()), ("a thing", 2, 7));
        assert!(w.quick && !w.overhead);
        assert!(Workload::parse("x".into(), "# what: a thing\n").is_err());
    }
}
