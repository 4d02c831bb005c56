//! The results file: what all parts of the benchmark found, with the machine and the card, as one JSON object under the
//! key "bench". The other keys of the file are the suite's (gpu/run.sh) and stay. It is written anew after each part, so
//! that a run that is cut off leaves what it has.

use crate::Outcome;
use crate::report::{Row, table};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The card and its driver.
#[derive(Clone, Serialize, Deserialize)]
pub struct Card {
    pub name: String,
    pub backend: String,
    /// Not a GPU: one of the doubles in doubles/.
    pub double: bool,
    /// As the driver gives it.
    pub driver_version: i32,
    pub memory_total: u64,
    pub memory_free: u64,
    pub same_address: bool,
}

impl Card {
    /// Its name as part of a file's name.
    pub fn slug(&self) -> String {
        let lower = self.name.to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    }
}

/// What one part found: one process.
#[derive(Serialize, Deserialize)]
pub struct Part {
    pub card: Card,
    /// Processor, kernel, memory, settings.
    pub machine: Value,
    /// The same for people.
    pub heading: String,
    pub rows: Vec<Row>,
    /// What could not be measured, and why: an error of the runtime, a wrong byte or a wrong state.
    pub failures: Vec<String>,
}

/// What all parts found.
#[derive(Clone, Serialize, Deserialize)]
pub struct Bench {
    /// Of this object; 1.
    pub format: u32,
    /// `git describe` when the benchmark was built.
    pub commit: String,
    pub quick: bool,
    /// The parts that were to be measured.
    pub groups: Vec<String>,
    /// Every part was started and has ended by itself.
    pub complete: bool,
    pub card: Option<Card>,
    pub machine: Value,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub heading: String,
    pub rows: Vec<Row>,
    pub failures: Vec<String>,
}

impl Bench {
    pub fn new(quick: bool, groups: Vec<String>) -> Self {
        Self {
            format: 1,
            commit: env!("HMMRT_BENCH_COMMIT").to_owned(),
            quick,
            groups,
            complete: false,
            card: None,
            machine: Value::Null,
            heading: String::new(),
            rows: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Takes over what a part found.
    pub fn add(&mut self, part: Part) {
        if self.card.is_none() {
            (self.card, self.machine, self.heading) = (Some(part.card), part.machine, part.heading);
        }
        self.rows.extend(part.rows);
        self.failures.extend(part.failures);
    }

    /// Everything, for people.
    pub fn show(&self) -> String {
        let mut out = self.heading.clone();
        let quick = if self.quick { ", --quick: small sizes, the figures mean little" } else { "" };
        let _ = writeln!(out, "{}; medians, [10th .. 90th percentile]{quick}", self.commit);
        if self.card.as_ref().is_some_and(|card| card.double) {
            out += "A DOUBLE OF THE DRIVER, NO GPU: the figures say that the benchmark works, and nothing else.\n";
        }
        let _ = write!(out, "\n{}", table(&self.rows));
        for failure in &self.failures {
            let _ = writeln!(out, "FAILED: {failure}");
        }
        if !self.complete {
            out += "NOT COMPLETE: the run was cut off.\n";
        }
        out
    }

    /// Puts it into the file. Written beside and renamed: a reader never sees half of it.
    pub fn write(&self, file: &Path) -> Outcome {
        let mut all = read(file).unwrap_or_default();
        all.insert("bench".to_owned(), serde_json::to_value(self)?);
        let fresh = file.with_extension("new");
        fs::write(&fresh, serde_json::to_string_pretty(&all)? + "\n")
            .and_then(|()| fs::rename(&fresh, file))
            .map_err(|error| format!("{}: {error}", file.display()).into())
    }
}

/// The object in a results file.
fn read(file: &Path) -> Outcome<Map<String, Value>> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()).into())
}

/// The benchmark's part of a results file.
pub fn bench(file: &Path) -> Outcome<Bench> {
    let mut all = read(file)?;
    let bench = all.remove("bench").ok_or("the benchmark has not been run")?;
    Ok(serde_json::from_value(bench)?)
}

/// What is not as it should be in a results file, in words; nothing in one of a run without fault.
pub fn complaints(file: &Path) -> Outcome<Vec<String>> {
    let all = read(file)?;
    let mut found = Vec::new();
    match bench(file) {
        Err(error) => found.push(format!("bench: {error}")),
        Ok(bench) => {
            found.extend(bench.failures.iter().map(|failure| format!("bench: {failure}")));
            if !bench.complete {
                found.push("bench: not complete".to_owned());
            }
            for row in bench.rows.iter().filter(|row| !row.has_value()) {
                found.push(format!("bench: {}, against {}: no value", row.what, row.peer_name));
            }
            for group in
                bench.groups.iter().filter(|group| !bench.rows.iter().any(|row| row.group == **group))
            {
                found.push(format!("bench: {group}: no row"));
            }
        }
    }
    let Some(suite) = all.get("suite") else { return Ok(found) };
    if suite["complete"] != json!(true) {
        found.push("suite: not complete".to_owned());
    }
    for part in ["probe", "tests", "tours"] {
        if part == "probe" && suite["backend"] == json!("hip") {
            continue; // there is none
        }
        let Some(runs) = suite[part].as_array().filter(|runs| !runs.is_empty()) else {
            found.push(format!("suite: {part}: none was run"));
            continue;
        };
        for run in runs {
            let name = run["name"].as_str().unwrap_or("?");
            if run["status"] != json!(0) {
                found.push(format!("suite: {part}: {name}: status {}", run["status"]));
            }
            let count = |key: &str| run[key].as_u64();
            if part == "tests" && (count("passed").unwrap_or(0) == 0 || count("failed") != Some(0)) {
                found.push(format!("suite: {name}: {} passed, {} failed", run["passed"], run["failed"]));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("hmmrt-results-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn what_the_suite_wrote_stays() {
        let path = file("stays", r#"{"suite": {"complete": true}, "bench": 1}"#);
        Bench::new(true, vec![]).write(&path).unwrap();
        assert_eq!(read(&path).unwrap()["suite"]["complete"], json!(true));
        assert!(bench(&path).unwrap().quick);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_missing_is_complained_of() {
        let suite = r#"{"suite": {"complete": true, "probe": [{"name": "probe", "status": 0}],
            "tests": [{"name": "a", "status": 0, "passed": 3, "failed": 0}], "tours": [{"name": "c", "status": 0}]}}"#;
        let path = file("complaints", suite);
        assert_eq!(complaints(&path).unwrap(), ["bench: the benchmark has not been run"]);
        let mut bench = Bench::new(true, vec!["fault".to_owned()]);
        bench.complete = true;
        bench.write(&path).unwrap();
        assert_eq!(complaints(&path).unwrap(), ["bench: fault: no row"]);
        fs::write(
            &path,
            suite
                .replace("\"passed\": 3", "\"passed\": 0")
                .replace("\"c\", \"status\": 0", "\"c\", \"status\": 124"),
        )
        .unwrap();
        assert_eq!(complaints(&path).unwrap().len(), 3);
        fs::write(&path, "{").unwrap();
        assert!(complaints(&path).is_err());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn slugs_are_file_names() {
        let card = |name: &str| Card {
            name: name.to_owned(),
            backend: String::new(),
            double: false,
            driver_version: 0,
            memory_total: 0,
            memory_free: 0,
            same_address: false,
        };
        assert_eq!(card("NVIDIA H200").slug(), "nvidia-h200");
        assert_eq!(card("  AMD Radeon(TM) / gfx1100 ").slug(), "amd-radeon-tm-gfx1100");
    }
}
