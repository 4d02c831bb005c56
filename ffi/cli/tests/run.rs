//! `hmmrt run`: what the program finds must be what it would find without the command, but for the variables; and how it
//! ends must be how the command ends.

mod common;

use common::{clean, compile, done, empty_library, file, good, hmmrt, library, run, scratch};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_exit_status_is_the_programs() {
    for status in [0, 1, 2, 3, 125, 126, 127, 255] {
        let run = done(run().args(["--", "sh", "-c", &format!("exit {status}")]));
        assert_eq!((run.status, &*run.err), (status, ""));
    }
}

#[test]
fn the_signal_is_the_programs() {
    for (name, number) in [("KILL", 9), ("SEGV", 11), ("TERM", 15), ("PIPE", 13)] {
        let run = done(run().args(["sh", "-c", &format!("kill -{name} $$")]));
        assert_eq!(run.output.status.signal(), Some(number), "{name}: {}", run.err);
    }
}

#[test]
fn the_process_is_the_programs() {
    let mut command = run();
    let child = command.args(["sh", "-c", "echo $$"]).stdout(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    assert_eq!(String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout), format!("{id}\n"));
}

#[test]
fn input_and_output_pass_through() {
    let mut command = run();
    command.args(["sh", "-c", "cat; echo err >&2"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), b"in").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((&*output.stdout, &*output.stderr), (&b"in"[..], &b"err\n"[..]));
}

/// Ignored and blocked signals, descriptors, limits and so on, as the kernel shows them.
#[test]
fn what_is_inherited_stays() {
    const LOOK: &str = "ls /proc/self/fd; ulimit -a; umask; pwd; cat /proc/self/oom_score_adj";
    const SIGNALS: &str = "^(Sig(Blk|Ign|Cgt)|Groups|NoNewPrivs|Seccomp)";
    let look = |mut command: Command, args: &[&str]| {
        command.args(args).stdin(Stdio::null());
        // SAFETY: both calls may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigaddset(&mut set, libc::SIGUSR1);
                libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
                libc::signal(libc::SIGPIPE, libc::SIG_IGN);
                libc::signal(libc::SIGUSR2, libc::SIG_IGN);
                Ok(())
            })
        };
        good(&mut command)
    };
    for args in [&["sh", "-c", LOOK][..], &["grep", "-E", SIGNALS, "/proc/self/status"]] {
        let mut through = run();
        through.arg("env");
        let direct = look(clean("env"), args);
        assert_eq!(look(through, args), direct);
        assert!(args[0] == "sh" || direct.contains("SigBlk:\t0000000000000200"), "{direct}");
    }
}

#[test]
fn closed_descriptors_stay_closed() {
    let look = "for f in 0 1; do test -e /proc/$$/fd/$f && echo $f is open >&2; done; true";
    let mut outer = clean("sh");
    outer.args(["-c", "exec \"$@\" <&- >&-", "sh", env!("CARGO_BIN_EXE_hmmrt"), "run", "--preload"]);
    let run = done(outer.arg(library()).args(["sh", "-c", look]));
    assert_eq!((run.status, &*run.err), (0, ""));
}

fn environment(mut command: Command, preloaded: Option<&Path>) -> BTreeSet<String> {
    command.env_clear().env("PATH", "/usr/bin:/bin").env("EMPTY", "").env("A", "b=c d");
    if let Some(preloaded) = preloaded {
        command.env("LD_PRELOAD", preloaded);
    }
    good(command.arg("env")).lines().map(str::to_owned).collect()
}

#[test]
fn the_environment_has_what_the_options_say_and_nothing_else() {
    let plain = environment(clean("env"), None);
    let difference = |options: &[&str]| {
        let mut command = run();
        command.args(options);
        let with = environment(command, None);
        assert!(with.is_superset(&plain), "{with:?}");
        with.difference(&plain).cloned().collect::<Vec<_>>()
    };
    let preload = format!("LD_PRELOAD={}", library().display());
    assert_eq!(difference(&[]), [&*preload]);
    assert_eq!(
        difference(&[
            "--backend",
            "host",
            "--fault",
            "segv",
            "--min-size",
            "64K",
            "--stats",
            "--chaos",
            "--log",
            "error",
            "--"
        ]),
        [
            "HMMRT_BACKEND=host",
            "HMMRT_CHAOS=1",
            "HMMRT_FAULT=segv",
            "HMMRT_LOG=error",
            "HMMRT_MIN_SIZE=64K",
            "HMMRT_STATS=1",
            &*preload
        ]
    );
}

#[test]
fn a_file_for_statistics_is_there_for_good() {
    let dir = scratch("stats");
    let mut command = run();
    let out = good(command.current_dir(&dir).args(["--stats=of-%p", "env"]));
    // The program may go to another folder.
    let path = dir.canonicalize().expect("the folder").join("of-%p");
    assert!(out.contains(&format!("HMMRT_STATS={}\n", path.display())), "{out}");
}

#[test]
fn options_come_before_variables() {
    let mut command = run();
    command.env("HMMRT_LOG", "nonsense").env("HMMRT_SPARE", "1M").args(["--log", "off", "env"]);
    let out = good(&mut command);
    assert!(out.contains("HMMRT_LOG=off\n") && out.contains("HMMRT_SPARE=1M\n"), "{out}");
}

