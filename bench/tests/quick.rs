//! The benchmark itself works: `--quick` runs to the end and prints every row. Nothing here looks at a time.

use std::process::Command;

const ROWS: [&str; 12] = [
    "mremap of a huge 2 MiB block out",
    "CPU reads 64 MiB from the device",
    "one 2 MiB chunk home",
    "write fault on a both page, 2 MiB granule",
    "4 KiB fault, neighbours stay",
    "prefetch 64 MiB to the device",
    "acquire + release, 16 x 64 KiB",
    "fork, 16 MiB on the device only",
    "hmm_malloc + hmm_free of 1 MiB",
    "table memory, 64 MiB on the device",
    "512 KiB       ",
    "hmm_migrate of",
];

#[test]
fn quick_prints_every_row() {
    let json = std::env::temp_dir().join(format!("hmmrt-bench-{}.json", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--quick", "--runs", "1", "--json"])
        .arg(&json)
        .output()
        .expect("bench starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    for row in ROWS {
        assert!(
            text.lines().any(|line| line.starts_with('|') && line.contains(row)),
            "no row {row:?} in\n{text}"
        );
    }
    let written = std::fs::read_to_string(&json).expect("the JSON file is there");
    std::fs::remove_file(&json).expect("the JSON file can be removed");
    let value: serde_json::Value = serde_json::from_str(&written).expect("the JSON file is JSON");
    assert!(value["migrations"].as_array().is_some_and(|all| all.len() == 12), "{written}");
    assert!(value["rows"].as_array().is_some_and(|rows| rows.len() >= ROWS.len() - 3), "{written}");
}

#[test]
fn unknown_row_is_refused() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_bench")).args(["--only", "nothing"]).output().expect("bench starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cpu-read"), "the message lists the rows");
}
