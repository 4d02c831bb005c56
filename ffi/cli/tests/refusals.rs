//! What `hmmrt run` refuses: programs into which nothing can be preloaded, settings that the library would refuse, and
//! libraries that are none. Always before the program is started, with status 125.

mod common;

use common::{clean, compile, done, empty_library, file, good, hmmrt, library, run, scratch};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A static program that exits with 7. It needs no static C library.
fn static_program(name: &str, flags: &[&str]) -> PathBuf {
    let program = scratch("static").join(name);
    let exit = match std::env::consts::ARCH {
        "x86_64" => "mov $60, %eax\\nmov $7, %edi\\nsyscall",
        "aarch64" => "mov x8, 93\\nmov x0, 7\\nsvc 0",
        other => panic!("no assembly for {other}"),
    };
    let source = format!("void _start(void) {{ __asm__ volatile(\"{exit}\"); }}");
    compile(&source, &[&["-nostdlib", "-O1"], flags].concat(), &program);
    program
}

#[track_caller]
fn refused(command: &mut Command, words: &[&str]) {
    let run = done(command);
    assert_eq!((run.status, &*run.out), (125, ""), "{}", run.err);
    assert!(words.iter().all(|word| run.err.contains(word)), "{words:?} in {}", run.err);
    assert!(!run.err.contains("panicked"), "{}", run.err);
}

#[test]
fn static_programs() {
    for (name, flags) in [("plain", &["-static"][..]), ("pie", &["-static-pie", "-fPIE"])] {
        let program = static_program(name, flags);
        refused(run().arg(&program), &[program.to_str().unwrap(), "static program", "--force"]);
        assert_eq!(done(run().arg("--force").arg(&program)).status, 7);
    }
}

#[test]
fn scripts_of_static_programs() {
    let program = static_program("interpreter", &["-static"]);
    let scripts = scratch("static");
    let [script, script_of_script] = ["script", "script2"].map(|name| scripts.join(name));
    file(&script, "755", format!("#!{} -x\n", program.display()));
    file(&script_of_script, "755", format!("#! {}\n", script.display()));
    for script in [script, script_of_script] {
        refused(run().arg(&script), &["is a script", program.to_str().unwrap(), "static program"]);
        assert_eq!(done(run().arg("--force").arg(&script)).status, 7);
    }
}

/// The loader has no loader, and yet preloads.
#[test]
fn the_loader_itself_is_no_static_program() {
    let own = fs::read(env!("CARGO_BIN_EXE_hmmrt")).unwrap();
    let at = own.windows(8).position(|w| w.starts_with(b"/lib") && w.contains(&b'/')).unwrap();
    let loader = own[at..].split(|b| *b == 0).next().unwrap();
    let loader = std::str::from_utf8(loader).unwrap();
    let run = done(run().args([loader, "/bin/cat", "/proc/self/maps"]));
    assert!(run.status == 0 && run.out.contains(library().to_str().unwrap()), "{loader}: {}", run.err);
}

/// A header is enough: the file is not started.
fn elf(bits: u8, machine: u8) -> Vec<u8> {
    let mut header = vec![0; if bits == 64 { 64 } else { 52 }];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', if bits == 64 { 2 } else { 1 }, 1, 1]);
    header[16] = 2; // an executable
    header[18] = machine;
    header[20] = 1;
    let size = header.len() as u8;
    header[if bits == 64 { 52 } else { 40 }] = size;
    header
}

#[test]
fn other_machines_code() {
    let dir = scratch("machines");
    for (name, bits, machine, words) in [
        ("i386", 32, 3, "32-bit x86 code"),
        ("arm", 32, 40, "32-bit ARM code"),
        ("riscv", 64, 243, "64-bit RISC-V code"),
        ("odd", 64, 77, "ELF machine 77"),
    ] {
        let program = dir.join(name);
        file(&program, "755", elf(bits, machine));
        refused(run().arg(&program), &[program.to_str().unwrap(), words, "--force"]);
        // The kernel's own opinion.
        assert_eq!(done(run().arg("--force").arg(&program)).status, 126);
        // Nor is it a library.
        let library = dir.join(name);
        refused(hmmrt().args(["run", "--preload"]).arg(&library).arg("true"), &["--preload", words]);
    }
}

