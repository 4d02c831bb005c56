//! `cargo xtask conformance`: the kernel's own HMM cases (`runtime/tests/hmm/`), with every fault engine that this machine
//! has, on the host backend and over the doubles of the GPU drivers; and docs/CONFORMANCE.md, which is made of the outcome.
//!
//! Called by `main`, and by `check`, which fails when the committed table is not what the run says. What this machine can't run is
//! taken from the committed table, so it is no difference. A row that fails ends the run.

mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{course, doubles};
use table::{Outcome, Table};

/// The fault engines, in the order of the table.
const ENGINES: [&str; 3] = ["segv", "uffd", "uffd-thread"];
/// The backends, in the order of its columns, and the variable with the driver of those that have one.
const BACKENDS: [(&str, Option<&str>); 3] =
    [("host", None), ("cuda", Some("HMMRT_CUDA_LIBRARY")), ("hip", Some("HMMRT_HIP_LIBRARY"))];

/// Rows that need what not every machine gives.
const MAY_BE_SKIPPED: [&str; 1] = ["files::anon_write_hugetlbfs"];

/// Runs all, and compares or, with `write`, writes the table. Returns how many rows passed in all runs together.
pub fn run(workspace: &Workspace, write: bool) -> Result<u64> {
    let path = workspace.root.join("docs/CONFORMANCE.md");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let mut table = Table::default();
    let (mut passed, mut missing, mut skipped) = (0, Vec::new(), Vec::new());
    for engine in ENGINES {
        for (backend, driver) in BACKENDS {
            let record = one(workspace, engine, backend, driver)?;
            let rows = table::read(&record)?;
            if let Some(why) = rows.iter().find_map(|row| row.missing_engine()) {
                println!("  this machine has no {engine}: {why}");
                missing.push(engine);
                break;
            }
            for (test, why) in rows.iter().filter_map(|row| row.skipped()) {
                println!("    skipped: {test}: {why}");
                if !MAY_BE_SKIPPED.contains(&test) {
                    skipped.push(format!("{test} ({engine} on {backend}: {why})"));
                }
            }
            passed += rows.iter().filter(|row| row.outcome == Outcome::Passed).count() as u64;
            rows.into_iter().for_each(|row| table.add(row, backend, engine));
        }
    }
    if workspace.ci && !skipped.is_empty() {
        bail!("skipped, and CI needs them: {}", skipped.join(", "));
    }
    if passed == 0 {
        bail!("no row has passed");
    }
    table.keep_what_was_not_run(&committed);
    let text = table.text();
    println!(
        "  {passed} rows passed; not here: {}",
        if missing.is_empty() { "nothing".into() } else { missing.join(", ") }
    );
    if text == committed {
        return Ok(passed);
    }
    if write {
        fs::write(&path, text).with_context(|| format!("writing {}", workspace.shown(&path)))?;
        println!("  written: {}", workspace.shown(&path));
        return Ok(passed);
    }
    let new = text.lines().find(|line| !committed.lines().any(|old| old == *line));
    let old = committed.lines().find(|line| !text.lines().any(|new| new == *line));
    bail!(
        "{} is not what the tests say: `cargo xtask conformance --write` writes it anew.\n  there: {}\n  now:   {}",
        workspace.shown(&path),
        old.unwrap_or("-"),
        new.unwrap_or("-")
    )
}

/// One run of the rows. The file with their records.
fn one(workspace: &Workspace, engine: &str, backend: &str, driver: Option<&str>) -> Result<PathBuf> {
    let dir = workspace.scratch().join("conformance");
    fs::create_dir_all(&dir)?;
    let record = dir.join(format!("{backend}-{engine}.tsv"));
    if record.exists() {
        fs::remove_file(&record)?;
    }
    println!("  {engine} on {backend}");
    let double = match driver {
        Some(name) => Some((name, doubles::build(workspace, backend)?)),
        None => None,
    };
    let run = |which: &[&str]| tests(workspace, which, engine, backend, &record, double.as_ref());
    run(&["--package", "hmmrt", "--test", "hmm"])?;
    run(&["--package", "hmmrt-preload", "--test", "hmm_gup"])?;
    Ok(record)
}

fn tests(
    workspace: &Workspace,
    which: &[&str],
    engine: &str,
    backend: &str,
    record: &Path,
    double: Option<&(&str, PathBuf)>,
) -> Result<()> {
    let args = ["test", "--quiet"].iter().chain(which).copied().chain(workspace.locked());
    let mut command = course::without_settings(workspace.cargo(args))
        .env("HMMRT_TEST_RECORD", record)
        .env("HMMRT_FAULT", engine)
        .env("HMMRT_BACKEND", backend);
    if let Some((name, library)) = double {
        command = command.env(name, library);
    }
    command.run()
}
