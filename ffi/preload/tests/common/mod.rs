//! What the tests with C programs share: compiling them, and running them with the library before them.

#[path = "../../../../doubles/harness/cdylib.rs"]
mod cdylib;
#[path = "../../../../runtime/tests/common/skips.rs"]
mod skips;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use std::{env, fs};

#[allow(unused_imports, reason = "not every test program leaves something out")]
pub use skips::skipped;

/// What the library is built with: as these tests.
pub const FEATURES: &str = if cfg!(feature = "small-objects") { "small-objects" } else { "" };

/// The library, built once.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| cdylib::build_with("", FEATURES).join("libhmmrt_preload.so"))
}

/// The double of CUDA's driver.
#[allow(dead_code, reason = "not for every test program")]
pub fn cuda_double() -> PathBuf {
    cdylib::build("../../doubles/cuda").join("libhmmrt_double_cuda.so")
}

/// An empty folder of that name.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("hmmrt-preload")
        .join(format!("{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

/// Compiles a program of `c/`. Not with what the compiler knows of malloc: it would leave calls out.
pub fn compile(name: &str) -> (PathBuf, PathBuf) {
    compile_with(name, &[])
}

/// As [`compile`], with more for the compiler.
pub fn compile_with(name: &str, more: &[&str]) -> (PathBuf, PathBuf) {
    // A folder for each test: two of them use the same program.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let dir = scratch(&format!("{name}-{}", NUMBER.fetch_add(1, Relaxed)));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(format!("{name}.c"));
    let cc = env::var("CC").ok().filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".to_owned());
    let program = dir.join(name);
    let output = Command::new(cc)
        .args(["-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fno-builtin", "-pthread"])
        .args(more)
        .arg(source)
        .arg("-o")
        .arg(&program)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (program, dir)
}

/// The program with the library before it, and no setting of ours but these.
pub fn preloaded(program: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HMMRT_")) {
        command.env_remove(name);
    }
    command.env("LD_PRELOAD", library()).env("HMMRT_BACKEND", "host").envs(settings.iter().copied());
    command
}

/// Runs it; one that hangs is killed, with all that it has started left to end by its own alarms.
pub fn run(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let pid = child.id() as i32;
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if waiting.recv_timeout(Duration::from_secs(900)).is_err() {
            // SAFETY: our own child, which nobody has waited for yet.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    });
    let output = child.wait_with_output().expect("its output");
    let _ = done.send(());
    let _ = watch.join();
    output
}

/// Runs a program of `c/`, and checks that it said of each of its parts how it went.
pub fn passes(program: &Path, arguments: &[&Path], settings: &[(&str, &str)]) -> Output {
    let mut command = preloaded(program, settings);
    let output = run(command.args(arguments));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{settings:?}: {}\n{out}{err}", output.status);
    spoken(program.file_name().and_then(|n| n.to_str()).expect("its name"), &output);
    output
}

/// What a program says of a part for which the machine lacks something.
const LEFT_OUT: &str = "left out: ";

/// Checks that the program of `c/` with that name has ended well, and said `ok` for each of its parts, or why it was left out;
/// which is said again. How many were run.
pub fn spoken(name: &str, output: &Output) -> usize {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{out}{err}", output.status);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(format!("{name}.c"));
    let source = fs::read_to_string(source).expect("its source");
    let parts = source.lines().filter(|line| line.trim_start().starts_with("PART(")).count();
    let ran = out.lines().filter(|line| line.starts_with("ok ")).count();
    let left_out: Vec<_> = out.lines().filter(|line| line.starts_with(LEFT_OUT)).collect();
    left_out.iter().for_each(|line| eprintln!("{name}: {line}"));
    assert_eq!(ran + left_out.len(), parts, "{out}");
    ran
}
