//! What SECURITY.md promises of a process that uses the library: seen from outside, with the environment against it, and with
//! arguments at the edges.

mod common;
#[path = "../../doubles/harness/made.rs"]
mod made;

use common::Link::{Shared, Static};
use common::{command, compile, double, run_ok, run_with, scratch};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

#[test]
fn no_memory_is_writable_and_executable_and_nothing_is_made_or_shared() {
    let program = compile(&["secure.c"], Shared);
    let start = compile(&["start.c"], Shared);
    let is_there = |engine: &&str| {
        let answer = run_ok(&start, &[("HMMRT_FAULT", engine)]).0;
        if answer != "0: \n" {
            eprintln!("not tested with {engine}: {answer}");
        }
        answer == "0: \n"
    };
    let engines: Vec<_> = ["segv", "uffd", "uffd-thread"].into_iter().filter(is_there).collect();
    for kind in ["host", "cuda", "hip"] {
        let driver = if kind == "host" { String::new() } else { double(kind).to_str().unwrap().to_owned() };
        for (engine, direct) in engines.iter().flat_map(|engine| [(*engine, "0"), (*engine, "1")]) {
            let settings = [
                ("HMMRT_FAULT", engine),
                ("HMMRT_BACKEND", kind),
                ("HMMRT_CUDA_LIBRARY", &driver),
                ("HMMRT_HIP_LIBRARY", &driver),
                ("HMMRT_HOST_DIRECT", direct),
            ];
            let mut command = command(&program, &[], &settings);
            made::nothing(&mut command);
            let output = command.output().unwrap();
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let well = output.status.success() && out.ends_with("ok after_shutdown\nall well\n");
            assert!(well, "{kind} {engine}: {}\n{out}{err}", output.status);
        }
    }
}

#[test]
fn what_is_made_is_seen() {
    made::is_seen(&scratch("made"));
}

#[test]
fn traces_are_the_users_own_and_never_somebody_elses_file() {
    let program = compile(&["secure.c"], Static);
    let folder = scratch("traces");
    let trace = folder.join("trace");
    let record = || {
        let settings = [("HMMRT_TRACE", trace.to_str().unwrap())];
        run_with(&program, &[&trace], &settings)
    };
    let text = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let out = record();
    assert!(out.status.success(), "{}", text(&out));
    // An old trace with another mode is replaced, not written into.
    fs::set_permissions(&trace, fs::Permissions::from_mode(0o666)).unwrap();
    let kept = fs::File::open(&trace).unwrap();
    let before = kept.metadata().unwrap();
    assert!(record().status.success());
    assert_eq!(kept.metadata().unwrap().len(), before.len(), "who had it open sees nothing of the new one");
    assert_eq!(fs::metadata(&trace).unwrap().permissions().mode() & 0o7777, 0o600);
    // Links, to files that are there and that are not, and other people's files.
    let other = folder.join("other");
    for there in [true, false] {
        fs::remove_file(&trace).unwrap();
        let _ = fs::remove_file(&other);
        if there {
            fs::write(&other, "").unwrap();
        }
        symlink(&other, &trace).unwrap();
        let out = record();
        assert!(text(&out).contains("not recorded"), "{}", text(&out));
        assert_eq!(other.exists(), there);
        assert!(!there || fs::read(&other).unwrap().is_empty());
    }
    fs::remove_file(&trace).unwrap();
    fs::write(&trace, "somebody's").unwrap();
    assert!(text(&record()).contains("not recorded"));
    assert_eq!(fs::read(&trace).unwrap(), b"somebody's");
}

