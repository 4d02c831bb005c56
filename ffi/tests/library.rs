//! libhmmrt.so as the loader sees it: its name, what it needs, what it exports, and that it is never unmapped.

mod common;
#[path = "../../doubles/harness/hardened.rs"]
mod hardened;

use std::collections::BTreeSet;
use std::process::Command;
use std::{env, fs};

use common::{prefix, scratch};

fn readelf(options: &[&str]) -> String {
    let mut command = Command::new("readelf");
    command.args(options).arg(prefix().root.join("lib/libhmmrt.so.0")).env("LC_ALL", "C");
    let output = command.output().expect("readelf, of the linker's package");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What stands in brackets in the dynamic section's lines of a kind.
fn dynamic(kind: &str) -> Vec<String> {
    let all = readelf(&["--dynamic", "--wide"]);
    let lines = all.lines().filter(|line| line.contains(kind));
    lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
}

#[test]
fn it_has_its_name() {
    assert_eq!(dynamic("(SONAME)"), ["libhmmrt.so.0"]);
}

#[test]
fn it_stays_loaded() {
    let all = readelf(&["--dynamic", "--wide"]);
    let flags = all.lines().find(|line| line.contains("(FLAGS_1)")).expect("flags");
    assert!(flags.contains("NODELETE"), "{flags}");
}

#[test]
fn it_is_hardened() {
    hardened::check(&prefix().root.join("lib/libhmmrt.so.0"));
}

/// No driver, no toolkit: it loads everywhere.
#[test]
fn it_needs_only_the_c_library() {
    let needed = dynamic("(NEEDED)");
    assert!(needed.iter().any(|name| name == "libc.so.6"), "{needed:?}");
    for name in &needed {
        let known = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"].contains(&name.as_str());
        assert!(known || name.starts_with("ld-linux"), "{name} is needed, of {needed:?}");
    }
}

/// Static TLS is scarce in a program that loads the library late.
#[test]
fn it_needs_no_static_tls() {
    let all = readelf(&["--dynamic", "--wide"]);
    assert!(all.contains("(FLAGS"), "{all}");
    assert!(!all.contains("STATIC_TLS"), "{all}");
}

#[test]
fn it_exports_the_header_and_no_more() {
    let symbols = readelf(&["--dyn-syms", "--wide"]);
    let exported: BTreeSet<_> = symbols
        .lines()
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["Num:", ..] => None,
            [_, _, _, _, bind, _, section, name] if bind != "LOCAL" && section != "UND" => Some(name),
            _ => None,
        })
        // Without these the runtime could not keep its handler in front of the program's own.
        .filter(|name| !["sigaction", "signal", "bsd_signal", "sysv_signal", "__sysv_signal"].contains(name))
        .collect();
    let header = fs::read_to_string(prefix().root.join("include/hmmrt.h")).expect("the header");
    let declared: BTreeSet<_> = header
        .lines()
        .filter(|line| line.ends_with(");") && !line.starts_with("typedef") && !line.starts_with("//"))
        .filter_map(|line| {
            let name = line.split_once('(')?.0.rsplit([' ', '*']).next()?;
            name.starts_with("hmm_").then_some(name)
        })
        .collect();
    assert!(declared.contains("hmm_migrate") && declared.contains("hmm_malloc"), "{declared:?}");
    assert_eq!(exported, declared);
}

/// What the pkg-config file says a program needs that is linked with libhmmrt.a is what rustc says.
#[test]
fn the_static_library_needs_what_pkg_config_says() {
    let dir = scratch("empty");
    let source = dir.join("empty.rs");
    fs::write(&source, "").expect("a source");
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--crate-type", "staticlib", "--print", "native-static-libs", "-o"]);
    let output = command.arg(dir.join("libempty.a")).arg(source).output().expect("rustc");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let libs = said.lines().find_map(|line| line.strip_prefix("note: native-static-libs: ")).expect(&said);
    assert_eq!(prefix().libs_private, libs.split_whitespace().collect::<Vec<_>>());
}