/// What the kernel says to the program (AT_SECURE) is what is foreseen, for every kind of file and caller that can be made
/// here: all if this runs as root, else one's own only.
#[test]
fn programs_with_rights_of_their_own() {
    const NOBODY: u32 = 65534;
    let dir = scratch("rights");
    let plain = dir.join("plain");
    let source = "#include <sys/auxv.h>\nint main(void) { return getauxval(AT_SECURE) ? 1 : 0; }";
    compile(source, &[], &plain);
    let root = fs::metadata(&plain).unwrap().uid() == 0;
    let callers: &[Option<u32>] = if root { &[None, Some(NOBODY)] } else { &[None] };
    let owners: &[Option<u32>] = if root { &[Some(0), Some(NOBODY)] } else { &[None] };
    let mut secure = 0;
    for (owner, mode, capabilities) in owners.iter().flat_map(|owner| {
        [(0o755, false), (0o4755, false), (0o2755, false), (0o2745, false), (0o6755, false), (0o755, true)]
            .map(|(mode, capabilities)| (*owner, mode, capabilities))
    }) {
        let program = dir.join(format!("{owner:?}-{mode:o}-{capabilities}"));
        assert!(Command::new("cp").arg(&plain).arg(&program).status().unwrap().success());
        std::os::unix::fs::chown(&program, owner, owner).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        if capabilities {
            let set = Command::new("setcap").arg("cap_net_raw+ep").arg(&program).output();
            if !set.is_ok_and(|output| output.status.success()) {
                continue;
            }
        }
        for caller in callers {
            let as_caller = |mut command: Command| {
                caller.map(|id| command.uid(id).gid(id));
                command
            };
            // A caller who can't get here.
            let Ok(truth) = as_caller(clean(&program)).status() else { continue };
            let said = done(as_caller(run()).arg(&program));
            let case = format!("{} by {caller:?}: {}", program.display(), said.err);
            match truth.code() {
                Some(0) => assert_eq!(said.status, 0, "{case}"),
                Some(1) => {
                    secure += 1;
                    assert_eq!(said.status, 125, "{case}");
                    let why = ["setuid program", "setgid program", "file capabilities"];
                    assert!(why.iter().any(|why| said.err.contains(why)), "{case}");
                    assert_eq!(done(as_caller(run()).arg("--force").arg(&program)).status, 1);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let mount = Command::new("findmnt").args(["-no", "OPTIONS", "-T"]).arg(&dir).output();
    let powerless = mount.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nosuid"));
    assert!(!root || powerless || secure >= 2, "{secure}");
}

#[test]
fn wrong_values_name_the_option() {
    for (option, value, words) in [
        ("--backend", "gpu", &["auto", "cuda", "hip", "host"][..]),
        ("--fault", "magic", &["segv"]),
        ("--log", "loud", &["debug"]),
        ("--min-size", "64Q", &["bytes", "64K"]),
        ("--min-size", "", &["--min-size"]),
    ] {
        refused(run().args([option, value, "true"]), &[&[option, value][..], words].concat());
        refused(run().args([&format!("{option}={value}"), "true"]), &[&[option, value][..], words].concat());
    }
    refused(run().args(["--bakend", "host", "true"]), &["--bakend", "--backend"]);
    refused(&mut run(), &["PROGRAM"]);
}

#[test]
fn wrong_variables_are_named() {
    for (name, value) in [
        ("HMMRT_BACKEND", "gpu"),
        ("HMMRT_FAULT", "magic"),
        ("HMMRT_MIN_SIZE", "64Q"),
        ("HMMRT_CHAOS", "yes"),
        ("HMMRT_STATS", "yes"),
        ("HMMRT_SPARE", "lots"),
        ("HMMRT_FORK", "never"),
        ("HMMRT_HOST_FAIL", "nonsense"),
    ] {
        refused(run().env(name, value).arg("true"), &[name, value]);
        // An empty one is none.
        assert_eq!(done(run().env(name, "").arg("true")).status, 0, "{name}");
    }
}

/// An engine that the machine has is taken, another is refused.
#[test]
fn engines_that_are_not_there() {
    let info = good(hmmrt().arg("info"));
    for engine in ["uffd", "uffd-thread"] {
        let line = info.lines().find(|line| line.split_whitespace().next() == Some(engine)).unwrap();
        let (mut option, mut variable) = (run(), run());
        let ways =
            [option.args(["--fault", engine, "true"]), variable.env("HMMRT_FAULT", engine).arg("true")];
        for way in ways {
            match line.contains("this machine lacks") {
                true => refused(way, &[engine, "not supported"]),
                false => assert_eq!(done(way).status, 0, "{engine}"),
            }
        }
    }
}

#[test]
fn what_is_no_library() {
    let dir = scratch("libraries");
    let text = dir.join("text.so");
    file(&text, "644", "/* GNU ld script */\n");
    let give = |path: &Path| {
        let mut command = hmmrt();
        command.args(["run", "--preload"]).arg(path).arg("true");
        command
    };
    refused(&mut give(Path::new("/no/such.so")), &["--preload /no/such.so", "No such file"]);
    refused(&mut give(&text), &["text.so", "not a shared library"]);
    refused(&mut give(&dir), &["--preload", dir.to_str().unwrap()]);
    for name in ["with space", "with:colon", "with$ORIGIN"] {
        let library = dir.join(name);
        empty_library(&library);
        refused(&mut give(&library), &[name, "LD_PRELOAD"]);
    }
    let by_variable = hmmrt().env("HMMRT_PRELOAD_LIBRARY", "/no/such.so").args(["run", "true"]).output();
    let said = String::from_utf8_lossy(&by_variable.unwrap().stderr).into_owned();
    assert!(said.contains("HMMRT_PRELOAD_LIBRARY=/no/such.so"), "{said}");
}
