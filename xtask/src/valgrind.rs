//! C programs and two of the runtime's suites under Valgrind's memcheck. It begins with a program that is wrong, which must be
//! caught: else nothing was on.
//!
//! Called by `check`. Paging works: the touch of a page that is away is a signal in there, too. But memcheck knows only what
//! the kernel was last told, and calls each such touch an invalid access of an anonymous segment: those, in the heap's own
//! addresses, are what is let pass. Valgrind 3.19 does not know mremap's MREMAP_DONTUNMAP and refuses it, so a chunk that
//! comes home is copied, can't be put in place, and is copied again into its place: programs that count what is copied (api.c,
//! advice.c) are left out, and so are those that start by fork, or touch what they must not (signals.c).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{Command, Output};
use crate::course::without_settings;
use crate::sanitize::{build, mistake, well};
use crate::workspace::Workspace;

/// For one program; a quiet machine takes seconds.
const LIMIT: Duration = Duration::from_secs(600);

const PROGRAMS: [&str; 8] = [
    "ffi/tests/c/after_shutdown.c",
    "ffi/tests/c/contract.c",
    "ffi/tests/c/edges.c",
    "ffi/tests/c/refused_memory.c",
    "examples/c/01_first_page.c",
    "examples/c/06_adopt.c",
    "examples/c/08_linked_list.c",
    "examples/c/09_errors.c",
];

/// Suites of the runtime, whose code is then what is looked at.
const SUITES: [&str; 2] = ["roundtrip", "races"];

/// Returns how many programs and suites.
pub fn run(workspace: &Workspace, prefix: &Path) -> Result<u64> {
    let wrong = "volatile char *p = malloc(10); p[n + 9] = 1; if (p[1] == 2) return 1; free((char *)p);";
    let source = mistake(workspace, "memcheck.c", wrong)?;
    let reports = errors(&memcheck(&build(workspace, prefix, &[source], &[])?, "")?.stderr, false);
    let has = |what: &str| reports.iter().any(|report| report.contains(what));
    let caught = has("Invalid write of size 1") && has("uninitialised");
    ensure!(caught, "memcheck.c is wrong twice and was not caught: {reports:#?}");
    for name in PROGRAMS {
        let source = workspace.root.join(name);
        let output = memcheck(&build(workspace, prefix, std::slice::from_ref(&source), &[])?, "")?;
        let reports = errors(&output.stderr, false);
        ensure!(reports.is_empty(), "{name} under Valgrind:\n{}", reports.join("\n"));
        well(workspace, &source, output)?;
    }
    for suite in SUITES {
        let output = memcheck(&test_program(workspace, suite)?, "0.002")?;
        let reports = errors(&output.stderr, true);
        ensure!(reports.is_empty(), "{suite} under Valgrind:\n{}", reports.join("\n"));
        well(workspace, &workspace.root.join("runtime/tests").join(suite).with_extension("rs"), output)?;
    }
    Ok((1 + PROGRAMS.len() + SUITES.len()) as u64)
}

/// With a limit of address space: of the heap's terabyte memcheck notes each 64 KiB, which takes four times as long as all the
/// rest; with the limit the heap is content with less. Registers are kept up to date at each access of memory: by default only
/// some are, and a handler that returns to the instruction finds others as they were.
fn memcheck(program: &Path, scale: &str) -> Result<Output> {
    let limited = "ulimit -v 16777216 && exec valgrind --quiet --num-callers=8 \
        --vex-iropt-register-updates=allregs-at-mem-access \"$0\"";
    without_settings(Command::new("sh"))
        .args(["-c", limited])
        .args([program])
        .env("HMMRT_BACKEND", "host")
        .env("HMMRT_TEST_SCALE", scale)
        .limit(LIMIT)
        .capture()
}

/// The program of a suite, built.
fn test_program(workspace: &Workspace, suite: &str) -> Result<std::path::PathBuf> {
    let args = ["test", "--no-run", "--message-format=json", "--package", "hmmrt", "--test", suite];
    let output = workspace.cargo(args.into_iter().chain(workspace.locked())).capture()?;
    ensure!(output.status.success(), "{suite} can't be built\n{}", output.stderr);
    let messages = output.stdout.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let mut programs = messages.filter_map(|message| Some(message["executable"].as_str()?.into()));
    programs.next_back().with_context(|| format!("cargo names no program of {suite}"))
}

/// Memcheck's reports, but for touches of pages that are away; and, `of_suites`, for those of threads' own stacks.
fn errors(text: &str, of_suites: bool) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("==")?.split_once("== ").or(Some(("", ""))));
    let mut reports = vec![String::new()];
    for (_, line) in lines {
        match (line, reports.last_mut()) {
            ("", _) => reports.push(String::new()),
            (line, _) if line.starts_with("Thread ") && line.ends_with(':') => {}
            (line, Some(last)) => *last += &format!("{line}\n"),
            _ => {}
        }
    }
    let passes = |report: &str| is_away(report) || of_suites && is_own_stack(report);
    reports.retain(|report| !report.is_empty() && !passes(report));
    reports
}

fn is_access(report: &str) -> bool {
    report.starts_with("Invalid read of size") || report.starts_with("Invalid write of size")
}

/// A touch of managed memory: the library's heap begins at 0x7000_0000_0000, where nothing else is; with a limit, too.
fn is_away(report: &str) -> bool {
    let anonymous = report.contains(" Address 0x7000") && report.contains(" is in a --- anonymous segment");
    is_access(report) && anonymous
}

/// A thread's own stack: where the fault path has changed from the alternate stack to one of the runtime's and back, memcheck
/// takes some of what is in the thread's own for left.
fn is_own_stack(report: &str) -> bool {
    is_access(report) && report.contains(" is on thread ") && report.contains("'s stack")
}

#[cfg(test)]
mod tests {
    use super::errors;

    #[test]
    fn only_touches_of_what_is_away_pass() {
        let touch = "==1== Invalid write of size 4\n==1==    at 0x10B5B4: movement (api.c:138)\n\
            ==1==  Address 0x7000019ffffc is in a --- anonymous segment\n==1== \n";
        assert!(errors(touch, false).is_empty());
        assert!(errors(&format!("==1== Thread 3 name:\n{touch}"), false).is_empty());
        let heap = "==1== Invalid write of size 1\n==1==    at 0x1: main (x.c:1)\n\
            ==1==  Address 0x4a4804a is 0 bytes after a block of size 10 alloc'd\n==1== \n";
        assert_eq!(errors(heap, true).len(), 1);
        let jump = "==1== Conditional jump or move depends on uninitialised value(s)\n==1==    at 0x7: main (x.c:2)\n";
        assert_eq!(errors(&format!("{touch}hmmrt: said\n{heap}{touch}{jump}"), true).len(), 2);
    }

    #[test]
    fn the_suites_stacks_pass() {
        let stack = "==1== Invalid write of size 8\n==1==    at 0x1: pages (roundtrip.rs:15)\n\
            ==1==  Address 0x505e3d8 is on thread 2's stack\n==1==  in frame #1, created by pages (mod.rs:14)\n==1== \n";
        assert_eq!((errors(stack, false).len(), errors(stack, true).len()), (1, 0));
    }
}
