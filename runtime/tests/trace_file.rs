//! Traces' files: limits, full disks, crashes and other people's files. Nothing of it gets in the program's way. What is
//! recorded runs in a process of its own, on the host backend.

mod common;
#[path = "common/traces.rs"]
mod traces;

use common::{Block, case, case_command};
use hmmrt::raw;
use hmmrt::trace::Trace;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use traces::{many, record, recorded, scratch};

/// Events of two runs of the same. Where touches are messages a touch may be told of twice, and a page come home for one that is over.
fn are_as_many(some: usize, others: usize) -> bool {
    some == others || common::is_messaged() && some.abs_diff(others) < others / 4
}

fn limits_are_kept() {
    let whole = recorded("many", &scratch("whole"), &[]);
    assert_eq!(whole.dropped, 0);
    // Out, home, a fault for each of reading and writing: and 2 of the first write do not happen.
    assert!(whole.events.len() > 9000, "{}", whole.events.len());
    let file = scratch("limit");
    let t = recorded("many", &file, &[("HMMRT_TRACE_SIZE", "64K")]);
    assert_eq!((t.events.len(), t.errno, t.unreadable, t.missing), ((65536 - 4096) / 64, 0, 0, 0));
    let said = (t.dropped as usize + t.events.len(), whole.events.len());
    assert!(are_as_many(said.0, said.1), "{said:?}");
    assert_eq!(fs::metadata(&file).unwrap().len(), 65536);
    for (size, error) in [("63K", true), ("64Q", true), ("64K", false)] {
        let out = record("many", &scratch("size"), &[("HMMRT_TRACE_SIZE", size)]);
        assert_eq!(!out.status.success(), error, "{size}");
    }
}

/// RLIMIT_FSIZE, whose signal ends processes.
fn file_size_limit() {
    let file = scratch("rlimit");
    for (blocks, expected) in [("200", Some((200 * 512 / 4096 * 4096 - 4096) / 64)), ("8", None), ("0", None)]
    {
        let _ = fs::remove_file(&file);
        let own = case_command("cases", "many");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -f $0 && exec \"$@\"", blocks]).arg(own.get_program()).args(own.get_args());
        shell.env("HMMRT_CASE", "many").env("HMMRT_BACKEND", "host").env("HMMRT_TRACE", &file);
        // Its output is no file: that would be limited too.
        let out = shell.output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains("survived"), "{blocks}: {:?} {text}", out.status);
        match expected {
            Some(events) => {
                let t = Trace::read(&file).unwrap();
                assert_eq!(t.events.len(), events);
                assert!(t.closed && t.dropped > 0);
            }
            None => assert!(text.contains("not recorded") && !file.exists(), "{text}"),
        }
    }
}

/// A file system that is full before the trace is: needs a mount of its own.
fn full_disk() {
    let (place, copy) = (scratch("mount"), scratch("full"));
    fs::create_dir_all(&place).unwrap();
    let own = case_command("cases", "many");
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    shell.arg("mount -t tmpfs -o size=600k none \"$0\" || exit 99; to=$1; shift; \"$@\"; s=$?; cp \"$0/t\" \"$to\"; exit $s");
    shell.arg(&place).arg(&copy).arg(own.get_program()).args(own.get_args());
    shell.env("HMMRT_CASE", "many").env("HMMRT_CASE_LONG", "1").env("HMMRT_BACKEND", "host");
    let out = shell.env("HMMRT_TRACE", place.join("t")).output();
    let Ok(out) = out else {
        return common::skipped("full_disk", "no unshare");
    };
    let text = String::from_utf8_lossy(&out.stderr);
    if out.status.code() == Some(99) || text.contains("unshare failed") || text.contains("unshare:") {
        return common::skipped("full_disk", text);
    }
    assert!(out.status.success() && text.contains("survived"), "{:?} {text}", out.status);
    let t = Trace::read(&copy).unwrap();
    assert_eq!((t.closed, t.errno, t.unreadable, t.missing), (true, libc::ENOSPC, 0, 0));
    let written = 4096 + 64 * t.events.len();
    // In steps, the last of which did not fit.
    assert!((300 << 10..=600 << 10).contains(&written), "{written}");
    assert!(t.dropped as usize + t.events.len() > 200_000, "{}", t.dropped);
}

