//! The GPU benchmark where there is no GPU, and the results that are stored. Its runs on the driver doubles are a step of
//! `cargo xtask check`.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn bench(args: &[&str], backend: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hmmrt-gpu-bench"));
    command.args(args).env("HMMRT_BACKEND", backend);
    command.output().expect("the benchmark starts")
}

#[test]
fn without_a_gpu_it_says_so() {
    for args in [&["--card"][..], &["--quick"]] {
        let output = bench(args, "host");
        assert_eq!(output.status.code(), Some(77));
        assert!(output.stdout.is_empty());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.trim(), "hmmrt-gpu-bench: HMMRT_BACKEND=host: this benchmark is about GPUs");
    }
}

#[test]
fn an_unknown_group_is_refused() {
    let output = bench(&["--only", "nothing"], "host");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("first-touch-32m"),
        "the message lists the groups"
    );
}

#[test]
fn stored_results_are_whole_runs_on_cards() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    for entry in std::fs::read_dir(dir).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        let value: Value = serde_json::from_str(&text).expect("the file is JSON");
        let bench = &value["bench"];
        assert_eq!(bench["card"]["double"], false, "{}: of a double", path.display());
        assert_eq!(bench["quick"], false, "{}: --quick", path.display());
        assert!(bench["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{}: no rows", path.display());
    }
}
