//! What each row does first: its test starts itself again in a process of its own, with two devices and a time limit, and notes
//! how that went where `HMMRT_TEST_RECORD` says, for the table of docs/CONFORMANCE.md.

use crate::common::{self, case, case_command};
use hmmrt::{Error, raw};
use std::fmt::Display;
use std::io::Write;
use std::process::exit;

/// How a row relates to the kernel's case.
#[derive(Clone, Copy)]
pub enum Kind {
    /// As it is.
    Same,
    /// With a difference.
    Changed,
    /// There is no such case in user space; the test is of what is nearest to it.
    Nearest,
}

/// What a row's process says to the one that started it.
const CASES: &str = "row cases: ";
const SKIPPED: &str = "row skipped: ";
const LEFT_OUT: &str = "row case left out: ";
const ABSENT: &str = "row without engine: ";

/// A row that runs in this process.
pub struct Row;

impl Row {
    /// How many cases of the kernel's it stands for.
    pub fn cases(&self, n: usize) {
        eprintln!("{CASES}{n}");
    }

    /// This machine lacks what one of the cases needs: it is not counted.
    pub fn left_out(&self, what: &str) {
        eprintln!("{LEFT_OUT}{what}");
    }

    /// This machine lacks what the row needs: it ends here.
    pub fn skip(&self, why: impl Display) -> ! {
        say_and_leave(SKIPPED, &why)
    }
}

fn say_and_leave(what: &str, why: &dyn Display) -> ! {
    eprintln!("{what}{why}");
    exit(0)
}

/// Begins the row of the test `test` (its path in this program). `None`: it has run, in a process of its own.
pub fn row(test: &str, kind: Kind, differs: &str) -> Option<Row> {
    row_with(test, kind, differs, &[])
}

/// [`row`], with settings of its own.
pub fn row_with(test: &str, kind: Kind, differs: &str, env: &[(&str, &str)]) -> Option<Row> {
    if case().as_deref() == Some(test) {
        common::end_if_it_hangs();
        match raw::init(Some(common::config())).and_then(|()| raw::device_count()) {
            Ok(_) => return Some(Row),
            Err(Error::Unsupported { what: "HMMRT_FAULT", why }) => say_and_leave(ABSENT, &why),
            Err(e) => panic!("{e}"),
        }
    }
    let mut command = case_command(test, test);
    command.env("HMMRT_HOST_DEVICES", "2").env("RUST_BACKTRACE", "0").envs(env.iter().copied());
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}\n{said}{}", out.status, String::from_utf8_lossy(&out.stdout));
    assert!(String::from_utf8_lossy(&out.stdout).contains("running 1 test"), "{test} is no test");
    let after = |prefix: &str| said.lines().find_map(|l| l.strip_prefix(prefix));
    let (outcome, why) = match (after(SKIPPED), after(ABSENT)) {
        (Some(why), _) => ("skipped", why),
        (_, Some(why)) => ("no engine", why),
        _ => ("passed", ""),
    };
    if outcome != "passed" {
        eprintln!("{test}: {outcome}: {why}");
    }
    said.lines().filter(|l| l.starts_with(LEFT_OUT)).for_each(|l| eprintln!("{test}: {l}"));
    let kind = match kind {
        Kind::Same => "A",
        Kind::Changed => "B",
        Kind::Nearest => "-",
    };
    record(&[test, kind, after(CASES).unwrap_or("1"), outcome, why, differs]);
    None
}

fn record(fields: &[&str]) {
    let Some(path) = std::env::var_os("HMMRT_TEST_RECORD") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    // One write: several tests run at once.
    file.write_all((fields.join("\t") + "\n").as_bytes()).unwrap();
}
