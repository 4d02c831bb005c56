//! The records of the rows, one a line, and the table made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{BACKENDS, ENGINES};

/// How a row went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// The machine lacks what it needs.
    Skipped,
    /// The machine lacks the fault engine.
    NoEngine,
}

/// A line of a record.
#[derive(Clone, Debug)]
pub struct Row {
    /// The test's path: `family::row`.
    test: String,
    /// `A`, `B` or `-`.
    kind: String,
    /// How many cases of the kernel's it stands for.
    cases: usize,
    /// How it went.
    pub outcome: Outcome,
    why: String,
    differs: String,
}

impl Row {
    /// The test and why it was skipped, if it was.
    pub fn skipped(&self) -> Option<(&str, &str)> {
        (self.outcome == Outcome::Skipped).then_some((&*self.test, &*self.why))
    }

    /// Why there is no such fault engine, if there is none.
    pub fn missing_engine(&self) -> Option<&str> {
        (self.outcome == Outcome::NoEngine).then_some(&self.why)
    }
}

/// The rows of a record; a row is there once.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path).with_context(|| format!("no record {}", path.display()))?;
    let rows: Vec<Row> = text.lines().map(parse).collect::<Result<_>>()?;
    let names: BTreeSet<&str> = rows.iter().map(|row| row.test.as_str()).collect();
    if names.len() != rows.len() {
        bail!("{}: a row is there twice", path.display());
    }
    Ok(rows)
}

fn parse(line: &str) -> Result<Row> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [test, kind, cases, outcome, why, differs] = fields[..] else { bail!("not a record: {line:?}") };
    let outcome = match outcome {
        "passed" => Outcome::Passed,
        "skipped" => Outcome::Skipped,
        "no engine" => Outcome::NoEngine,
        _ => bail!("not an outcome: {outcome:?}"),
    };
    let cases = cases.parse().with_context(|| format!("not a number of cases: {line:?}"))?;
    Ok(Row { test: test.into(), kind: kind.into(), cases, outcome, why: why.into(), differs: differs.into() })
}

/// All rows, by family, with the engines that each has passed with: by backend.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<String, (Row, Cells)>,
    /// What was run, and could have been skipped by no row: backend and engine.
    run: BTreeSet<(&'static str, &'static str)>,
}

type Cells = BTreeMap<&'static str, BTreeSet<&'static str>>;

const HEAD: &str = include_str!("head.md");
const COLUMNS: &str =
    "| row | | host | cuda | hip | what differs from the kernel's case |\n|---|---|---|---|---|---|\n";

impl Table {
    /// A row that was run.
    pub fn add(&mut self, row: Row, backend: &'static str, engine: &'static str) {
        self.run.insert((backend, engine));
        let outcome = row.outcome;
        let (known, cells) = self.rows.entry(row.test.clone()).or_insert_with(|| (row.clone(), Cells::new()));
        // Skipped early, it may not have said how many there are.
        known.cases = known.cases.max(row.cases);
        if outcome == Outcome::Passed {
            cells.entry(backend).or_default().insert(engine);
        } else {
            known.outcome = outcome;
        }
    }

    /// What could not be run here is as the table says that there is.
    pub fn keep_what_was_not_run(&mut self, committed: &str) {
        let lines: BTreeMap<&str, Vec<&str>> = committed
            .lines()
            .filter_map(|line| {
                let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
                let name = cells[0].split(" (").next()?;
                (cells.len() == 6).then_some((name, cells))
            })
            .collect();
        for (row, cells) in self.rows.values_mut() {
            let Some(old) = lines.get(name(&row.test)) else { continue };
            for (i, (backend, _)) in BACKENDS.iter().enumerate() {
                for engine in ENGINES {
                    let said = old[2 + i].split(", ").any(|e| e == engine);
                    let unknown = !self.run.contains(&(*backend, engine)) || row.outcome == Outcome::Skipped;
                    if said && unknown {
                        cells.entry(backend).or_default().insert(engine);
                    }
                }
            }
        }
    }

    /// docs/CONFORMANCE.md.
    pub fn text(&self) -> String {
        let mut text = format!("{HEAD}\n{COLUMNS}");
        for (row, cells) in self.rows.values() {
            let cases = if row.cases == 1 { String::new() } else { format!(" ({})", row.cases) };
            let _ = write!(text, "| {}{cases} | {} ", name(&row.test), row.kind);
            for (backend, _) in BACKENDS {
                let passed = cells.get(backend);
                let all: Vec<&str> =
                    ENGINES.into_iter().filter(|e| passed.is_some_and(|p| p.contains(e))).collect();
                let _ = write!(text, "| {} ", if all.is_empty() { "-".to_owned() } else { all.join(", ") });
            }
            let differs = if row.differs.is_empty() { "nothing" } else { &row.differs };
            let _ = writeln!(text, "| {differs} |");
        }
        text
    }
}

/// `family::row` without the family.
fn name(test: &str) -> &str {
    test.rsplit("::").next().unwrap_or(test)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str) -> Row {
        parse(line).unwrap()
    }

    const OPEN: &str = "life::open_close\tA\t1\tpassed\t\t";
    const REMAP: &str = "remap::remap\tB\t24\tpassed\t\tadopted memory";

    #[test]
    fn what_passed_is_listed() {
        let mut table = Table::default();
        table.add(row(REMAP), "host", "segv");
        table.add(row(OPEN), "cuda", "uffd");
        table.add(row(OPEN), "cuda", "segv");
        let text = table.text();
        assert!(text.ends_with(
            "| open_close | A | - | segv, uffd | - | nothing |\n| remap (24) | B | segv | - | - | adopted memory |\n"
        ), "{text}");
    }

    #[test]
    fn what_is_not_here_is_no_difference_and_what_is_gone_is_one() {
        let mut full = Table::default();
        for engine in ENGINES {
            full.add(row(OPEN), "host", engine);
            full.add(row(REMAP), "host", engine);
        }
        let committed = full.text();
        let with = |rows: &[&str]| {
            let mut table = Table::default();
            rows.iter().for_each(|line| table.add(row(line), "host", "segv"));
            table.keep_what_was_not_run(&committed);
            table.text()
        };
        assert_eq!(with(&[OPEN, REMAP]), committed, "other engines are missing");
        assert_eq!(with(&[OPEN, "remap::remap\tB\t24\tskipped\tno room\tadopted memory"]), committed);
        assert_ne!(with(&[OPEN]), committed, "a row is missing");
        assert_ne!(with(&[OPEN, "remap::remap\tB\t23\tpassed\t\tadopted memory"]), committed);
        assert_ne!(with(&[OPEN, "remap::remap\tA\t24\tpassed\t\tadopted memory"]), committed);
        assert_ne!(with(&[OPEN, "remap::remap\tB\t24\tpassed\t\tother memory"]), committed);
        assert_ne!(with(&[OPEN, REMAP, "life::new\tA\t1\tpassed\t\t"]), committed);
    }

    #[test]
    fn records_are_checked() {
        assert!(parse("life::open_close\tA\t1\tfailed\t\t").is_err());
        assert!(parse("life::open_close\tA").is_err());
        let missing = row("life::open_close\tA\t1\tno engine\tno device\t");
        assert_eq!(missing.missing_engine(), Some("no device"));
    }
}
