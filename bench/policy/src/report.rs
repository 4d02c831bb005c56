//! The table: each contender on each trace.

use crate::costs::Costs;
use crate::oracle::{floor, oracle};
use crate::reasons::{REASONS, Reason, Waits};
use crate::replay::{Outcome, contenders, ideal, replay};
use crate::trace::Trace;
use std::fmt::Write;

/// One trace's figures.
#[derive(Clone, Debug)]
pub struct Row {
    /// The trace's name.
    pub trace: String,
    /// What the program takes if nothing has to move.
    pub ideal: u64,
    /// The oracle.
    pub oracle: Outcome,
    /// The floor of who learns.
    pub floor: Outcome,
    /// The contenders by name; `None`: a launch was larger than the device.
    pub of: Vec<(&'static str, Option<Outcome>)>,
}

impl Row {
    /// Runs all.
    pub fn new(trace: &Trace, costs: &Costs) -> Row {
        let of = contenders().into_iter().map(|c| (c.name, replay(trace, costs, c).ok())).collect();
        Row {
            trace: trace.name.clone(),
            ideal: ideal(trace),
            oracle: oracle(trace, costs),
            floor: floor(trace, costs),
            of,
        }
    }

    /// A contender's outcome.
    pub fn outcome(&self, name: &str) -> Option<Outcome> {
        self.of.iter().find(|(n, _)| *n == name).and_then(|(_, o)| *o)
    }

    /// How long a contender's program stood still for memory, in nanoseconds.
    pub fn stall(&self, name: &str) -> Option<u64> {
        self.outcome(name).map(|o| o.total - self.ideal)
    }

    /// The same of the oracle.
    pub fn least(&self) -> u64 {
        self.oracle.total - self.ideal
    }

    /// The same of the floor.
    pub fn floor(&self) -> u64 {
        self.floor.total - self.ideal
    }

    /// The least stall of all but ours.
    pub fn best_other(&self) -> Option<u64> {
        self.of.iter().filter(|(n, _)| *n != "auto").filter_map(|(n, _)| self.stall(n)).min()
    }
}

/// The table as text.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<16} {:>8} {:<8} {:>10} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>7}",
        "trace",
        "own ms",
        "policy",
        "stall ms",
        "oracle x",
        "floor x",
        "best x",
        "to MiB",
        "home MiB",
        "faults",
        "evicted"
    );
    for row in rows {
        let line = |name: &str, outcome: Option<Outcome>, first: bool| {
            let head = if first {
                format!("{:<16} {:>8.1}", row.trace, row.ideal as f64 / 1e6)
            } else {
                " ".repeat(25)
            };
            let Some(o) = outcome else { return format!("{head} {name:<8} a launch does not fit\n") };
            let stall = o.total - row.ideal;
            let by = |other: u64| {
                if other == 0 { "-".to_owned() } else { format!("{:.2}", stall as f64 / other as f64) }
            };
            format!(
                "{head} {name:<8} {:>10.3} {:>8} {:>8} {:>8} {:>9.1} {:>8.1} {:>8} {:>7}\n",
                stall as f64 / 1e6,
                by(row.least()),
                by(row.floor()),
                row.best_other().map_or("-".to_owned(), by),
                o.bytes_out as f64 / f64::from(1 << 20),
                o.bytes_home as f64 / f64::from(1 << 20),
                o.faults,
                o.evictions
            )
        };
        text += &line("oracle", Some(row.oracle), true);
        text += &line("floor", Some(row.floor), false);
        row.of.iter().for_each(|(name, outcome)| text += &line(name, *outcome, false));
    }
    text
}

/// Ours over many seeds, a line a shape: the least, the middle and the worst ratio to the oracle and to the floor, and the worst, with
/// its seed, to the best of the others and to unified memory. `rows` come with their seeds, shape by shape.
pub fn summary(rows: &[(u64, Row)]) -> String {
    let mut text = String::from(
        "| trace | auto / oracle | auto / floor | worst / best other | worst / uvm |\n|---|---|---|---|---|\n",
    );
    for of in rows.chunk_by(|a, b| a.1.trace == b.1.trace) {
        let ratios = |by: &dyn Fn(&Row) -> Option<u64>| -> Vec<(f64, u64)> {
            let of = of.iter().filter_map(|(seed, row)| {
                let by = by(row).filter(|by| *by > 0)?;
                Some((row.stall("auto")? as f64 / by as f64, *seed))
            });
            let mut all: Vec<_> = of.collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            all
        };
        let spread = |all: Vec<(f64, u64)>| match all.as_slice() {
            [] => "-".to_owned(),
            all => format!("{:.2} {:.2} {:.2}", all[0].0, all[all.len() / 2].0, all[all.len() - 1].0),
        };
        let worst = |all: Vec<(f64, u64)>| match all.last() {
            None => "-".to_owned(),
            Some((ratio, seed)) => format!("{ratio:.2} (seed {seed})"),
        };
        text += &format!(
            "| {} | {} | {} | {} | {} |\n",
            of[0].1.trace,
            spread(ratios(&|r| Some(r.least()))),
            spread(ratios(&|r| Some(r.floor()))),
            worst(ratios(&Row::best_other)),
            worst(ratios(&|r| r.stall("uvm")))
        );
    }
    text
}

/// Why the contenders wait on a trace, in milliseconds and times: launches that come for the first or second time with what
/// follows them, and the others.
pub fn explain(row: &Row) -> String {
    let mut text = format!("{}: stall by reason, ms (times), first rounds + later\n{:<14}", row.trace, "");
    row.of.iter().for_each(|(name, _)| text += &format!("{name:>36}"));
    text.push('\n');
    let ms = |ns: u64| ns as f64 / 1e6;
    for (reason, name) in REASONS.into_iter().filter(|(reason, _)| *reason != Reason::Kernel) {
        text += &format!("{name:<14}");
        for (_, outcome) in &row.of {
            let cell = outcome.map_or("-".to_owned(), |o| {
                let [(first, once), (later, often)] = o.waits.map(|w| w.of(reason));
                format!("{:.3} ({once}) + {:.3} ({often})", ms(first), ms(later))
            });
            text += &format!("{cell:>36}");
        }
        text.push('\n');
    }
    // What is left of a stall is of kernels that begin later, less the waiting for them that other waits have made unneeded.
    text += &format!("{:<14}", "kernels, +-");
    for (_, outcome) in &row.of {
        let cell = outcome.map_or("-".to_owned(), |o| {
            let moves: u64 = o.waits.iter().map(Waits::moves).sum();
            format!("{:+.3}", (o.total - row.ideal) as f64 / 1e6 - ms(moves))
        });
        text += &format!("{cell:>36}");
    }
    text.push('\n');
    text
}
