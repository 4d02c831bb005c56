//! The table of README.md is what the lab gives.

use hmmrt_policy_lab::checks::{Check, table};
use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::report::Row;
use hmmrt_policy_lab::traces::{generate, partly_changed};

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// Whether a cell has these nanoseconds as milliseconds, rounded to one place in whichever way.
fn is(cell: &str, ns: Option<u64>) -> bool {
    match (cell.parse::<f64>(), ns) {
        (Ok(ms), Some(ns)) => (ms - ns as f64 / 1e6).abs() < 0.0501,
        (Err(_), None) => cell == "does not fit",
        _ => false,
    }
}

#[test]
fn the_table_of_seed_1_is_current() {
    let text = include_str!("../README.md");
    let (_, part) = text.split_once("## Seed 1, ").expect("the table");
    let mut lines = part.lines().skip(1);
    let names = cells(lines.next().unwrap());
    let (mut rows, mut checked) = (0, 0);
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let cells = cells(line);
        let row = Row::new(&generate(cells[0], 1).expect("a trace of that name"), &Costs::default());
        rows += 1;
        for (name, cell) in names.iter().zip(&cells) {
            let now = match *name {
                "own time" => Some(row.ideal),
                "oracle" => Some(row.least()),
                "auto" | "demand" | "chunk" | "mirror" | "uvm" => row.stall(name),
                _ => continue,
            };
            assert!(is(cell, now), "{name} of {}: {cell}, and {now:?} ns says the lab", cells[0]);
            checked += 1;
        }
    }
    assert!(rows >= 13 && checked == 7 * rows, "{checked} figures in {rows} rows");
}

#[test]
fn the_table_of_checksums_is_current() {
    let text = include_str!("../README.md");
    let traces = partly_changed().flat_map(|name| (1..=24).filter_map(move |seed| generate(name, seed)));
    let checks: Vec<_> = traces.filter_map(|t| Check::new(&t, &Costs::default())).collect();
    for line in table(&checks).lines() {
        assert!(text.contains(line), "cargo xtask lab --checksums says now:\n{line}");
    }
}
