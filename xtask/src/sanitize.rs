//! The C and C++ programs of the tests, of the course and the tour with undefined behaviour made visible: compiled with gcc's
//! AddressSanitizer and UBSan. It begins with programs that are wrong, which must be caught: else nothing was on.
//!
//! Called by `check`; `valgrind` builds its programs here, too. The library is the installed one; only the programs are instrumented, and what they are given back is
//! checked where they touch it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{Command, Output};
use crate::course::without_settings;
use crate::workspace::Workspace;
use crate::{doubles, engines, input};

/// For one program; all of them take some 20 s.
const LIMIT: Duration = Duration::from_secs(360);

/// Run on every fault engine, the course on the default one.
const TESTS: [&str; 13] = [
    "advice.c",
    "after_shutdown.c",
    "api.c",
    "contract.c",
    "cpp.cpp",
    "edges.c",
    "forked.c",
    "privileged.c", // as any program: the sanitizers' libraries are not for setuid ones
    "refused_calls.c",
    "refused_memory.c",
    "secure.c",
    "signals.c",
    "start.c",
];

/// Programs of two files.
const PAIRS: [[&str; 2]; 2] = [["twice_a.c", "twice_b.c"], ["twice_a.cpp", "twice_b.cpp"]];

const FLAGS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// What each tool must find, in a file of that name, and what it then says.
const MISTAKES: [(&str, &str, &str); 6] = [
    (
        "past_the_end.c",
        "volatile char *p = malloc(10 * n); p[n + 9] = 1; free((char *)p);",
        "heap-buffer-overflow",
    ),
    (
        "used_after_free.c",
        "volatile char *p = malloc(10 * n); free((char *)p); p[n] = 1;",
        "heap-use-after-free",
    ),
    ("overflow.c", "volatile int x = 0x7fffffff; x += n;", "signed integer overflow"),
    ("misaligned.c", "char b[16] = {0}; return *(int *)(b + n);", "misaligned address"),
    (
        "deleted_before.cpp",
        "volatile char *p = new char[10 * n]; delete[] p; p[n] = 1;",
        "heap-use-after-free",
    ),
    ("overflow_too.cpp", "volatile int x = 0x7fffffff; x = x + n;", "signed integer overflow"),
];

/// Returns how many runs of programs.
pub fn run(workspace: &Workspace, prefix: &Path) -> Result<u64> {
    let sanitized = |sources: &[PathBuf]| build(workspace, prefix, sources, &FLAGS);
    for (name, body, said) in MISTAKES {
        let program = sanitized(&[mistake(workspace, name, body)?])?;
        let output = asan(&program).capture()?;
        let caught = !output.status.success() && output.stderr.contains(said);
        ensure!(caught, "{name} is wrong and was not caught: the sanitizers are not on\n{}", output.stderr);
    }
    let mut runs = MISTAKES.len() as u64;
    let mut engines = vec!["segv"];
    engines.extend(engines::here(workspace)?.0);
    for name in TESTS {
        let source = workspace.root.join("ffi/tests/c").join(name);
        let program = sanitized(std::slice::from_ref(&source))?;
        for engine in &engines {
            // Its argument is anything at all; other programs have none.
            let argument = (name == "start.c").then_some("moves");
            let output = asan(&program).args(argument).env("HMMRT_FAULT", *engine).capture()?;
            well(workspace, &source, output)?;
            runs += 1;
        }
    }
    for names in PAIRS {
        let sources = names.map(|name| workspace.root.join("ffi/tests/c").join(name));
        well(workspace, &sources[0], asan(&sanitized(&sources)?).capture()?)?;
        runs += 1;
    }
    if engines.contains(&"uffd-thread") {
        unwrapped(workspace, &sanitized)?;
        runs += 1;
    }
    for source in course(workspace)? {
        well(workspace, &source, asan(&sanitized(std::slice::from_ref(&source))?).capture()?)?;
        runs += 1;
    }
    Ok(runs + device_code(workspace, prefix)? + tour(workspace, prefix)?)
}

/// The kernel's own accesses, with the engine that answers them; in a folder of its own.
fn unwrapped(workspace: &Workspace, sanitized: &dyn Fn(&[PathBuf]) -> Result<PathBuf>) -> Result<()> {
    let source = workspace.root.join("ffi/tests/c/unwrapped.c");
    let files = folder(workspace)?.join("files");
    let _ = fs::remove_dir_all(&files);
    fs::create_dir_all(&files)?;
    let command =
        asan(&sanitized(std::slice::from_ref(&source))?).args([&files]).env("HMMRT_FAULT", "uffd-thread");
    let output = command.capture()?;
    ensure!(!output.stdout.contains("skipped"), "unwrapped.c: {}", output.stdout);
    well(workspace, &source, output)
}

