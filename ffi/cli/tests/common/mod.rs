//! What the tests of the command share: running it in a clean environment, and files for it to run.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::{env, fs, process};

/// The command, without settings of whoever runs the tests.
pub fn hmmrt() -> Command {
    clean(env!("CARGO_BIN_EXE_hmmrt"))
}

/// `hmmrt run` with the library of [`library`].
pub fn run() -> Command {
    let mut command = hmmrt();
    command.arg("run").arg("--preload").arg(library());
    command
}

/// Any program, as above.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("HMMRT_") || name == "LD_PRELOAD" {
            command.env_remove(name);
        }
    }
    command
}

/// What it wrote, and how it ended.
pub struct Done {
    /// Exit status; -1 for a signal.
    pub status: i32,
    pub out: String,
    pub err: String,
    pub output: Output,
}

/// Runs to the end.
pub fn done(command: &mut Command) -> Done {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done {
        status: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
        output,
    }
}

/// Runs to the end, which must be a good one. What it wrote to standard output.
pub fn good(command: &mut Command) -> String {
    let done = done(command);
    assert!(done.output.status.success(), "{command:?}: {}\n{}", done.output.status, done.err);
    done.out
}

/// A folder of this process's own; those of processes that have ended are removed.
pub fn scratch(name: &str) -> PathBuf {
    static OWN: OnceLock<PathBuf> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hmmrt-cli");
        fs::create_dir_all(&all).expect("the scratch folder");
        for entry in fs::read_dir(&all).expect("the scratch folder").flatten() {
            if !Path::new("/proc").join(entry.file_name()).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        all.join(process::id().to_string())
    });
    let dir = own.join(name);
    fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

/// Makes a file. Another process does, so that no thread's child can inherit it open for writing: it could not be executed.
pub fn file(path: &Path, mode: &str, content: impl AsRef<[u8]>) {
    let mut command = Command::new("sh");
    command.args(["-c", "cat >\"$0\" && chmod \"$1\" \"$0\""]).arg(path).arg(mode);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("sh");
    child.stdin.take().expect("a pipe").write_all(content.as_ref()).expect("the content");
    assert!(child.wait().expect("sh").success(), "{}", path.display());
}

/// Compiles C.
pub fn compile(source: &str, flags: &[&str], to: &Path) {
    let cc = env::var_os("CC").filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".into());
    let mut command = Command::new(cc);
    command.args(["-x", "c", "-", "-o"]).arg(to).args(flags);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("a C compiler");
    child.stdin.take().expect("a pipe").write_all(source.as_bytes()).expect("the source");
    assert!(child.wait().expect("the C compiler").success(), "{source}");
}

/// A library that can be preloaded and does nothing.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| empty_library(&scratch("library").join("libhmmrt_preload.so")))
}

/// Makes such a library. Its real path.
pub fn empty_library(path: &Path) -> PathBuf {
    compile("int hmmrt_cli_test;", &["-shared", "-fPIC", "-nostdlib"], path);
    path.canonicalize().expect("the library")
}