#[test]
fn the_library_is_the_first_to_be_preloaded() {
    let other = empty_library(&scratch("order").join("other.so"));
    let with = environment(run(), Some(&other));
    let list = format!("LD_PRELOAD={}:{}", library().display(), other.display());
    assert!(with.contains(&list), "{with:?}");
    // Once, also if this is run by itself.
    let mut command = run();
    command.arg(env!("CARGO_BIN_EXE_hmmrt")).args(["run", "--preload"]).arg(library());
    assert_eq!(environment(command, Some(&other)), with);
    // And it is loaded.
    let maps = good(run().env("LD_PRELOAD", &other).args(["cat", "/proc/self/maps"]));
    for file in [library(), &other] {
        assert!(maps.contains(file.to_str().unwrap()), "{maps}");
    }
}

/// In a prefix, in a distribution's, and in cargo's folder.
#[test]
fn the_library_is_found_beside_the_command() {
    let multiarch = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    for (number, place) in ["lib", &multiarch, "lib64", "bin"].into_iter().enumerate() {
        let prefix = scratch("prefixes").join(number.to_string());
        let (bin, lib) = (prefix.join("bin"), prefix.join(place));
        [&bin, &lib].into_iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
        good(clean("cp").arg(env!("CARGO_BIN_EXE_hmmrt")).arg(bin.join("hmmrt")));
        let without = done(clean(bin.join("hmmrt")).args(["run", "true"]));
        assert_eq!(without.status, 125);
        assert!(without.err.contains("libhmmrt_preload.so is not beside"), "{}", without.err);
        let library = empty_library(&lib.join("libhmmrt_preload.so"));
        let out = good(clean(bin.join("hmmrt")).args(["run", "env"]));
        assert!(out.contains(&format!("LD_PRELOAD={}\n", library.display())), "{out}");
    }
}

#[test]
fn the_library_can_be_given() {
    let place = scratch("given");
    let library = empty_library(&place.join("p.so"));
    let line = format!("LD_PRELOAD={}\n", library.display());
    let out = good(hmmrt().current_dir(&place).args(["run", "--preload", "p.so", "env"]));
    assert!(out.contains(&line), "{out}");
    let out = good(hmmrt().env("HMMRT_PRELOAD_LIBRARY", &library).args(["run", "env"]));
    assert!(out.contains(&line), "{out}");
}

#[test]
fn programs_are_found_as_by_a_shell() {
    let dir = scratch("path");
    let [first, second] = ["first", "second"].map(|name| dir.join(name));
    [&first, &second].into_iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
    file(&first.join("plain"), "644", "#!/bin/sh\n");
    file(&first.join("both"), "644", "#!/bin/sh\n");
    file(&second.join("both"), "755", "#!/bin/sh\necho \"$0 $*\"\n");
    fs::create_dir_all(first.join("folder")).unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", first.display(), second.display());
    let find = |name: &str| done(run().current_dir(&second).env("PATH", &path).args([name, "a", "b"]));
    for name in ["both", "./both", "../second/both"] {
        let run = find(name);
        let given = if name == "both" { second.join("both").display().to_string() } else { name.to_owned() };
        assert_eq!((run.status, &*run.out, &*run.err), (0, &*format!("{given} a b\n"), ""));
    }
    for (name, status, text) in [
        ("plain", 126, "permission denied"),
        ("../first/plain", 126, "permission denied"),
        ("../first/folder", 126, "is a folder"),
        ("folder", 127, "not found"),
        ("no-such-program", 127, "no-such-program: program not found"),
        ("./no-such-program", 127, "./no-such-program: no such file"),
        ("./both/x", 127, "no such file"),
        ("", 127, "not found"),
    ] {
        let run = find(name);
        assert_eq!(run.status, status, "{name}: {}", run.err);
        assert!(run.err.starts_with("hmmrt: ") && run.err.contains(text), "{name}: {}", run.err);
    }
    // The current folder, by an empty entry.
    let run = done(run().current_dir(&second).env("PATH", ":/usr/bin:/bin").args(["both", "c"]));
    assert_eq!((run.status, &*run.out), (0, "./both c\n"), "{}", run.err);
}

#[test]
fn the_programs_name_is_as_typed() {
    let program = scratch("name").join("name");
    compile("#include <stdio.h>\nint main(int c, char **v) { (void)c; puts(v[0]); }", &[], &program);
    let mut command = run();
    command.env("PATH", program.parent().unwrap()).arg("name");
    assert_eq!(good(&mut command), "name\n");
}

#[test]
fn scripts() {
    let dir = scratch("scripts");
    let script = |name: &str, text: &str| {
        file(&dir.join(name), "755", text);
        done(run().arg(dir.join(name)).arg("x"))
    };
    assert_eq!(script("env", "#!/usr/bin/env sh\necho $1\nexit 4\n").status, 4);
    // Without a first line it is the shell's.
    let run = script("bare", "echo $1 $0\n");
    assert_eq!(run.out, format!("x {}\n", dir.join("bare").display()), "{}", run.err);
    assert_eq!(script("empty", "").status, 0);
    let run = script("lost", "#!/no/such/interpreter\n");
    assert_eq!(run.status, 126);
    assert!(run.err.contains("interpreter /no/such/interpreter is not there"), "{}", run.err);
    let run = script("data", "\0\x01\x02\n");
    assert_eq!(run.status, 126);
    assert!(run.err.contains("cannot be started"), "{}", run.err);
}
