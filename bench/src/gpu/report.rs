//! Rows of the GPU benchmark: ours beside a peer, all samples kept. As JSON (through serde) and as a table. Times are
//! nanoseconds inside, bandwidths bytes per nanosecond (which is GB/s). A figure of a driver's double says so in place of
//! a verdict: there is no GPU behind it.

use crate::Outcome;
use hmmrt_bench::sample::Samples;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What a row's numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Nanoseconds,
    GigabytesPerSecond,
    Bytes,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds if value >= 1e6 => format!("{:.1} ms", value / 1e6),
            Self::Nanoseconds if value >= 1e4 => format!("{:.1} us", value / 1e3),
            Self::Nanoseconds if value >= 1e3 => format!("{:.2} us", value / 1e3),
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::GigabytesPerSecond => format!("{value:.2} GB/s"),
            Self::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// All samples of one thing, with their median and spread.
#[derive(Clone, Serialize, Deserialize)]
pub struct Figure {
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
    pub samples: Vec<f64>,
}

impl Figure {
    fn of(samples: &Samples) -> Self {
        let stat = samples.stat();
        Self { median: stat.median, p10: stat.p10, p90: stat.p90, samples: samples.values().to_vec() }
    }

    fn show(&self, unit: Unit) -> String {
        match self.samples.len() {
            0 | 1 => unit.show(self.median),
            _ => format!("{} [{} .. {}]", unit.show(self.median), unit.show(self.p10), unit.show(self.p90)),
        }
    }
}

/// A peer's samples while a row is measured, or why there are none: after its first error it is not tried again.
pub struct Peer {
    name: &'static str,
    samples: Result<Samples, String>,
}

impl Peer {
    /// No sample yet.
    pub const fn new(name: &'static str) -> Self {
        Self { name, samples: Ok(Samples::new()) }
    }

    /// Not measured, and why.
    pub fn none(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, samples: Err(why.into()) }
    }

    /// One more turn, unless an earlier one failed; the first is thrown away, as ours is.
    pub fn turn(&mut self, keep: bool, measure: impl FnOnce() -> Outcome<f64>) {
        let Ok(samples) = &mut self.samples else { return };
        match measure() {
            Ok(value) if keep => samples.push(value),
            Ok(_) => {}
            Err(error) => self.samples = Err(error.to_string()),
        }
    }

    /// Several samples of one turn.
    pub fn turns(&mut self, keep: bool, measure: impl FnOnce() -> Outcome<Vec<f64>>) {
        let Ok(samples) = &mut self.samples else { return };
        match measure() {
            Ok(values) if keep => values.into_iter().for_each(|value| samples.push(value)),
            Ok(_) => {}
            Err(error) => self.samples = Err(error.to_string()),
        }
    }

    /// The median so far, if there is a sample.
    pub fn median(&self) -> Option<f64> {
        self.samples.as_ref().ok().map(Samples::stat).filter(|stat| stat.samples > 0).map(|stat| stat.median)
    }
}

/// What ours should reach.
#[derive(Clone, Copy)]
pub enum Target {
    /// At least this share of the peer's figure.
    AtLeast(f64),
    /// At most this share of it.
    AtMost(f64),
    /// At most so many nanoseconds more than the peer.
    Above(f64),
    /// At most so many bytes.
    Bytes(f64),
}

impl Target {
    fn text(self) -> String {
        match self {
            Self::AtLeast(share) => format!(">= {share:.2}"),
            Self::AtMost(share) => format!("<= {share:.2}"),
            Self::Above(ns) => format!("<= peer + {}", Unit::Nanoseconds.show(ns)),
            Self::Bytes(bytes) => format!("<= {}", Unit::Bytes.show(bytes)),
        }
    }

    fn met(self, ours: f64, peer: Option<f64>) -> Option<bool> {
        match self {
            Self::AtLeast(share) => peer.map(|peer| ours >= share * peer),
            Self::AtMost(share) => peer.map(|peer| ours <= share * peer),
            Self::Above(ns) => peer.map(|peer| ours <= peer + ns),
            Self::Bytes(bytes) => Some(ours <= bytes),
        }
    }
}

/// One line of the table.
#[derive(Clone, Serialize, Deserialize)]
pub struct Row {
    /// The part of the benchmark that it comes from.
    pub group: String,
    pub what: String,
    pub unit: Unit,
    pub ours: Figure,
    /// What ours is held against.
    pub peer_name: String,
    pub peer: Option<Figure>,
    /// Why there is no peer.
    pub no_peer: Option<String>,
    /// Ours by peer, of the medians.
    pub ratio: Option<f64>,
    pub target: Option<String>,
    pub predicted: Option<String>,
    /// "met", "missed", "double" (there is no GPU), or "-".
    pub verdict: String,
    pub note: String,
}

