//! What tests do not run on this machine: said, and kept, since nobody sees what a test writes that passes. Included by the test
//! programs of other packages, too.

use std::fmt::Display;
use std::io::Write;

/// Says that a test, or a part of it, is not run, and why; a line in the file that `HMMRT_TEST_SKIPPED` names, too.
#[allow(dead_code, reason = "not every test program leaves something out")]
pub fn skipped(test: &str, why: impl Display) {
    let why = why.to_string().trim().replace('\n', " ");
    eprintln!("skipped: {test}: {why}");
    let Some(path) = std::env::var_os("HMMRT_TEST_SKIPPED") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("the record");
    // One write: several tests run at once.
    let line = format!("{}::{test}\t{why}\n", env!("CARGO_CRATE_NAME"));
    file.write_all(line.as_bytes()).expect("the record");
}
