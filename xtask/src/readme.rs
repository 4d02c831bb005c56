//! README.md says what is so: its C and C++ programs run against the installed library, its table has every setting.
//!
//! Called by `check`. The Rust program in it is a documentation test of examples/.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cc::{self, Language};
use crate::command::Command;
use crate::course::without_settings;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(300);

/// Checks all of it; a language without a compiler is left out. Returns how many checks there were.
pub fn run(workspace: &Workspace, prefix: &Path) -> Result<u64> {
    let text = fs::read_to_string(workspace.root.join("README.md"))?;
    let config = fs::read_to_string(workspace.root.join("runtime/src/config.rs"))?;
    for name in settings(&config) {
        ensure!(text.contains(&format!("| `{name}` |")), "README.md's table of settings lacks {name}");
    }
    let dir = workspace.scratch().join("readme");
    fs::create_dir_all(&dir)?;
    let mut count = 1;
    for (language, tag) in [(Language::C, "c"), (Language::Cpp, "cpp")] {
        let programs = blocks(&text, tag);
        ensure!(!programs.is_empty(), "README.md has no ```{tag} program");
        if cc::compiler(language).is_none() {
            continue;
        }
        for (number, program) in programs.iter().enumerate() {
            let source = dir.join(format!("{number}.{tag}"));
            fs::write(&source, program)?;
            let binary = dir.join(format!("{tag}-{number}"));
            cc::build(language, &[source], prefix, &binary)?;
            without_settings(Command::new(&binary)).limit(LIMIT).run()?;
            count += 1;
        }
    }
    Ok(count)
}

/// The names of all variables that the runtime reads.
fn settings(config: &str) -> BTreeSet<&str> {
    let names = config.split('"').filter(|text| text.starts_with("HMMRT_"));
    names.filter(|text| text.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')).collect()
}

/// The contents of the fenced blocks with this tag.
fn blocks(text: &str, tag: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (inside, line.strip_prefix("```")) {
            (true, Some(_)) => inside = false,
            (false, Some(rest)) if rest == tag => {
                inside = true;
                found.push(String::new());
            }
            (true, None) => {
                if let Some(block) = found.last_mut() {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{blocks, settings};

    #[test]
    fn only_the_blocks_with_the_tag() {
        let text = "a\n```c\nint x;\n```\nb\n```cpp\nint y;\n```\n```c\nint z;\n```\n";
        assert_eq!(blocks(text, "c"), ["int x;\n", "int z;\n"]);
        assert_eq!(blocks(text, "cpp"), ["int y;\n"]);
    }

    #[test]
    fn settings_are_found() {
        let names = settings("set(\"HMMRT_LOG\", x); // HMMRT_NOT\nset(\"HMMRT_SPARE\", \"HMMRT_x\")");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["HMMRT_LOG", "HMMRT_SPARE"]);
    }
}