impl Row {
    /// Ours against a peer.
    pub fn new(what: impl Into<String>, unit: Unit, ours: &Samples, peer: &Peer) -> Self {
        let ours = Figure::of(ours);
        let (figure, no_peer) = match &peer.samples {
            Ok(samples) if samples.values().is_empty() => (None, Some("not measured".to_owned())),
            Ok(samples) => (Some(Figure::of(samples)), None),
            Err(why) => (None, Some(why.clone())),
        };
        let ratio = figure.as_ref().filter(|f| f.median > 0.0).map(|f| ours.median / f.median);
        Self {
            group: String::new(),
            what: what.into(),
            unit,
            ours,
            peer_name: peer.name.to_owned(),
            peer: figure,
            no_peer,
            ratio,
            target: None,
            predicted: None,
            verdict: "-".to_owned(),
            note: String::new(),
        }
    }

    /// What it should reach.
    pub fn target(mut self, target: Target) -> Self {
        let met = target.met(self.ours.median, self.peer.as_ref().map(|peer| peer.median));
        self.target = Some(target.text());
        self.verdict = match met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "no peer",
        }
        .to_owned();
        self
    }

    /// What was expected before there was a GPU to try.
    pub fn predicted(mut self, text: &str) -> Self {
        self.predicted = Some(text.to_owned());
        self
    }

    /// A line below the table.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.note = text.into();
        self
    }

    /// Whether it has a value, and a peer's or the reason why not.
    pub fn has_value(&self) -> bool {
        let good =
            |figure: &Figure| !figure.samples.is_empty() && figure.samples.iter().all(|v| v.is_finite());
        good(&self.ours) && self.peer.as_ref().map_or(self.no_peer.is_some(), good)
    }
}

/// All rows as a table in Markdown's form, each note below it.
pub fn table(rows: &[Row]) -> String {
    let none = || "-".to_owned();
    let head = ["what", "ours", "peer", "ratio", "target", "predicted", "verdict"].map(str::to_owned);
    let mut lines = vec![head];
    for row in rows {
        let peer = match (&row.peer, &row.no_peer) {
            (Some(figure), _) => format!("{}: {}", row.peer_name, figure.show(row.unit)),
            (None, _) => format!("{}: no peer", row.peer_name),
        };
        lines.push([
            row.what.clone(),
            row.ours.show(row.unit),
            peer,
            row.ratio.map_or_else(none, |ratio| format!("{ratio:.2}")),
            row.target.clone().unwrap_or_else(none),
            row.predicted.clone().unwrap_or_else(none),
            row.verdict.clone(),
        ]);
    }
    let widths: [usize; 7] =
        std::array::from_fn(|c| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0));
    lines.insert(1, widths.map(|width| "-".repeat(width)));
    let mut out = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(out, "| {cell:width$} ");
        }
        out += "|\n";
    }
    for row in rows {
        if let Some(why) = &row.no_peer {
            let _ = writeln!(out, "  {}, against {}: no peer: {why}", row.what, row.peer_name);
        }
        if !row.note.is_empty() {
            let _ = writeln!(out, "  {}: {}", row.what, row.note);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::new();
        values.iter().for_each(|&v| samples.push(v));
        samples
    }

    fn peer(values: &[f64]) -> Peer {
        Peer { name: "peer", samples: Ok(samples(values)) }
    }

    #[test]
    fn verdicts() {
        let verdict = |ours: f64, of: &Peer, target| {
            Row::new("row", Unit::Nanoseconds, &samples(&[ours]), of).target(target).verdict
        };
        assert_eq!(verdict(0.9, &peer(&[1.0]), Target::AtLeast(0.9)), "met");
        assert_eq!(verdict(0.8, &peer(&[1.0]), Target::AtLeast(0.9)), "missed");
        assert_eq!(verdict(5.0, &peer(&[10.0]), Target::AtMost(0.5)), "met");
        assert_eq!(verdict(5.1, &peer(&[10.0]), Target::AtMost(0.5)), "missed");
        assert_eq!(verdict(12.0, &peer(&[10.0]), Target::Above(2.0)), "met");
        assert_eq!(verdict(12.1, &peer(&[10.0]), Target::Above(2.0)), "missed");
        assert_eq!(verdict(1.0, &Peer::none("peer", "none"), Target::Bytes(2.0)), "met");
        assert_eq!(verdict(1.0, &Peer::none("peer", "none"), Target::AtLeast(0.9)), "no peer");
    }

    #[test]
    fn a_peer_that_fails_is_not_tried_again() {
        let mut peer = Peer::new("peer");
        peer.turn(false, || Ok(9.0));
        peer.turn(true, || Ok(1.0));
        assert_eq!(peer.median(), Some(1.0));
        peer.turn(true, || Err("out of order".into()));
        peer.turn(true, || panic!("tried again"));
        let row = Row::new("row", Unit::Count, &samples(&[2.0]), &peer);
        assert!(row.peer.is_none() && row.no_peer.as_deref() == Some("out of order") && row.has_value());
        assert!(table(&[row]).contains("no peer: out of order"));
    }

    #[test]
    fn a_row_without_samples_has_no_value() {
        assert!(!Row::new("row", Unit::Count, &samples(&[]), &peer(&[1.0])).has_value());
        assert!(!Row::new("row", Unit::Count, &samples(&[f64::NAN]), &peer(&[1.0])).has_value());
        assert!(Row::new("row", Unit::Count, &samples(&[0.0]), &peer(&[1.0])).has_value());
    }
}
