//! What the tests of the C interface share: the library as an installed prefix, compilers, and running programs.

#![allow(dead_code, reason = "each test program uses its own part")]

#[path = "../../../doubles/harness/cdylib.rs"]
mod cdylib;
#[path = "../../../runtime/tests/common/skips.rs"]
mod skips;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, process};

#[allow(unused_imports, reason = "each test uses its part")]
pub use skips::skipped;

/// `-std` and the warnings that the header promises to be free of.
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// How a program gets the library.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// libhmmrt.so, with the flags of the pkg-config file.
    Shared,
    /// libhmmrt.a, with those for static linking.
    Static,
}

/// The library laid out as `cargo xtask install` does.
pub struct Prefix {
    pub root: PathBuf,
    libs: Vec<String>,
    pub libs_private: Vec<String>,
    cflags: Vec<String>,
}

/// Builds the library, once for each test program, and lays it out.
pub fn prefix() -> &'static Prefix {
    static PREFIX: OnceLock<Prefix> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let built = cdylib::build("");
        let root = scratch("prefix");
        let (lib, include) = (root.join("lib"), root.join("include"));
        for dir in [&lib, &include] {
            fs::create_dir_all(dir).expect("the prefix");
        }
        symlink(built.join("libhmmrt.so"), lib.join("libhmmrt.so.0")).expect("libhmmrt.so.0");
        symlink(built.join("libhmmrt.a"), lib.join("libhmmrt.a")).expect("libhmmrt.a");
        symlink("libhmmrt.so.0", lib.join("libhmmrt.so")).expect("libhmmrt.so");
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        for header in ["hmmrt.h", "hmmrt.hpp"] {
            fs::copy(package.join("../include").join(header), include.join(header)).expect("the header");
        }
        let pc = fs::read_to_string(package.join("hmmrt.pc.in")).expect("hmmrt.pc.in");
        let pc = pc.replace("@PREFIX@", root.to_str().expect("UTF-8")).replace("@VERSION@", "0");
        let field = |name| pc_field(&pc, name);
        Prefix { libs: field("Libs"), libs_private: field("Libs.private"), cflags: field("Cflags"), root }
    })
}

/// A field of a pkg-config file, its variables replaced, as words.
fn pc_field(pc: &str, name: &str) -> Vec<String> {
    let mut value =
        pc.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect(name).trim().to_owned();
    while let Some((before, rest)) = value.split_once("${") {
        let (variable, after) = rest.split_once('}').expect("a closing brace");
        let of = pc.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('=')).expect(variable);
        value = format!("{before}{of}{after}");
    }
    value.split_whitespace().map(str::to_owned).collect()
}

/// An empty folder of this process's own; those of processes that have ended are removed.
pub fn scratch(name: &str) -> PathBuf {
    static OWN: OnceLock<PathBuf> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hmmrt-ffi");
        fs::create_dir_all(&all).expect("the scratch folder");
        for entry in fs::read_dir(&all).expect("the scratch folder").flatten() {
            if !Path::new("/proc").join(entry.file_name()).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        all.join(process::id().to_string())
    });
    let dir = own.join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

/// The compiler for a source file: `$CC`, `$CXX`, `cc` or `c++`.
fn compiler(cpp: bool) -> Option<String> {
    let (variable, usual) = if cpp { ("CXX", "c++") } else { ("CC", "cc") };
    let name = env::var(variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| usual.to_owned());
    Command::new(&name).arg("--version").output().is_ok().then_some(name)
}

/// Whether C++ can be tested here. In CI it must be.
pub fn has_cpp() -> bool {
    let has = compiler(true).is_some();
    assert!(has || env::var_os("CI").is_none(), "c++ is not installed, and CI needs it");
    if !has {
        skipped("programs in C++", "no C++ compiler");
    }
    has
}

/// Compiles and links sources of tests/c/: C11, and C++17 if one of them is C++.
pub fn compile(sources: &[&str], link: Link) -> PathBuf {
    let prefix = prefix();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
    // Two tests may want the same program at the same time.
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let dir = scratch(&format!("{}-{link:?}-{}", sources[0], NUMBER.fetch_add(1, Relaxed)));
    let any_cpp = sources.iter().any(|source| source.ends_with(".cpp"));
    let mut objects = Vec::new();
    for source in sources {
        let cpp = source.ends_with(".cpp");
        let object = dir.join(source).with_extension("o");
        let mut command = Command::new(compiler(cpp).expect("a compiler"));
        command.args(["-c", "-O1", "-g", if cpp { "-std=c++17" } else { "-std=c11" }]);
        command.args(WARNINGS).args(&prefix.cflags).arg(folder.join(source)).arg("-o").arg(&object);
        succeed(&mut command);
        objects.push(object);
    }
    let program = dir.join("program");
    let mut command = Command::new(compiler(any_cpp).expect("a compiler"));
    command.args(&objects).arg("-o").arg(&program);
    match link {
        Link::Shared => {
            command.args(&prefix.libs);
            command.arg(format!("-Wl,-rpath,{}", prefix.root.join("lib").display()));
        }
        Link::Static => {
            let archive =
                |word: &String| if word == "-lhmmrt" { "-l:libhmmrt.a".to_owned() } else { word.clone() };
            command.args(prefix.libs.iter().map(archive)).args(&prefix.libs_private);
        }
    }
    succeed(&mut command);
    program
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The double of a driver, `cuda` or `hip`.
pub fn double(kind: &str) -> PathBuf {
    cdylib::build(&format!("../doubles/{kind}")).join(format!("libhmmrt_double_{kind}.so"))
}

/// Runs a program on the host backend, without the caller's settings but with these.
pub fn run(program: &Path, settings: &[(&str, &str)]) -> Output {
    run_with(program, &[], settings)
}

/// The same, with arguments.
pub fn run_with(program: &Path, args: &[&Path], settings: &[(&str, &str)]) -> Output {
    command(program, args, settings).output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// What [`run_with`] runs.
pub fn command(program: &Path, args: &[&Path], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("HMMRT_") {
            command.env_remove(name);
        }
    }
    command.env("HMMRT_BACKEND", "host").envs(settings.iter().copied());
    command
}

/// Runs a program that must end well, and gives what it printed.
pub fn run_ok(program: &Path, settings: &[(&str, &str)]) -> (String, String) {
    let output = run(program, settings);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {}\n{out}{err}", program.display(), output.status);
    (out.into_owned(), err.into_owned())
}
