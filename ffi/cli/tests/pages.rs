//! Help, completions and the manual page: made from one description, none may lack an option.

mod common;
#[path = "../../../doubles/harness/hardened.rs"]
mod hardened;

use common::{done, good, hmmrt};
use std::collections::BTreeSet;
use std::fs::OpenOptions;

/// Every long option of every subcommand, as the help shows them, without dashes.
fn options() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for task in ["run", "info", "report", "completions", "man"] {
        let help = good(hmmrt().args([task, "--help"]));
        let words = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
        // An option whose value may be left out: `--stats[=<FILE>]`.
        let clean =
            words.map(|word| word.trim_end_matches([',', ';']).split('[').next().unwrap_or("").to_owned());
        found.extend(clean.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase())));
    }
    for name in [
        "backend", "fault", "min-size", "stats", "trace", "chaos", "log", "preload", "force", "json", "top",
        "help",
    ] {
        assert!(found.contains(name), "--{name} in {found:?}");
    }
    found
}

#[test]
fn the_manual_page_has_every_option() {
    let page = good(hmmrt().arg("man"));
    let plain = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "");
    assert!(page.contains(".TH hmmrt 1"), "{page}");
    for option in options() {
        assert!(plain.contains(&format!("--{option}")), "--{option} in {plain}");
    }
    for words in [
        "HMMRT RUN",
        "HMMRT INFO",
        "HMMRT REPORT",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "HMMRT_BACKEND",
        "125",
    ] {
        assert!(plain.contains(words), "{words} in {plain}");
    }
}

#[test]
fn completions_have_every_option() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = good(hmmrt().args(["completions", shell]));
        for option in options() {
            let name = if shell == "fish" { format!("-l {option}") } else { format!("--{option}") };
            assert!(script.contains(&name), "{name} for {shell}");
        }
        // The two others know no values.
        for value in ["uffd-thread", "cuda", "debug"] {
            assert!(
                script.contains(value) || ["elvish", "powershell"].contains(&shell),
                "{value} for {shell}"
            );
        }
    }
}

#[test]
fn statuses() {
    assert_eq!(good(hmmrt().arg("--version")), format!("hmmrt {}\n", env!("CARGO_PKG_VERSION")));
    for (args, status) in [
        (&["--help"][..], 0),
        (&["run", "--help"], 0),
        (&["--nonsense"], 2),
        (&["info", "--nonsense"], 2),
        (&["run", "--nonsense"], 125),
        (&["completions", "tcsh"], 2),
        (&[], 2),
    ] {
        assert_eq!(done(hmmrt().args(args)).status, status, "{args:?}");
    }
}

#[test]
fn output_that_can_not_be_written_is_an_error() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = hmmrt();
    let child = command.arg("man").stdout(full).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("hmmrt: cannot write the output"), "{said}");
}

#[test]
fn the_command_is_hardened() {
    hardened::check(std::path::Path::new(env!("CARGO_BIN_EXE_hmmrt")));
}
