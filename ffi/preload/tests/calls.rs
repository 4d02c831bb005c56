//! The kernel's own accesses beyond the plain calls: formatted output, operations that go on after their call, signal
//! masks, and system calls without the C library. Each C program runs with memory that keeps leaving for a device, and fails
//! without what it tests.

mod common;

use common::{compile, compile_with, library, passes, preloaded, run, spoken};
use std::path::Path;
use std::process::Command;

const CHAOS: [(&str, &str); 2] = [("HMMRT_MIN_SIZE", "16K"), ("HMMRT_CHAOS", "1")];

/// Runs it both ways of serving faults: in the thread that faults, and in another, as with a GPU's driver.
fn passes_under_chaos(name: &str, more: &[(&str, &str)]) {
    let (program, dir) = compile(name);
    for direct in ["1", "0"] {
        let settings = [&CHAOS[..], more, &[("HMMRT_HOST_DIRECT", direct)]].concat();
        passes(&program, &[&dir], &settings);
    }
}

/// One that stops itself at system calls: what only wrapping can get wrong.
fn passes_traced(name: &str) {
    let (program, _) = compile(name);
    for direct in ["1", "0"] {
        passes(&program, &[], &[&CHAOS[..], &[("HMMRT_HOST_DIRECT", direct)]].concat());
    }
}

#[test]
fn formatted_output() {
    passes_under_chaos("print", &[]);
}

#[test]
fn programs_with_their_own_malloc() {
    passes_under_chaos("own_malloc", &[]);
}

/// The four functions that the C library's manual asks for, around its own; position-independent or not.
#[test]
fn programs_that_wrap_malloc() {
    for how in [&[][..], &["-fno-pie", "-no-pie"]] {
        let (program, _) = compile_with("wrapped_malloc", how);
        for settings in [&[][..], &CHAOS[..], &[("HMMRT_ADOPT_MMAP", "1")]] {
            passes(&program, &[], settings);
        }
        let output = passes(&program, &[], &[("HMMRT_LOG", "info")]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("hmmrt info: the program has a malloc of its own"), "{said}");
    }
}

/// A library that is loaded so as to have the C library's functions before all others.
#[test]
fn libraries_that_bind_deeply() {
    let (lib, _) = compile_with("deeplib", &["-shared", "-fPIC"]);
    let (program, _) = compile_with("deep", &["-ldl"]);
    for settings in [&[][..], &CHAOS[..]] {
        passes(&program, &[&lib], settings);
    }
}

/// A program that is not position-independent, and takes the addresses of malloc's family, has no malloc of its own.
#[test]
fn addresses_of_functions() {
    for how in [&[][..], &["-fno-pie", "-no-pie"]] {
        let (program, _) = compile_with("addresses", how);
        passes(&program, &[], &CHAOS);
    }
}

#[test]
fn operations_that_go_on() {
    passes_under_chaos("async", &[]);
}

#[test]
fn answers_and_orders() {
    passes_under_chaos("answers", &[]);
}

#[test]
fn waits_with_an_end() {
    passes_traced("waits");
}

#[test]
fn threads_of_the_c_library() {
    passes_under_chaos("threads", &[]);
}

#[test]
fn pages_that_the_kernel_keeps() {
    passes_under_chaos("lent", &[]);
}

/// Where no device is open a waiting call does what it does without the library.
#[test]
fn what_arrives_in_large_blocks() {
    let (program, _) = compile("arrives");
    spoken("arrives", &run(&mut Command::new(&program)));
    passes(&program, &[], &[]);
    passes(&program, &[], &CHAOS);
}

/// A program that the kernel kills for any call that it does not make itself.
#[test]
fn sandboxes() {
    let (program, _) = compile("sandbox");
    spoken("sandbox", &run(&mut Command::new(&program)));
    passes(&program, &[], &[]);
}

#[test]
fn sends_of_too_much() {
    let (program, _) = compile("sends");
    spoken("sends", &run(&mut Command::new(&program)));
    passes(&program, &[], &CHAOS[..1]);
    passes(&program, &[], &CHAOS);
}

#[test]
fn ranges_in_part_and_in_thousands() {
    passes_under_chaos("ranges", &[("HMMRT_ADOPT_MMAP", "1")]);
}

#[test]
fn rings_without_room() {
    let (program, _) = compile("rings");
    passes(&program, &[], &[]);
}

#[test]
fn contexts() {
    passes_under_chaos("contexts", &[]);
    passes_under_chaos("contexts", &[("HMMRT_POLICY", "demand")]); // each page by itself
}

#[test]
fn signal_masks() {
    passes_under_chaos("masks", &[]);
    #[cfg(target_arch = "x86_64")]
    if has_uffd() {
        passes_under_chaos("masks", &[("HMMRT_FAULT", "uffd")]);
    }
}

#[test]
fn cancelled_threads() {
    let (program, _) = compile("cancel");
    passes(&program, &[], &CHAOS[..1]);
    passes_under_chaos("cancel", &[]);
}

#[test]
fn small_signal_stacks() {
    let (program, _) = compile("overflow");
    spoken("overflow", &run(&mut Command::new(&program)));
    passes(&program, &[], &[]);
    passes(&program, &[], &CHAOS);
}

