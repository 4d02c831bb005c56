//! The assembly for aarch64, on any machine that has a C compiler for it and qemu: there may be no Rust library for it. The texts
//! are those that the library is made of; what Rust would put into their places is put there by this test.

#[allow(dead_code, reason = "what runs programs here is for those of this machine")]
mod common;

use common::{scratch, spoken};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const MACHINE: &str = "qemu-aarch64";

/// A function of that name, from a text with these values in its places.
fn function(name: &str, text: &str, values: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/aarch64").join(format!("{text}.s"));
    let mut body = fs::read_to_string(path).expect("the assembly");
    for (place, value) in values {
        let place = format!("{{{place}}}");
        assert!(body.contains(&place), "{text}.s has no {place}");
        body = body.replace(&place, value);
    }
    assert!(!body.contains('{'), "a place of {text}.s has no value: {body}");
    format!(".text\n.global {name}\n.type {name}, %function\n{name}:\n{body}.size {name}, . - {name}\n")
}

fn all() -> String {
    let mut all = String::new();
    for n in ["1", "2", "3"] {
        let body = format!("body{n}");
        let values = [("active", "active"), ("plain", "plain"), ("at", "16"), ("named", n), ("body", &body)];
        all += &function(&format!("print{n}"), "variadic", &values);
    }
    for n in ["1", "6"] {
        let body = format!("body_caller{n}");
        all += &function(&format!("with_caller{n}"), "caller", &[("after", n), ("body", &body)]);
    }
    all += &function("ask", "dlsym", &[("decide", "decide")]);
    let values = [("active", "active"), ("plain", "plain"), ("at", "16"), ("ready", "ready")];
    all += &function("swap_contexts", "context", &values);
    let values = [("flags", "flags"), ("real", "plain"), ("at", "16"), ("address", "address")];
    all += &function("load", "dlopen", &values);
    all + ".section .note.GNU-stack, \"\", %progbits\n"
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn the_assembly_for_aarch64() {
    let missing: Vec<_> = [COMPILER, MACHINE].into_iter().filter(|p| !is_there(p)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        let why = format_args!("no {missing} (apt install gcc-aarch64-linux-gnu qemu-user)");
        return common::skipped("the_assembly_for_aarch64", why);
    }
    let dir = scratch("aarch64");
    fs::write(dir.join("pieces.s"), all()).expect("a file");
    fs::write(dir.join("hidden"), "{ global: main; local: *; };\n").expect("a file");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/aarch64.c");
    let build = |arguments: &[&str], to: &str| {
        let mut command = Command::new(COMPILER);
        command.args(["-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-funwind-tables", "-fno-builtin"]);
        command.args(arguments).arg(&source).arg("pieces.s").args(["-o", to]).current_dir(&dir);
        let output = command.output().expect("the compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // Into a library whose names are its own, as the preload library's are: the addresses must be such as may be in one.
    build(&["-fPIC", "-shared", "-Wl,--version-script=hidden"], "library.so");
    build(&["-static"], "program");
    let output = Command::new(MACHINE).arg(dir.join("program")).output().expect("qemu");
    spoken("aarch64", &output);
}
