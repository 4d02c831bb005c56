//! Programs that know nothing of the library, run with it: the rules of malloc, the kernel's own accesses, and what it
//! must not do to a program that has no use for it. The C programs are in `c/`; each names the mistakes that it catches.

mod common;

use common::{compile, library, passes, preloaded, run};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

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
    let is_drivers = |name: &str| ["cu", "hip", "__hip"].iter().any(|start| name.starts_with(start));
    // Of C23 and of glibc 2.36, which older C libraries do not have; and what newer ones have for old programs only.
    let newer = [
        "free_sized",
        "free_aligned_sized",
        "arc4random_buf",
        "move_mount",
        "fspick",
        "open_tree",
        "cfree",
        "fsopen",
        "fsconfig",
        "mount_setattr",
        "pidfd_send_signal",
    ];
    for name in names.iter().filter(|name| !is_drivers(name) && !newer.contains(name)) {
        let c = std::ffi::CString::new(*name).expect("a name");
        // SAFETY: a C string. This program does not have the library before it.
        let at = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c.as_ptr()) };
        assert!(!at.is_null(), "{name} is not the C library's");
    }
    let family = "malloc calloc realloc reallocarray free aligned_alloc posix_memalign memalign valloc pvalloc \
                  malloc_usable_size free_sized free_aligned_sized sigaction signal sigprocmask pthread_sigmask read write fread fwrite";
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
fn the_c_librarys_heap_stays_warm() {
    let (program, _) = compile("warm");
    passes(&program, &[], &[("HMMRT_BACKEND", "auto")]);
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

/// Catches: a request that is dropped without a word.
#[test]
fn small_objects_are_asked_for_in_vain_where_they_are_not_built() {
    let said = |value| {
        let output = run(preloaded(Path::new("/bin/sh"), &[("HMMRT_SMALL", value)]).args(["-c", "printf x"]));
        assert!(output.status.success() && output.stdout == b"x", "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let expected = match cfg!(feature = "small-objects") {
        true => "",
        false => "hmmrt error: HMMRT_SMALL=1 needs a library that was built with the feature small-objects\n",
    };
    assert_eq!(said("1"), expected);
    assert_eq!(said("0"), "");
    assert_eq!(said("some"), "hmmrt error: HMMRT_SMALL is neither 0 nor 1\n");
}

/// Catches: a table that is lost with the standard error that the program closes, or one process's in another's place.
#[test]
fn statistics_in_a_file() {
    let dir = common::scratch("stats");
    let start = |path: &Path| {
        let settings = [("HMMRT_MIN_SIZE", "64K"), ("HMMRT_STATS", path.to_str().expect("a path"))];
        const PROGRAM: &str = "$x = 'a' x 3000000; close STDERR; chdir '/'";
        let output = run(preloaded(Path::new("perl"), &settings).current_dir(&dir).args(["-e", PROGRAM]));
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    };
    let tables = |path: &Path| {
        std::fs::read_to_string(path).expect("the file").matches("hmmrt statistics\n  faults").count()
    };
    for count in [1, 2] {
        start(Path::new("./all"));
        assert_eq!(tables(&dir.join("all")), count);
    }
    start(&dir.join("of-%p"));
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().expect("a name");
    let entries = std::fs::read_dir(&dir).expect("the folder").flatten().map(name);
    let own: Vec<_> = entries.filter(|name| name.starts_with("of-")).collect();
    assert!(matches!(&own[..], [one] if one["of-".len()..].parse::<u32>().is_ok()), "{own:?}");
    // What can't be made is said, and harms nobody.
    let settings = [("HMMRT_STATS", "/nowhere/at/all"), ("HMMRT_MIN_SIZE", "64K")];
    let output =
        run(preloaded(Path::new("perl"), &settings).args(["-e", "$x = 'a' x 3000000; print length $x"]));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout == b"3000000" && err.contains("HMMRT_STATS=/nowhere/at/all: not written"), "{err}");
}

#[test]
fn python() {
    const MODULES: [&str; 3] = ["test.test_array", "test.test_bytes", "test.test_memoryview"];
    // The interpreter itself: what is first in PATH may be a shell script that starts it.
    let asked =
        Command::new("python3").args(["-c", "import sys, test.test_array; print(sys.executable)"]).output();
    let python = match asked {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => return common::skipped("python", "no python3 with its tests"),
    };
    for least in ["0", "64K", ""] {
        let settings = [("HMMRT_MIN_SIZE", least), ("HMMRT_CHAOS", "1")];
        let mut command = preloaded(Path::new(&python), &settings);
        let output = run(command.args(["-m", "unittest", "-q"]).args(MODULES));
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && err.contains("\nOK"), "{settings:?}: {}\n{err}", output.status);
    }
}
