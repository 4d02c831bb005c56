//! The engine benchmark works: `--quick` runs to the end, and has each row for each engine that this machine has. Nothing
//! here looks at a time.

use std::process::Command;

#[test]
fn quick_has_every_row_of_every_engine() {
    let json = std::env::temp_dir().join(format!("hmmrt-engines-{}.json", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_hmmrt-engine-bench"))
        .args(["--quick", "--json"])
        .arg(&json)
        .output()
        .expect("the benchmark starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read_to_string(&json).expect("the JSON file is there");
    std::fs::remove_file(&json).expect("the JSON file can be removed");
    let rows: serde_json::Value = serde_json::from_str(&written).expect("the JSON file is JSON");
    let rows = rows.as_array().expect("a list");
    for way in ["segv", "uffd", "uffd-thread"] {
        // Of userfaultfd there are two bare ways to fill: moved pages and copied ones.
        let bare = if way == "segv" { 3 } else { 4 };
        for (who, kinds, more) in [("bare", bare, 0), ("ours", 3, 3)] {
            let name = if who == "bare" { format!("the bare loop of {way}:") } else { format!("{way}:") };
            let found = rows.iter().filter(|row| row["way"] == way && row["who"] == who);
            let missing = text.contains(&format!("Not here: {name}"));
            assert!(way != "segv" || !missing, "page protection is everywhere");
            // Three granules, one and two threads.
            assert_eq!(found.count(), if missing { 0 } else { kinds * 6 + more }, "{way} {who}\n{text}");
        }
    }
}
