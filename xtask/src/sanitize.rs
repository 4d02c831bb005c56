//! The C programs of the tests and of the course with undefined behaviour made visible: compiled with gcc's AddressSanitizer
//! and UBSan, and under Valgrind. Each run begins with programs that are wrong, which must be caught: else nothing was on.
//!
//! Called by `check`. The library is the installed one; only the programs are instrumented, and what they are given back is
//! checked where they touch it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::command::{Command, Output};
use crate::course::without_settings;
use crate::workspace::Workspace;

/// For one program; all of them take some 10 s, and as long under Valgrind.
const LIMIT: Duration = Duration::from_secs(360);

const TESTS: [&str; 8] = [
    "api.c",
    "after_shutdown.c",
    "contract.c",
    "edges.c",
    "forked.c",
    "refused_calls.c",
    "refused_memory.c",
    "signals.c",
];

/// What each tool must find, and what it then says.
const MISTAKES: [(&str, &str, &str); 4] = [
    (
        "past_the_end",
        "volatile char *p = malloc(10 * n); p[n + 9] = 1; free((char *)p);",
        "heap-buffer-overflow",
    ),
    (
        "used_after_free",
        "volatile char *p = malloc(10 * n); free((char *)p); p[n] = 1;",
        "heap-use-after-free",
    ),
    ("overflow", "volatile int x = 0x7fffffff; x += n;", "signed integer overflow"),
    ("misaligned", "char b[16] = {0}; return *(int *)(b + n);", "misaligned address"),
];

/// AddressSanitizer and UBSan. Returns how many programs.
pub fn sanitizers(workspace: &Workspace, prefix: &Path) -> Result<u64> {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    for (name, body, said) in MISTAKES {
        let program = build(workspace, prefix, &mistake(workspace, name, body)?, &flags)?;
        let output = asan(&program).capture()?;
        let caught = !output.status.success() && output.stderr.contains(said);
        ensure!(caught, "{name}.c is wrong and was not caught: the sanitizers are not on\n{}", output.stderr);
    }
    let programs = programs(workspace)?;
    for source in &programs {
        well(workspace, source, asan(&build(workspace, prefix, source, &flags)?).capture()?)?;
    }
    Ok((MISTAKES.len() + programs.len()) as u64)
}

/// The library handles SIGSEGV itself, and a program's own handler must be the only other; the library's threads and the
/// heap's memory are not leaks.
fn asan(program: &Path) -> Command {
    without_settings(Command::new(program))
        .env("HMMRT_BACKEND", "host")
        .env("ASAN_OPTIONS", "handle_segv=0:use_sigaltstack=0:detect_leaks=0:allocator_may_return_null=1")
        .limit(LIMIT)
}

/// Valgrind's memcheck. Its paging works: the touch of a page that is away is a signal in there, too. But memcheck knows
/// only what the kernel was last told, and calls each such touch an invalid access of an anonymous segment: those, in the
/// heap's own addresses, are what this lets pass, and nothing else. Valgrind 3.19 does not know mremap's MREMAP_DONTUNMAP and
/// refuses it, so a chunk that comes home is copied, can't be put in place, and is copied again into its place: programs that
/// count what is copied (api.c) are left out, and so are those that start by fork. Returns how many programs.
pub fn valgrind(workspace: &Workspace, prefix: &Path) -> Result<u64> {
    let wrong = "volatile char *p = malloc(10); p[n + 9] = 1; if (p[1] == 2) return 1; free((char *)p);";
    let source = mistake(workspace, "memcheck", wrong)?;
    let reports = errors(&memcheck(&build(workspace, prefix, &source, &[])?)?.stderr);
    let has = |what: &str| reports.iter().any(|report| report.contains(what));
    let caught = has("Invalid write of size 1") && has("uninitialised");
    ensure!(caught, "memcheck.c is wrong twice and was not caught: {reports:#?}");
    let names = ["ffi/tests/c/after_shutdown.c", "ffi/tests/c/contract.c", "ffi/tests/c/refused_memory.c"];
    for name in names {
        let source = workspace.root.join(name);
        let output = memcheck(&build(workspace, prefix, &source, &[])?)?;
        let reports = errors(&output.stderr);
        ensure!(reports.is_empty(), "{name} under Valgrind:\n{}", reports.join("\n"));
        well(workspace, &source, output)?;
    }
    Ok(1 + names.len() as u64)
}

