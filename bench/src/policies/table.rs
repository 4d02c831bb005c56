//! All runs as one table in Markdown's form.

use crate::programs::Program;
use crate::{Run, Way, name};
use hmmrt_bench::sample::{Samples, Stat};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Default)]
struct Cell {
    ms: Samples,
    mib: Samples,
    faults: Samples,
}

/// All samples by program and way.
#[derive(Default)]
pub struct Table {
    cells: BTreeMap<(Program, Way), Cell>,
    machine: String,
}

/// One program under one policy, for JSON.
#[derive(Serialize)]
pub struct Row {
    program: Program,
    way: Way,
    ms: Stat,
    mib: Stat,
    faults: Stat,
}

impl Table {
    /// One run more.
    pub fn add(&mut self, program: Program, way: Way, run: Run) {
        let cell = self.cells.entry((program, way)).or_default();
        cell.ms.push(run.ns / 1e6);
        cell.mib.push(run.bytes as f64 / f64::from(1 << 20));
        cell.faults.push(run.faults as f64);
        self.machine = run.machine;
    }

    /// All figures.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(&(program, way), cell): (&(Program, Way), &Cell)| Row {
            program,
            way,
            ms: cell.ms.stat(),
            mib: cell.mib.stat(),
            faults: cell.faults.stat(),
        };
        self.cells.iter().map(row).collect()
    }

    /// The heading and the table.
    pub fn text(&self, runs: u32, quick: bool) -> String {
        let mut out = self.machine.clone();
        let kind = if quick { ", --quick: the figures mean little" } else { "" };
        let _ = writeln!(out, "medians of {runs} runs, [10th .. 90th percentile]{kind}\n");
        out +=
            "| program | way | ms | by that of `chunk` | MiB copied | faults |\n|---|---|---|---|---|---|\n";
        for row in self.rows() {
            let chunk = self.cells.get(&(row.program, Way::Chunk)).map(|c| c.ms.stat().median);
            let ratio = chunk.map_or_else(|| "-".to_owned(), |c| format!("{:.2}", row.ms.median / c));
            let (program, way, ms) = (name(row.program), name(row.way), row.ms);
            let _ = writeln!(
                out,
                "| {program} | {way} | {:.1} [{:.1} .. {:.1}] | {ratio} | {:.0} | {:.0} |",
                ms.median, ms.p10, ms.p90, row.mib.median, row.faults.median
            );
        }
        out
    }
}
