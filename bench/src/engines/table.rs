//! What all children found, as one table in Markdown's form.

use crate::case::{Case, Way, What};
use crate::{Found, Who};
use hmmrt_bench::sample::{Samples, Stat};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// All samples by row, way and side.
#[derive(Default)]
pub struct Table {
    samples: BTreeMap<(Case, Way, Who), Samples>,
    missing: BTreeMap<(Way, Who), String>,
    machine: Option<String>,
}

/// One figure, for JSON.
#[derive(Serialize)]
pub struct Row {
    #[serde(flatten)]
    case: Case,
    way: Way,
    who: Who,
    stat: Stat,
}

const WAYS: [(Way, &str); 3] = [(Way::Segv, "segv"), (Way::Uffd, "uffd"), (Way::UffdThread, "uffd-thread")];

impl Table {
    /// What one child found.
    pub fn add(&mut self, who: Who, way: Way, found: Found) {
        self.machine = found.machine.or(self.machine.take());
        if let Some(why) = found.missing {
            self.missing.insert((way, who), why);
        }
        for (case, samples) in found.cases {
            let all = self.samples.entry((case, way, who)).or_default();
            samples.into_iter().for_each(|value| all.push(value));
        }
    }

    fn stat(&self, case: Case, way: Way, who: Who) -> Option<Stat> {
        self.samples.get(&(case, way, who)).map(Samples::stat)
    }

    /// All figures.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(&(case, way, who), samples): (&_, &Samples)| Row { case, way, who, stat: samples.stat() };
        self.samples.iter().map(row).collect()
    }

    /// The heading and the tables.
    pub fn text(&self, rounds: u32, quick: bool) -> String {
        let mut out = self.machine.clone().unwrap_or_default();
        let kind = if quick { ", --quick: the figures mean little" } else { "" };
        let _ = writeln!(out, "medians of all touches of {rounds} rounds, [10th .. 90th percentile]{kind}\n");
        out += "Microseconds a touch: libhmmrt, the bare loop, and the ratio of the two\n\n";
        let head = WAYS.map(|(_, name)| format!("{name} | bare | ratio |")).join(" ");
        let _ = writeln!(out, "| touch | granule | threads | {head}");
        out += "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
        let mut cases: Vec<Case> = self.samples.keys().map(|&(case, ..)| case).collect();
        cases.dedup();
        for case in cases.iter().filter(|case| case.what <= What::LetWrite) {
            let _ = write!(out, "| {} | {} | {} |", name(case.what), size(case.granule), case.threads);
            for (way, _) in WAYS {
                // The bare loop's fill knows no reads.
                let floor = if case.what == What::Read { What::Write } else { case.what };
                let bare = self.stat(Case { what: floor, ..*case }, way, Who::Bare);
                let ours = self.stat(*case, way, Who::Ours);
                let ratio = match (&ours, &bare) {
                    (Some(o), Some(b)) if b.median > 0.0 => format!("{:.2}", o.median / b.median),
                    _ => "-".to_owned(),
                };
                let _ = write!(out, " {} | {} | {ratio} |", micro(ours), micro(bare));
            }
            out += "\n";
        }
        out += "\n| libhmmrt | segv | uffd | uffd-thread |\n|---|---|---|---|\n";
        for case in cases.iter().filter(|case| case.what > What::LetWrite) {
            let _ = write!(out, "| {} |", name(case.what));
            for (way, _) in WAYS {
                let show = self.stat(*case, way, Who::Ours).map(|s| match case.what {
                    What::Round => {
                        format!("{:.1} ms [{:.1} .. {:.1}]", s.median / 1e6, s.p10 / 1e6, s.p90 / 1e6)
                    }
                    What::RoundBytes => format!("{:.0} MiB", s.median / f64::from(1 << 20)),
                    _ => format!("{:.0}", s.median),
                });
                let _ = write!(out, " {} |", show.unwrap_or_else(|| "-".to_owned()));
            }
            out += "\n";
        }
        for ((way, who), why) in &self.missing {
            let way = WAYS.iter().find(|(w, _)| w == way).map_or("", |(_, name)| name);
            let who = if *who == Who::Bare { "the bare loop of " } else { "" };
            let _ = writeln!(out, "\nNot here: {who}{way}: {why}");
        }
        out
    }
}

fn name(what: What) -> &'static str {
    match what {
        What::Read => "read of what is away",
        What::Write => "write to what is away",
        What::PutOnly => "put in place, nothing copied",
        What::Copied => "copied into place by the kernel",
        What::LetWrite => "write to what is on both sides",
        What::Round => "64 MiB: the device writes, the CPU reads, the device reads",
        What::RoundBytes => "bytes that this copies",
        What::Mappings => "mappings added when every other page of a block is home",
    }
}

fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

fn micro(stat: Option<Stat>) -> String {
    stat.map_or_else(
        || "-".to_owned(),
        |s| format!("{:.1} [{:.1} .. {:.1}]", s.median / 1e3, s.p10 / 1e3, s.p90 / 1e3),
    )
}