#[test]
fn statistics_are_the_users_own_and_never_behind_a_link() {
    let program = compile(&["secure.c"], Static);
    let folder = scratch("statistics");
    let (file, other) = (folder.join("of"), folder.join("other"));
    let start = || {
        let out = run_with(&program, &[], &[("HMMRT_STATS", file.to_str().unwrap())]);
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stderr).unwrap()
    };
    let tables = || fs::read_to_string(&file).unwrap().matches("hmmrt statistics\n").count();
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
    // The program has umask 0.
    assert_eq!((start(), tables(), mode()), (String::new(), 1, 0o600));
    // What is there keeps its mode and what is in it.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!((start(), tables(), mode()), (String::new(), 2, 0o640));
    let is_refused = || {
        let err = start();
        assert_eq!(err.matches("not written: it is a link, or no regular file").count(), 1, "{err}");
    };
    for there in [true, false] {
        fs::remove_file(&file).unwrap();
        let _ = fs::remove_file(&other);
        if there {
            fs::write(&other, "").unwrap();
        }
        symlink(&other, &file).unwrap();
        is_refused();
        assert_eq!(other.exists(), there);
        assert!(!there || fs::read(&other).unwrap().is_empty());
    }
    // A pipe, with and without somebody who reads it.
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    is_refused();
    let _reader = fs::File::options().read(true).write(true).open(&file).unwrap();
    is_refused();
}

/// Everything in the environment that could hurt.
fn hostile(settings: &mut Vec<(&'static str, String)>, trace: &Path, stats: &str) {
    let driver = double("cuda");
    for (name, value) in [
        ("HMMRT_BACKEND", "cuda"),
        ("HMMRT_CUDA_LIBRARY", driver.to_str().unwrap()),
        ("HMMRT_HIP_LIBRARY", driver.to_str().unwrap()),
        ("HMMRT_TRACE", trace.to_str().unwrap()),
        ("HMMRT_HOST_FAIL", "any:1+"),
        ("HMMRT_HOST_DEVICES", "7"),
        ("HMMRT_HOST_MEMORY", "1"),
        ("HMMRT_FORK", "exec"),
        ("HMMRT_STATS", stats),
        ("HMMRT_LOG", "debug"),
        ("HMMRT_VMA_BUDGET", "nonsense"),
    ] {
        settings.push((name, value.to_owned()));
    }
}

/// A copy that belongs to root and is setuid, run by nobody. As another user than root this can't be tried.
#[test]
fn the_environment_is_nothing_to_a_setuid_program() {
    const TEST: &str = "the_environment_is_nothing_to_a_setuid_program";
    // SAFETY: no memory is involved.
    if unsafe { geteuid() } != 0 {
        return common::skipped(TEST, "only root can make a setuid program of root's");
    }
    // Where nobody can reach it: not in the target folder.
    let folder = std::env::temp_dir().join(format!("hmmrt-security-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.join("program");
    // Another process writes it: no other thread's child can have it open then, and it can be executed.
    let copied = Command::new("cp").arg(compile(&["privileged.c"], Static)).arg(&program).status().unwrap();
    assert!(copied.success());
    let open = folder.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let (trace, stats) = (open.join("trace"), open.join("stats"));
    let run_as_nobody = |mode: u32, stats: &str| {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let mut settings = Vec::new();
        hostile(&mut settings, &trace, stats);
        let mut command = Command::new(&program);
        command.env_clear().envs(settings).current_dir("/").uid(65534).gid(65534);
        let output = command.output().expect("the program");
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // As any program: the settings are read, one of which is nonsense.
    let (plain, _) = run_as_nobody(0o755, "1");
    let as_privileged = ["1", stats.to_str().unwrap()].map(|stats| run_as_nobody(0o4755, stats));
    let made = [trace.exists(), stats.exists()];
    fs::remove_dir_all(&folder).unwrap();
    assert!(plain.starts_with("secure 0 user 65534/65534 init -19 "), "{plain}");
    for (privileged, err) in as_privileged {
        if privileged.starts_with("secure 0") {
            let folder = std::env::temp_dir();
            return common::skipped(TEST, format_args!("{} allows no setuid programs", folder.display()));
        }
        assert_eq!(privileged, "secure 1 user 65534/0 init 0 backend host devices 1 moved 1\n", "{err}");
        assert_eq!(err, "", "neither log nor statistics");
    }
    assert_eq!(made, [false, false], "a trace or statistics were written with another's rights");
}

unsafe extern "C" {
    fn geteuid() -> u32;
}

#[test]
fn sizes_offsets_and_counts_at_the_edges() {
    let program = compile(&["edges.c"], Static);
    let (out, err) = run_ok(&program, &[]);
    assert_eq!(out, "ok ranges\nok sizes\nok counts\nok nothing_lost\nall well\n", "{err}");
}
