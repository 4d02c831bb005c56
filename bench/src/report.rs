//! The rows and floors of one run, as text tables and (through serde) as JSON. Times are nanoseconds inside,
//! bandwidths bytes per nanosecond (which is GB/s).

use crate::machine::Machine;
use crate::sample::Stat;
use serde::Serialize;
use std::fmt::Write;

/// What a row's numbers are.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Nanoseconds,
    GigabytesPerSecond,
    Percent,
}

impl Unit {
    /// With a scale that people read easily.
    fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds if value >= 1e6 => format!("{:.1} ms", value / 1e6),
            Self::Nanoseconds if value >= 1e4 => format!("{:.1} us", value / 1e3),
            Self::Nanoseconds if value >= 1e3 => format!("{:.2} us", value / 1e3),
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::GigabytesPerSecond => format!("{value:.2} GB/s"),
            Self::Percent => format!("{value:.4} %"),
        }
    }

    fn show_stat(self, stat: &Stat) -> String {
        if stat.samples == 1 {
            return self.show(stat.median);
        }
        format!("{} [{} .. {}]", self.show(stat.median), self.show(stat.p10), self.show(stat.p90))
    }
}

/// One figure of a floor.
#[derive(Serialize)]
pub struct Floor {
    pub what: String,
    pub unit: Unit,
    pub stat: Stat,
}

/// One line of the table: ours beside its floor.
#[derive(Serialize)]
pub struct Row {
    pub what: String,
    pub unit: Unit,
    /// Which floor, and its figure.
    pub floor: Option<(String, Stat)>,
    pub ours: Stat,
    /// Ours by floor, of the medians.
    pub ratio: Option<f64>,
    pub target: Option<String>,
    /// Whether the target is reached; none where the row has no target.
    pub met: Option<bool>,
    pub note: String,
}

impl Row {
    pub fn new(what: impl Into<String>, unit: Unit, ours: Stat) -> Self {
        let what = what.into();
        Self { what, unit, floor: None, ours, ratio: None, target: None, met: None, note: String::new() }
    }

    pub fn floor(mut self, which: &str, stat: Stat) -> Self {
        self.ratio = (stat.median > 0.0).then(|| self.ours.median / stat.median);
        self.floor = Some((which.to_owned(), stat));
        self
    }

    pub fn target(mut self, text: impl Into<String>, met: bool) -> Self {
        self.target = Some(text.into());
        self.met = Some(met);
        self
    }

    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.note = text.into();
        self
    }
}

/// Memory of one size that went to the device and came back: nanoseconds each way.
#[derive(Serialize)]
pub struct Migration {
    pub bytes: usize,
    /// In huge pages, or in small ones.
    pub huge: bool,
    pub to_device: Stat,
    pub home: Stat,
}

impl Migration {
    /// Milliseconds and bandwidth of both ways, medians.
    fn line(&self) -> Vec<String> {
        let pages = if self.huge { "2 MiB" } else { "4 KiB" };
        let mut cells = vec![crate::rows::size(self.bytes), pages.to_owned()];
        for way in [&self.to_device, &self.home] {
            cells.push(format!("{:.3}", way.median / 1e6));
            cells.push(format!("{:.2}", self.bytes as f64 / way.median));
        }
        cells
    }
}

/// Everything that one run of the benchmark found.
#[derive(Serialize)]
pub struct Report {
    machine: Machine,
    quick: bool,
    runs: usize,
    floors: Vec<Floor>,
    rows: Vec<Row>,
    migrations: Vec<Migration>,
    /// Rows that could not be measured, and why: an error of the runtime, a wrong byte or a wrong state.
    failures: Vec<String>,
}

impl Report {
    pub fn new(machine: Machine, quick: bool, runs: usize) -> Self {
        Self {
            machine,
            quick,
            runs,
            floors: Vec::new(),
            rows: Vec::new(),
            migrations: Vec::new(),
            failures: Vec::new(),
        }
    }

    pub fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn floor(&mut self, what: impl Into<String>, unit: Unit, stat: Stat) {
        self.floors.push(Floor { what: what.into(), unit, stat });
    }

    pub fn migration(&mut self, migration: Migration) {
        self.migrations.push(migration);
    }

    pub fn failure(&mut self, text: String) {
        self.failures.push(text);
    }

    pub fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    pub fn heading(&self) -> String {
        let kind = if self.quick { ", --quick: small sizes, the figures mean little" } else { "" };
        format!("{}medians of {} runs, [10th .. 90th percentile]{kind}\n", self.machine.line(), self.runs)
    }

    /// The table of floors, then the table of rows with a line of notes under each row that has one.
    pub fn tables(&self) -> String {
        let mut out = String::new();
        if !self.floors.is_empty() {
            let lines = self.floors.iter().map(|f| vec![f.what.clone(), f.unit.show_stat(&f.stat)]);
            out += "\n";
            out += &grid(&["floor", "figure"], lines.collect(), &[]);
        }
        if !self.rows.is_empty() {
            let lines = self.rows.iter().map(|row| {
                let none = || "-".to_owned();
                vec![
                    row.what.clone(),
                    row.floor
                        .as_ref()
                        .map_or_else(none, |(name, s)| format!("{name}: {}", row.unit.show_stat(s))),
                    row.unit.show_stat(&row.ours),
                    row.ratio.map_or_else(none, |r| format!("{r:.2}")),
                    row.target.clone().unwrap_or_else(none),
                    row.met.map_or_else(none, |met| if met { "yes" } else { "NO" }.to_owned()),
                ]
            });
            let notes: Vec<&str> = self.rows.iter().map(|row| row.note.as_str()).collect();
            out += "\n";
            out += &grid(&["what", "floor", "ours", "ratio", "target", "met"], lines.collect(), &notes);
        }
        if !self.migrations.is_empty() {
            let lines = self.migrations.iter().map(Migration::line);
            out += "\n";
            let head = ["hmm_migrate of", "in pages of", "to the device, ms", "GB/s", "home, ms", "GB/s"];
            out += &grid(&head, lines.collect(), &[]);
        }
        for failure in &self.failures {
            let _ = writeln!(out, "FAILED: {failure}");
        }
        out
    }
}

/// Columns as wide as their widest cell, in Markdown's table form; a note goes below its line.
fn grid(head: &[&str], lines: Vec<Vec<String>>, notes: &[&str]) -> String {
    let head: Vec<String> = head.iter().map(|&h| h.to_owned()).collect();
    let width = |c: usize| lines.iter().chain([&head]).map(|l| l[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    let mut put = |cells: &[String]| {
        for (cell, &w) in cells.iter().zip(&widths) {
            let _ = write!(out, "| {cell:w$} ");
        }
        out += "|\n";
    };
    put(&head);
    put(&widths.iter().map(|&w| "-".repeat(w)).collect::<Vec<_>>());
    for line in &lines {
        put(line);
    }
    for (line, note) in lines.iter().zip(notes).filter(|(_, note)| !note.is_empty()) {
        let _ = writeln!(out, "  {}: {note}", line[0]);
    }
    out
}
