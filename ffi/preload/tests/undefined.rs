//! The programs of the calls, of mappings and of malloc's rules under UBSan: the library's headers' and their own mistakes end them. What
//! the sanitizer calls at run time passes by the library, as everything else.

#[allow(dead_code, reason = "each test program uses its own part")]
mod common;

use common::{compile_with, passes, preloaded, run};
use std::path::Path;
use std::process::Command;

/// With the sanitizer's code in it gcc warns of more.
const FLAGS: [&str; 3] = ["-fsanitize=undefined", "-fno-sanitize-recover=all", "-Wno-error"];

type Settings = &'static [(&'static str, &'static str)];

/// Whether mappings are adopted, too.
const ADOPT: (&str, &str) = ("HMMRT_ADOPT_MMAP", "1");

/// Programs of `c/` that end in seconds, whether they want a folder, and what they are run with beside memory that moves at random.
const PROGRAMS: &[(&str, bool, Settings)] = &[
    ("rules", false, &[]),
    ("kernel", true, &[]),
    ("print", true, &[]),
    ("async", true, &[]),
    ("masks", true, &[]),
    ("addresses", false, &[]),
    ("answers", true, &[]),
    ("contexts", true, &[]),
    ("faulty", false, &[]),
    ("lent", true, &[]),
    ("maps", false, &[ADOPT, ("HMMRT_CHAOS", "0")]), // ten times as long while memory moves
    ("maps_together", false, &[ADOPT]),
    ("own_malloc", true, &[]),
    ("overflow", false, &[]),
    ("ranges", true, &[ADOPT]),
    ("rings", false, &[]),
    ("sends", false, &[]),
    ("threads", true, &[]),
    ("waits", false, &[]),
    ("wrapped_malloc", false, &[]),
    #[cfg(target_arch = "x86_64")]
    ("trap", true, &[("HMMRT_SYSCALLS", "trap")]),
];

/// Whether the compiler has it.
fn is_there() -> bool {
    let cc = std::env::var("CC").ok().filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".to_owned());
    let output = Command::new(cc).arg("-print-file-name=libubsan.so").output().expect("a C compiler");
    let there = output.stdout.contains(&b'/');
    assert!(there || std::env::var_os("CI").is_none(), "libubsan is not installed, and CI needs it");
    there
}

#[test]
fn no_behaviour_is_undefined() {
    if !is_there() {
        return common::skipped("no_behaviour_is_undefined", "no libubsan");
    }
    // The sanitizer is on, and says so with the library before the program.
    let (wrong, _) = compile_with("undefined", &FLAGS);
    let output = run(&mut preloaded(&wrong, &[]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("signed integer overflow"), "{said}");
    let chaos = [("HMMRT_MIN_SIZE", "16K"), ("HMMRT_CHAOS", "1")];
    for (name, has_folder, more) in PROGRAMS {
        let (program, dir) = compile_with(name, &FLAGS);
        let arguments: &[&Path] = if *has_folder { &[&dir] } else { &[] };
        passes(&program, arguments, &[&chaos[..], more].concat());
    }
}