/// What only a GPU has, on the doubles of the drivers.
fn device_code(workspace: &Workspace, prefix: &Path) -> Result<u64> {
    let source = workspace.root.join("ffi/tests/c/gpu.c");
    let program = build(workspace, prefix, std::slice::from_ref(&source), &FLAGS)?;
    let code = workspace.root.join("kernels");
    let image = folder(workspace)?.join("kernels.cu");
    fs::write(
        &image,
        fs::read_to_string(code.join("kernels.cu"))? + &fs::read_to_string(code.join("test_kernels.cu"))?,
    )?;
    for (backend, image) in [("cuda", code.join("test_kernels.ptx")), ("hip", image)] {
        let library = format!("HMMRT_{}_LIBRARY", backend.to_uppercase());
        let command = asan(&program).args([image]).env("HMMRT_BACKEND", backend);
        well(workspace, &source, command.env(&library, doubles::build(workspace, backend)?).capture()?)?;
    }
    Ok(2)
}

/// The C tour over its small inputs.
fn tour(workspace: &Workspace, prefix: &Path) -> Result<u64> {
    let folder = workspace.root.join("examples/c/tour");
    let program = build(workspace, prefix, &sources(&folder, &["c"])?, &FLAGS)?;
    let files = input::small(workspace)?;
    for file in &files {
        well(workspace, &folder, asan(&program).args([file]).capture()?)?;
    }
    Ok(files.len() as u64)
}

/// The library handles SIGSEGV itself, and a program's own handler must be the only other; the library's threads and the
/// heap's memory are not leaks.
fn asan(program: &Path) -> Command {
    without_settings(Command::new(program))
        .env("HMMRT_BACKEND", "host")
        .env("ASAN_OPTIONS", "handle_segv=0:use_sigaltstack=0:detect_leaks=0:allocator_may_return_null=1")
        .limit(LIMIT)
}

fn course(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let examples = workspace.root.join("examples");
    Ok([sources(&examples.join("c"), &["c"])?, sources(&examples.join("cpp"), &["cpp"])?].concat())
}

/// The files of a folder that end so, in order.
fn sources(folder: &Path, ends: &[&str]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| ends.iter().any(|e| end == *e)) {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// The program ended well.
pub fn well(workspace: &Workspace, source: &Path, output: Output) -> Result<()> {
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

/// A program that is wrong, in a file of that name.
pub fn mistake(workspace: &Workspace, name: &str, body: &str) -> Result<PathBuf> {
    let source = folder(workspace)?.join(name);
    fs::write(
        &source,
        format!("#include <stdlib.h>\nint main(int n, char **v) {{ (void)v; {body} return 0; }}\n"),
    )?;
    Ok(source)
}

/// Builds a program, in C++ if its source is, against the installed library.
pub fn build(workspace: &Workspace, prefix: &Path, sources: &[PathBuf], flags: &[&str]) -> Result<PathBuf> {
    let first = sources.first().context("no sources")?;
    let stem = first.file_stem().and_then(|stem| stem.to_str()).unwrap_or("program");
    let program = folder(workspace)?.join(stem);
    let lib = prefix.join("lib");
    let is_cpp = first.extension().is_some_and(|end| end == "cpp");
    let (compiler, standard) = if is_cpp { ("g++", "-std=c++17") } else { ("gcc", "-std=c11") };
    Command::new(compiler)
        .args([standard, "-O1", "-g", "-pthread", "-ffp-contract=off", "-w"])
        .args(flags)
        .args(["-I".as_ref(), prefix.join("include").as_os_str()])
        .args(sources)
        .args(["-o".as_ref(), program.as_os_str()])
        .args(["-L".as_ref(), lib.as_os_str()])
        .args(["-lhmmrt".to_owned(), format!("-Wl,-rpath,{}", lib.display())])
        .run()?;
    Ok(program)
}

/// Whether gcc and g++ are there with both sanitizers.
pub fn has_sanitizers() -> bool {
    let found = |name: &str| {
        let output = Command::new("gcc").args([format!("-print-file-name={name}")]).capture();
        output.is_ok_and(|o| o.stdout.contains('/'))
    };
    crate::command::installed("gcc")
        && crate::command::installed("g++")
        && found("libasan.so")
        && found("libubsan.so")
}
