//! What SECURITY.md promises of a program that the preload library is before: no memory is writable and executable, no code
//! is made while it runs, nothing is shared, and nothing is made that others could open, with memory away on a device and in every way that system calls are seen; and
//! nothing happens in a setuid program.

#[allow(dead_code, reason = "what runs C programs is for other tests")]
mod common;
#[path = "../../../doubles/harness/hardened.rs"]
mod hardened;
#[path = "../../../doubles/harness/made.rs"]
mod made;

use common::{compile_with, library, preloaded, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const CHAOS: [(&str, &str); 3] = [("HMMRT_CHAOS", "1"), ("HMMRT_MIN_SIZE", "16K"), ("HMMRT_STATS", "1")];

/// Large blocks that are written and read, a file that is there, a child; at the very end, what is mapped.
const PROGRAM: &str = "
    my @all = map { chr(65 + $_) x (3_000_000 + $_) } 0 .. 9;
    open my $out, '+<', $ARGV[0] or die; print $out @all; close $out or die;
    open my $in, '<', $ARGV[0] or die; local $/; my $text = <$in>;
    die if $text ne join '', @all;
    system('true') == 0 or die;
    END { open my $maps, '<', '/proc/self/maps' or die; print <$maps> }";

#[test]
fn the_library_is_hardened() {
    hardened::check(library());
}

/// What is linked in another way is refused: else the check checked nothing.
#[test]
fn what_is_not_hardened_is_seen() {
    let dir = common::scratch("soft");
    std::fs::write(dir.join("soft.c"), "int n; int *f(void) { return &n; }\n").expect("a file");
    let is_refused = |flags: &[&str]| {
        let file = dir.join("soft.so");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-Wl,-z,relro,-z,now"]).args(flags);
        let output = command.arg(dir.join("soft.c")).arg("-o").arg(&file).output().expect("a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::panic::catch_unwind(|| hardened::check(&file)).is_err()
    };
    assert!(!is_refused(&[]));
    for flag in ["-Wl,-z,execstack", "-Wl,-z,norelro", "-Wl,-z,lazy", "-Wl,-rpath,/tmp"] {
        assert!(is_refused(&[flag]), "{flag}");
    }
}

#[test]
fn what_may_not_be_mapped_is_seen() {
    let library = "7f00-7f10 r-xp 00000000 fe:00 1 /a/libhmmrt_preload.so\n";
    look(library);
    for line in [
        "7f20-7f30 rwxp 00000000 00:00 0",
        "7f20-7f30 r-xp 00000000 00:00 0",
        "7f20-7f30 rwxp 00000000 00:00 0 [stack]",
        "7f20-7f30 rw-s 00000000 00:01 9 /dev/zero (deleted)",
    ] {
        assert!(std::panic::catch_unwind(|| look(&format!("{library}{line}\n"))).is_err(), "{line}");
    }
}

/// Checks a list of mappings, as /proc/self/maps has them.
fn look(maps: &str) {
    let mut code = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (mode, name) = (fields.nth(1).expect("a mode"), fields.nth(3).unwrap_or(""));
        assert!(!(mode.contains('w') && mode.contains('x')), "writable and executable: {line}");
        assert!(!(mode.contains('w') && mode.ends_with('s')), "shared: {line}");
        if mode.contains('x') {
            let of_a_file = name.starts_with('/') || ["[vdso]", "[vsyscall]"].contains(&name);
            assert!(of_a_file, "code that nobody has loaded: {line}");
            code += usize::from(name.ends_with("/libhmmrt_preload.so"));
        }
    }
    assert_eq!(code, 1, "the library's code, in one piece: {maps}");
}

#[test]
fn what_is_made_is_seen() {
    made::is_seen(&common::scratch("made"));
}

#[test]
fn no_memory_is_writable_and_executable_and_nothing_is_made() {
    let dir = common::scratch("secure");
    fs::write(dir.join("file"), "").expect("a file");
    let small = if cfg!(feature = "small-objects") { "1" } else { "0" };
    let trap = if cfg!(target_arch = "x86_64") { "trap" } else { "wrap" };
    for more in [
        &[("HMMRT_SMALL", small)][..],
        &[("HMMRT_HOST_DIRECT", "0")],
        &[("HMMRT_ADOPT_MMAP", "1")],
        &[("HMMRT_SYSCALLS", trap)],
        &[("HMMRT_SYSCALLS", trap), ("HMMRT_SMALL", small), ("HMMRT_ADOPT_MMAP", "1")],
    ] {
        let settings = [&CHAOS[..], more].concat();
        // It is short: now and then it ends before anything is sent away.
        let is_moved = (0..20).any(|_| {
            let mut command = preloaded(Path::new("perl"), &settings);
            made::nothing(&mut command);
            let output = run(command.args(["-we", PROGRAM]).arg(dir.join("file")));
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{more:?}: {}\n{err}", output.status);
            look(&String::from_utf8(output.stdout).expect("text"));
            // The child has a table of its own.
            err.lines().any(|line| line.contains("to the device") && !line.contains(" 0 moves"))
        });
        assert!(is_moved, "{more:?}: nothing was ever away");
    }
}

/// A program of root's that is linked with the library, setuid, run by nobody: nothing is managed there, and no variable acts.
/// As another user than root this can't be tried.
#[test]
fn the_environment_is_nothing_to_a_setuid_program() {
    const TEST: &str = "the_environment_is_nothing_to_a_setuid_program";
    // SAFETY: no memory is involved.
    if unsafe { libc::geteuid() } != 0 {
        return common::skipped(TEST, "only root can make a setuid program of root's");
    }
    // Where nobody can reach it: not in the target folder.
    let folder = std::env::temp_dir().join(format!("hmmrt-preload-security-{}", std::process::id()));
    let open = folder.join("open");
    fs::create_dir_all(&open).expect("a new folder");
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(&folder, 0o755);
    allow(&open, 0o777);
    let copy = |from: &Path, name| {
        let to = folder.join(name);
        // Another process writes it: no other thread's child can have it open then, and it can be executed.
        assert!(Command::new("cp").arg(from).arg(&to).status().unwrap().success());
        allow(&to, 0o755);
        to
    };
    let preload = copy(library(), "libhmmrt_preload.so.0");
    let path = format!("-Wl,-rpath,{}", folder.display());
    let driver = copy(&common::cuda_double(), "libcuda.so.1");
    let linked = ["-Wl,--no-as-needed", preload.to_str().unwrap(), driver.to_str().unwrap(), &path];
    let program = copy(&compile_with("privileged", &linked).0, "program");
    let files = [open.join("trace"), open.join("statistics")];
    let [trace, statistics] = files.each_ref().map(|file| file.to_str().unwrap());
    let as_nobody = |mode: u32, settings: &[(&str, &str)]| {
        allow(&program, mode);
        let mut command = Command::new(&program);
        command.env_clear().envs(settings.iter().copied()).current_dir("/").uid(65534).gid(65534);
        let output = run(&mut command);
        assert!(output.status.success(), "{output:?}");
        let made = files.each_ref().map(|file| fs::remove_file(file).is_ok());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap(), made)
    };
    let all = [
        ("HMMRT_BACKEND", "host"),
        ("HMMRT_MIN_SIZE", "64K"),
        ("HMMRT_CHAOS", "1"),
        ("HMMRT_ADOPT_MMAP", "1"),
        ("HMMRT_SYSCALLS", "trap"),
        ("HMMRT_TAKE_MANAGED", "1"),
        ("HMMRT_LOG", "debug"),
        ("HMMRT_TRACE", trace),
        ("HMMRT_STATS", statistics),
    ];
    let wrong =
        ["MIN_SIZE", "ADOPT_MMAP", "SMALL", "SYSCALLS", "STATS", "VMA_BUDGET"].map(|n| format!("HMMRT_{n}"));
    let wrong = wrong.each_ref().map(|name| (name.as_str(), "nonsense"));
    // As any program: everything acts.
    let plain = as_nobody(0o755, &all);
    let plain_wrong = as_nobody(0o755, &wrong);
    let privileged = [as_nobody(0o4755, &all), as_nobody(0o4755, &wrong)];
    fs::remove_dir_all(&folder).unwrap();
    let sys = u8::from(cfg!(target_arch = "x86_64"));
    assert_eq!(
        plain.0,
        format!("secure 0 user 65534/65534 managed 1 segv 1 sys {sys} with threads\n"),
        "{}",
        plain.1
    );
    assert_eq!(plain.2, [true, true], "{}", plain.1);
    assert!(plain.1.contains("hmmrt"), "{}", plain.1);
    assert!(
        ["MIN_SIZE", "ADOPT_MMAP", "SMALL", "SYSCALLS"].iter().all(|n| plain_wrong.1.contains(n)),
        "{plain_wrong:?}"
    );
    for (out, err, made) in privileged {
        if out.starts_with("secure 0") {
            let folder = std::env::temp_dir();
            return common::skipped(TEST, format_args!("{} allows no setuid programs", folder.display()));
        }
        assert_eq!(out, "secure 1 user 65534/0 managed 0 segv 0 sys 0 alone\n", "{err}");
        assert_eq!((&*err, made), ("", [false, false]), "neither log, statistics nor a trace");
    }
}
