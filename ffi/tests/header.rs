//! `include/hmmrt.h` is what cbindgen makes of the sources. `HMMRT_BLESS=1` rewrites it.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// In the order in which the header has them.
const SOURCES: [&str; 11] = [
    "life",
    "status",
    "last_error",
    "types",
    "config",
    "memory",
    "device",
    "stream",
    "movement",
    "kernel",
    "look",
];

fn generate(root: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(root.join("src").join(name).with_extension("rs"));
    }
    let mut text = Vec::new();
    builder.generate().expect("cbindgen").write(&mut text);
    String::from_utf8(text).expect("UTF-8")
}

/// The lines that differ, with their numbers: enough to see what happened.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = (old.len() - same).min(new.len() - same);
    let tail = (0..rest).take_while(|i| old[old.len() - 1 - i] == new[new.len() - 1 - i]).count();
    let mut text = String::new();
    for (sign, lines) in [('-', &old), ('+', &new)] {
        for (number, line) in lines[same..lines.len() - tail].iter().enumerate() {
            writeln!(text, "{sign}{:4} {line}", same + number + 1).expect("a string");
        }
    }
    text
}

#[test]
fn header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../include/hmmrt.h");
    let new = generate(root);
    if env::var_os("HMMRT_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &new).expect("include/hmmrt.h");
        return;
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        old == new,
        "include/hmmrt.h is not what the sources say; rewrite it with\n    \
         HMMRT_BLESS=1 cargo test -p hmmrt-ffi --test header\n{}",
        diff(&old, &new)
    );
}
