//! Recording cases of the test program that includes this, and one that makes many events.

use crate::common::{Block, case_command};
use hmmrt::raw;
use hmmrt::trace::Trace;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::Ordering::Relaxed;

/// A file of this process's own, which is not there yet.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("trace-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join(name);
    let _ = fs::remove_file(&file);
    file
}

/// Runs a case with a trace in `file`.
pub fn record(case: &str, file: &Path, env: &[(&str, &str)]) -> Output {
    let mut command = case_command("cases", case);
    command.env("HMMRT_BACKEND", "host").env("HMMRT_TRACE", file).envs(env.iter().copied());
    command.output().unwrap()
}

#[track_caller]
pub fn recorded(case: &str, file: &Path, env: &[(&str, &str)]) -> Trace {
    let out = record(case, file, env);
    assert!(out.status.success(), "{case}: {:?}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    Trace::read(file).unwrap()
}

/// Many events, and right answers.
pub fn many() {
    let b = Block::new(8192);
    for i in 0..3000 {
        b.word(0).store(i, Relaxed);
        raw::migrate(b.ptr, 4096, 0).unwrap();
        assert_eq!(b.word(0).load(Relaxed), i);
    }
    if std::env::var_os("HMMRT_CASE_LONG").is_some() {
        for i in 0..100_000 {
            drop(Block::new(4096 * (i % 3 + 1)));
        }
    }
    eprintln!("survived");
}
