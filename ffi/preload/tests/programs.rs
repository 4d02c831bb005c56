//! Programs that know nothing of the library, run with it: the rules of malloc, the kernel's own accesses, and what it
//! must not do to a program that has no use for it. The C programs are in `c/`; each names the mistakes that it catches.

#[path = "../../../doubles/harness/cdylib.rs"]
mod cdylib;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use std::{env, fs};

fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| cdylib::build("").join("libhmmrt_preload.so"))
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("hmmrt-preload")
        .join(format!("{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

/// Compiles a program of `c/`. Not with what the compiler knows of malloc: it would leave calls out.
fn compile(name: &str) -> (PathBuf, PathBuf) {
    // A folder for each test: two of them use the same program.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let dir = scratch(&format!("{name}-{}", NUMBER.fetch_add(1, Relaxed)));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(format!("{name}.c"));
    let cc = env::var("CC").ok().filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".to_owned());
    let program = dir.join(name);
    let output = Command::new(cc)
        .args(["-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fno-builtin", "-pthread"])
        .arg(source)
        .arg("-o")
        .arg(&program)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (program, dir)
}

/// The program with the library before it, and no setting of ours but these.
fn preloaded(program: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HMMRT_")) {
        command.env_remove(name);
    }
    command.env("LD_PRELOAD", library()).env("HMMRT_BACKEND", "host").envs(settings.iter().copied());
    command
}

/// Runs it; one that hangs is killed, with all that it has started left to end by its own alarms.
fn run(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let pid = child.id() as i32;
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if waiting.recv_timeout(Duration::from_secs(120)).is_err() {
            // SAFETY: our own child, which nobody has waited for yet.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    });
    let output = child.wait_with_output().expect("its output");
    let _ = done.send(());
    let _ = watch.join();
    output
}

/// Runs a program of `c/`, and checks that it said `ok` for each of its parts.
fn passes(program: &Path, arguments: &[&Path], settings: &[(&str, &str)]) -> Output {
    let mut command = preloaded(program, settings);
    let output = run(command.args(arguments));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{settings:?}: {}\n{out}{err}", output.status);
    let name = program.file_name().and_then(|n| n.to_str()).expect("its name");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(format!("{name}.c"));
    let source = fs::read_to_string(source).expect("its source");
    let parts = source.lines().filter(|line| line.trim_start().starts_with("PART(")).count();
    assert_eq!(out.lines().filter(|line| line.starts_with("ok ")).count(), parts, "{out}");
    output
}

/// Whether the statistics say that something was sent to a device.
fn moved(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("to the device")).unwrap_or_default();
    line.contains(" moves") && !line.contains(" 0 moves")
}

#[test]
fn only_names_of_the_c_library_and_of_drivers_are_exported() {
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(library()).output().expect("nm");
    let text = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    for name in names.iter().filter(|name| !name.starts_with("cu") && !name.starts_with("hip")) {
        let c = std::ffi::CString::new(*name).expect("a name");
        // SAFETY: a C string. This program does not have the library before it.
        let at = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c.as_ptr()) };
        assert!(!at.is_null(), "{name} is not the C library's");
    }
    let family = "malloc calloc realloc reallocarray free aligned_alloc posix_memalign memalign valloc pvalloc \
                  malloc_usable_size sigaction signal sigprocmask pthread_sigmask read write fread fwrite";
    for name in family.split_whitespace() {
        assert!(names.contains(name), "{name} is missing");
    }
    let output = Command::new("readelf").args(["-dW"]).arg(library()).output().expect("readelf");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("[libhmmrt_preload.so.0]") && text.contains("NODELETE"), "{text}");
    // One is the C compiler's own, in every library.
    let destructors = text.lines().find(|line| line.contains("(FINI_ARRAYSZ)")).expect("its size");
    assert!(destructors.contains(" 8 (bytes)"), "{destructors}");
}

#[test]
fn rules_of_malloc() {
    let (program, _) = compile("rules");
    for least in ["0", "64K", ""] {
        passes(&program, &[], &[("HMMRT_MIN_SIZE", least)]);
        let chaos = [("HMMRT_MIN_SIZE", least), ("HMMRT_CHAOS", "1"), ("HMMRT_STATS", "1")];
        assert!(moved(&passes(&program, &[], &chaos)), "nothing was ever away");
    }
    // As with a GPU's driver: faults are served by another thread.
    let settings = [("HMMRT_MIN_SIZE", "64K"), ("HMMRT_CHAOS", "1"), ("HMMRT_HOST_DIRECT", "0")];
    passes(&program, &[], &settings);
}

#[test]
fn the_kernels_own_accesses() {
    let (program, dir) = compile("kernel");
    for direct in ["1", "0"] {
        let settings = [("HMMRT_MIN_SIZE", "16K"), ("HMMRT_CHAOS", "1"), ("HMMRT_HOST_DIRECT", direct)];
        passes(&program, &[&dir], &settings);
    }
}

#[test]
fn nothing_is_started_without_need() {
    let (program, _) = compile("quiet");
    for least in ["0", "64K", ""] {
        passes(&program, &[], &[("HMMRT_MIN_SIZE", least), ("HMMRT_BACKEND", "auto")]);
    }
}

#[test]
fn bad_settings_are_said_and_harm_nobody() {
    for (name, value) in
        [("HMMRT_MIN_SIZE", "many"), ("HMMRT_MIN_SIZE", "99999999999999999999"), ("HMMRT_BACKEND", "abacus")]
    {
        let mut command = preloaded(Path::new("/bin/sh"), &[(name, value)]);
        let output = run(command.args(["-c", "printf '%5000000s' x | wc -c"]));
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && output.stdout.starts_with(b"5000000"), "{value}: {err}");
        assert!(name != "HMMRT_MIN_SIZE" || err.contains(name), "{value}: {err}");
    }
    // The runtime's own settings are read with the first large block.
    let (program, _) = compile("quiet");
    let output = run(&mut preloaded(&program, &[("HMMRT_BACKEND", "abacus")]));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && err.contains("abacus"), "{err}");
    assert_eq!(err.matches("hmmrt error").count(), 1, "{err}");
}

#[test]
fn python() {
    const MODULES: [&str; 3] = ["test.test_array", "test.test_bytes", "test.test_memoryview"];
    // The interpreter itself: what is first in PATH may be a shell script that starts it.
    let asked =
        Command::new("python3").args(["-c", "import sys, test.test_array; print(sys.executable)"]).output();
    let python = match asked {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => return eprintln!("skipped: no python3 with its tests"),
    };
    for least in ["0", "64K", ""] {
        let settings = [("HMMRT_MIN_SIZE", least), ("HMMRT_CHAOS", "1")];
        let mut command = preloaded(Path::new(&python), &settings);
        let output = run(command.args(["-m", "unittest", "-q"]).args(MODULES));
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && err.contains("\nOK"), "{settings:?}: {}\n{err}", output.status);
    }
}