/// With a limit of address space: of the heap's terabyte memcheck notes each 64 KiB, which takes four times as long as all the
/// rest; with the limit the heap is content with less.
fn memcheck(program: &Path) -> Result<Output> {
    let limited = "ulimit -v 16777216 && exec valgrind --quiet --num-callers=8 \"$0\"";
    without_settings(Command::new("sh"))
        .args(["-c", limited])
        .args([program])
        .env("HMMRT_BACKEND", "host")
        .limit(LIMIT)
        .capture()
}

/// Memcheck's reports, but for touches of pages that are away.
fn errors(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("==")?.split_once("== ").or(Some(("", ""))));
    let mut reports = vec![String::new()];
    for (_, line) in lines {
        match (line, reports.last_mut()) {
            ("", _) => reports.push(String::new()),
            (line, Some(last)) => *last += &format!("{line}\n"),
            _ => {}
        }
    }
    reports.retain(|report| !report.is_empty() && !is_away(report));
    reports
}

/// A touch of managed memory: the library's heap begins at 0x7000_0000_0000, where nothing else is; with a limit, too.
fn is_away(report: &str) -> bool {
    let access = report.starts_with("Invalid read of size") || report.starts_with("Invalid write of size");
    let anonymous = report.contains(" Address 0x7000") && report.contains(" is in a --- anonymous segment");
    access && anonymous
}

fn programs(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut all: Vec<_> = TESTS.iter().map(|name| workspace.root.join("ffi/tests/c").join(name)).collect();
    let course = workspace.root.join("examples/c");
    for entry in fs::read_dir(&course)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "c") {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn well(workspace: &Workspace, source: &Path, output: Output) -> Result<()> {
    let name = workspace.shown(source);
    ensure!(output.status.success(), "{name} {:?}\n{}{}", output.status, output.stdout, output.stderr);
    println!("  {name}: ok");
    Ok(())
}

fn folder(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("sanitize");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A program that is wrong.
fn mistake(workspace: &Workspace, name: &str, body: &str) -> Result<PathBuf> {
    let source = folder(workspace)?.join(format!("{name}.c"));
    fs::write(
        &source,
        format!("#include <stdlib.h>\nint main(int n, char **v) {{ (void)v; {body} return 0; }}\n"),
    )?;
    Ok(source)
}

fn build(workspace: &Workspace, prefix: &Path, source: &Path, flags: &[&str]) -> Result<PathBuf> {
    let stem = source.file_stem().and_then(|stem| stem.to_str()).unwrap_or("program");
    let program = folder(workspace)?.join(stem);
    let lib = prefix.join("lib");
    Command::new("gcc")
        .args(["-std=c11", "-O1", "-g", "-pthread", "-ffp-contract=off", "-w"])
        .args(flags)
        .args(["-I".as_ref(), prefix.join("include").as_os_str()])
        .args([source.as_os_str(), "-o".as_ref(), program.as_os_str()])
        .args(["-L".as_ref(), lib.as_os_str()])
        .args(["-lhmmrt".to_owned(), format!("-Wl,-rpath,{}", lib.display())])
        .run()?;
    Ok(program)
}

/// Whether gcc is there with both sanitizers.
pub fn has_sanitizers() -> bool {
    let found = |name: &str| {
        let output = Command::new("gcc").args([format!("-print-file-name={name}")]).capture();
        output.is_ok_and(|o| o.stdout.contains('/'))
    };
    crate::command::installed("gcc") && found("libasan.so") && found("libubsan.so")
}

#[cfg(test)]
mod tests {
    use super::errors;

    #[test]
    fn only_touches_of_what_is_away_pass() {
        let touch = "==1== Invalid write of size 4\n==1==    at 0x10B5B4: movement (api.c:138)\n\
            ==1==  Address 0x7000019ffffc is in a --- anonymous segment\n==1== \n";
        assert!(errors(touch).is_empty());
        let heap = "==1== Invalid write of size 1\n==1==    at 0x1: main (x.c:1)\n\
            ==1==  Address 0x4a4804a is 0 bytes after a block of size 10 alloc'd\n==1== \n";
        assert_eq!(errors(heap).len(), 1);
        let jump = "==1== Conditional jump or move depends on uninitialised value(s)\n==1==    at 0x7: main (x.c:2)\n";
        assert_eq!(errors(&format!("{touch}hmmrt: said\n{heap}{touch}{jump}")).len(), 2);
    }
}
