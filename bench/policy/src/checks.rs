//! What checksums after launches would do to ours: the same traces without, with them after all launches that may change what
//! the host has, and after those for which they have been of use.

use crate::costs::Costs;
use crate::replay::{Checksums, Outcome, contenders, ideal, replay};
use crate::trace::{Event, Trace};

/// The ways, and their names in the table.
const WAYS: [Checksums; 3] = [Checksums::Off, Checksums::Always, Checksums::Learnt];

/// One trace's figures.
#[derive(Clone, Debug)]
pub struct Check {
    /// The trace's name.
    pub trace: String,
    /// What the program takes if nothing has to move, and the CPU waits for what a kernel may change.
    pub ideal: u64,
    /// Without, always, learnt.
    pub of: [Outcome; 3],
}

impl Check {
    /// Runs all three; `None` if a launch is larger than the device.
    pub fn new(trace: &Trace, costs: &Costs) -> Option<Check> {
        let auto = contenders().into_iter().find(|c| c.name == "auto")?;
        let mut of = [Outcome::default(); 3];
        for (outcome, checksums) in of.iter_mut().zip(WAYS) {
            *outcome = replay(trace, &Costs { checksums, ..*costs }, auto).ok()?;
        }
        let mut may = trace.clone();
        let launches = may.events.iter_mut().filter_map(|e| match e {
            Event::Launch { uses, .. } => Some(uses),
            Event::Cpu { .. } => None,
        });
        launches.flatten().for_each(|u| u.written = None);
        Some(Check { trace: trace.name.clone(), ideal: ideal(&may), of })
    }

    /// How long the program stood still, in nanoseconds.
    pub fn stall(&self, way: usize) -> u64 {
        self.of[way].total - self.ideal
    }

    /// The stall of a way as a share of that without.
    pub fn ratio(&self, way: usize) -> f64 {
        self.stall(way) as f64 / self.stall(0).max(1) as f64
    }
}

/// The table in Markdown's form, a line a shape: medians over the seeds, and the least and the worst ratio. `rows` come shape by
/// shape.
pub fn table(rows: &[Check]) -> String {
    let mut text = String::from(
        "| trace | stall ms: without, always, learnt | always / without | learnt / without | home MiB: without, always, learnt | hashing ms | host MiB held |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for of in rows.chunk_by(|a, b| a.trace == b.trace) {
        let median = |by: &dyn Fn(&Check) -> f64| sorted(of, by)[of.len() / 2];
        let each = |by: &dyn Fn(&Check, usize) -> f64| {
            [0, 1, 2].map(|way| format!("{:.1}", median(&|c| by(c, way)))).join(" ")
        };
        let spread = |way: usize| {
            let all = sorted(of, &|c| c.ratio(way));
            format!("{:.2} {:.2} {:.2}", all[0], all[all.len() / 2], all[all.len() - 1])
        };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        text += &format!(
            "| {} | {} | {} | {} | {} | {:.2} | {:.0} |\n",
            of[0].trace,
            each(&|c, way| c.stall(way) as f64 / 1e6),
            spread(1),
            spread(2),
            each(&|c, way| mib(c.of[way].bytes_home)),
            median(&|c| c.of[1].hashing as f64 / 1e6),
            median(&|c| mib(c.of[1].held)),
        );
    }
    text
}

fn sorted(of: &[Check], by: &dyn Fn(&Check) -> f64) -> Vec<f64> {
    let mut all: Vec<f64> = of.iter().map(by).collect();
    all.sort_by(f64::total_cmp);
    all
}