fn killed() {
    many();
    // SAFETY: nothing to keep in order.
    unsafe { libc::raise(libc::SIGKILL) };
}

fn crashes_leave_a_trace() {
    let (file, whole) = (scratch("killed"), scratch("not_killed"));
    assert!(!record("killed", &file, &[]).status.success());
    let t = Trace::read(&file).unwrap();
    let whole = recorded("many", &whole, &[]);
    assert_eq!((t.closed, t.dropped, t.unreadable, t.missing), (false, 0, 0, 0));
    assert!(are_as_many(t.events.len(), whole.events.len()), "{} of {}", t.events.len(), whole.events.len());
}

/// Ends while other threads record.
fn busy_end() {
    // Called after the runtime's own handler, which is registered later: late records must not meet the cut file.
    extern "C" fn after() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        if maps.contains(&std::env::var("HMMRT_TRACE").unwrap()) {
            // SAFETY: nothing to keep in order.
            unsafe { libc::_exit(3) };
        }
    }
    // SAFETY: a function that is there to the end.
    assert_eq!(unsafe { libc::atexit(after) }, 0);
    for _ in 0..3 {
        std::thread::spawn(|| {
            loop {
                let b = Block::new(4096);
                raw::migrate(b.ptr, b.len, 0).unwrap();
                b.word(0).store(1, Relaxed);
            }
        });
    }
    while raw::stats().write_faults < 2100 {
        std::thread::yield_now();
    }
    std::process::exit(0);
}

fn threads_may_go_on_to_the_end() {
    for _ in 0..10 {
        let t = recorded("busy_end", &scratch("busy"), &[]);
        // Each of the threads may have begun a record: where nothing was written yet, or where the file was not ready yet.
        let said = (t.closed, t.dropped, t.missing, t.unreadable);
        assert!(
            t.closed && t.dropped == 0 && t.missing + t.unreadable <= 3,
            "closed, dropped, missing, unreadable: {said:?}"
        );
        assert!(t.events.len() > 2000 * 5);
    }
}

/// What is there already.
fn other_files_are_left_alone() {
    let file = scratch("foreign");
    let refused = |words: &str| {
        let out = record("many", &file, &[]);
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains("survived"), "{text}");
        assert!(text.contains("not recorded") && text.contains(words), "{words} in {text}");
    };
    fs::write(&file, "precious").unwrap();
    refused("no trace");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    // A link to a trace is no trace.
    let target = scratch("target");
    recorded("many", &target, &[]);
    fs::remove_file(&file).unwrap();
    symlink(&target, &file).unwrap();
    refused("no trace");
    assert!(Trace::read(&target).is_ok());
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refused("no trace");
    fs::remove_dir(&file).unwrap();
    // An old trace and an empty file are replaced, with the new one's rights.
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(recorded("many", &file, &[]).closed);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    // Whoever has the old one open keeps it whole.
    let old = fs::File::open(&file).unwrap();
    let process = recorded("many", &file, &[]).process;
    assert_ne!(Trace::parse(old).unwrap().process, process);
    let _ = record("many", &PathBuf::from("/no/such/folder/t"), &[]);
    assert!(!Path::new("/no").exists());
}

/// Relative names, and the process's number in them.
fn names() {
    let dir = scratch("names");
    fs::create_dir_all(&dir).unwrap();
    let mut command = case_command("cases", "many");
    command.current_dir(&dir).env("HMMRT_BACKEND", "host").env("HMMRT_TRACE", "a%p.%q");
    let child =
        command.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let id = child.id();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(Trace::read(&dir.join(format!("a{id}.%q"))).unwrap().process, id);
}

#[test]
fn cases() {
    match case().as_deref() {
        Some("many") => return many(),
        Some("killed") => return killed(),
        Some("busy_end") => return busy_end(),
        _ => {}
    }
    limits_are_kept();
    file_size_limit();
    full_disk();
    crashes_leave_a_trace();
    threads_may_go_on_to_the_end();
    other_files_are_left_alone();
    names();
    let _ = fs::remove_dir_all(scratch("x").parent().unwrap());
}