/// Children of every kind, beside a library with a lock that its handlers keep across forks.
#[test]
fn forks() {
    let (lib, lib_dir) = compile_with("forklib", &["-shared", "-fPIC"]);
    let path = format!("-Wl,--no-as-needed,-rpath,{}", lib_dir.display());
    let lib = lib.to_str().expect("a path");
    let (program, _) = compile_with("forks", &[&path, lib]);
    let trap = [("HMMRT_SYSCALLS", "trap")];
    for more in [&[][..], &[("HMMRT_HOST_DIRECT", "0")], if can_trap() { &trap } else { &[] }] {
        passes(&program, &[], &[&CHAOS[..], more].concat());
    }
}

/// What can't be read or written is an error of the call's, as without the library, and no fault.
#[test]
fn pointers_to_nothing() {
    let (program, _) = compile("faulty");
    let plain = run(&mut Command::new(&program));
    spoken("faulty", &plain);
    let expected = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(expected.contains(&format!(": -1 {}\n", libc::EFAULT)), "{expected}");
    let trap: &[(&str, &str)] = &[("HMMRT_SYSCALLS", "trap")];
    for more in [&[][..], trap] {
        for direct in ["1", "0"] {
            let settings = [&CHAOS[..], more, &[("HMMRT_HOST_DIRECT", direct)]].concat();
            let output = passes(&program, &[], &settings);
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{settings:?}");
        }
    }
}

/// Whether calls can be trapped here; says so if not.
fn can_trap() -> bool {
    let output = run(&mut preloaded(Path::new("/bin/true"), &[("HMMRT_SYSCALLS", "trap")]));
    assert!(output.status.success(), "{}", output.status);
    let said = String::from_utf8_lossy(&output.stderr);
    if !said.is_empty() {
        assert!(said.contains("hmmrt warning: HMMRT_SYSCALLS=trap: "), "{said}");
        common::skipped("trapped calls", &said);
    }
    said.is_empty()
}

/// Whether this machine has that engine; says so if not.
#[cfg(target_arch = "x86_64")]
fn has_uffd() -> bool {
    use hmmrt_core::{Config, Error, FaultEngine, raw};
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new(); // the runtime here is started once
    *HAS.get_or_init(|| {
        let config = Config { fault: FaultEngine::Uffd, ..Config::default() };
        match raw::init(Some(config)).and_then(|()| raw::device_count()) {
            Err(Error::Unsupported { what: "HMMRT_FAULT", why }) => {
                common::skipped("calls with userfaultfd", why)
            }
            other => return other.map(|_| true).unwrap_or_else(|e| panic!("{e}")),
        }
        false
    })
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_without_the_c_library() {
    if !can_trap() {
        return;
    }
    let trap = [("HMMRT_SYSCALLS", "trap")];
    passes_under_chaos("trap", &trap);
    let (program, dir) = compile("trap");
    // Where touches come as SIGBUS the program's action for that is kept beside ours, too.
    if has_uffd() {
        let settings = [&CHAOS[..], &trap, &[("HMMRT_FAULT", "uffd")]].concat();
        let output = run(preloaded(&program, &settings).args([&dir, Path::new("handlers")]));
        assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    // Wrapping can't see them.
    let output = run(preloaded(&program, &CHAOS).arg(&dir));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("trap.c:"), "{}: {said}", output.status);
    // And those with the library work as before.
    for name in ["kernel", "answers", "threads", "lent", "print", "async", "masks"] {
        passes_under_chaos(name, &trap);
    }
}

#[test]
fn programs_under_trap() {
    if !can_trap() {
        return;
    }
    const PYTHON: &str = "import subprocess, threading, os\n\
        r = [subprocess.run(['sh', '-c', 'echo x'], capture_output=True).stdout for _ in range(10)]\n\
        t = [threading.Thread(target=lambda: os.urandom(1000000)) for _ in range(10)]\n\
        [x.start() for x in t]; [x.join() for x in t]\n\
        print(set(r) == {b'x\\n'})";
    const PERL: &str = "$x = 'a' x 3000000; pipe(R, W); for (1 .. 5) { $p = fork; if (!$p) { print W $x; exit 0 } \
        read(R, $y, 3000000); waitpid $p, 0; $ok += $x eq $y && `echo sub` eq \"sub\\n\" } print $ok == 5 ? 'True' : 'no'";
    const SQL: &str = "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 20000) \
        insert into t select x, randomblob(200) from c; select iif(sum(length(b)) = 4000000, 'True', 'no') from t;";
    // What is first in PATH may be a shell script.
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python =
        asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let found = |name: &str| {
        ["/usr/bin/", "/bin/"].map(|dir| format!("{dir}{name}")).into_iter().find(|p| Path::new(p).exists())
    };
    let all = [
        (Some(python).filter(|p| Path::new(p).exists()), vec!["-c", PYTHON]),
        (found("perl"), vec!["-e", PERL]),
        (found("sqlite3"), vec![":memory:", SQL]),
    ];
    for (program, arguments) in all {
        let Some(program) = program else {
            common::skipped("interpreters", format_args!("no {arguments:?}"));
            continue;
        };
        let settings = [&CHAOS[..], &[("HMMRT_SYSCALLS", "trap")]].concat();
        let output = run(preloaded(Path::new(&program), &settings).args(arguments));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.trim() == "True", "{program}: {}\n{out}{err}", output.status);
    }
}

#[test]
fn a_setting_that_is_none() {
    let output = run(preloaded(Path::new("/bin/echo"), &[("HMMRT_SYSCALLS", "often")]).arg("said"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"said\n", "{}", output.status);
    assert!(said.contains("HMMRT_SYSCALLS"), "{}: {said}", library().display());
}
