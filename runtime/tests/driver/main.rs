//! The GPU backends on the doubles of their drivers: where addresses are, what a driver can lack, what fails how, and
//! what of the program's own use of the driver must stay as it is. Each case has a process of its own.

#[path = "../common/mod.rs"]
mod common;

mod ends;
mod memory;
mod places;
mod program;

use common::case;
use common::double::{self, Double, KINDS};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

fn child(name: &str) {
    match name {
        "same_address" => places::same_address(),
        "split" => places::split(),
        "late" => places::late(false),
        "late_in_place" => places::late(true),
        "taken_place" => places::taken_place(),
        "allocated" => places::allocated(),
        "groups_2m" => places::groups(32),
        "groups_32m" => places::groups(2),
        "full" => places::full(),
        "no_library" => program::refused("can't be loaded"),
        "no_function" => program::refused("the driver lacks it"),
        "no_device" => program::refused("(100)"),
        "too_old" => program::refused("older than"),
        "init_fails" => program::refused("(999)"),
        "no_real_device" => program::refused("hipInit failed: hipError"),
        "any_double" => program::any(&Double::of_case().kind),
        "any_host" => program::any("host"),
        "current" => program::current(),
        "one_context" => program::one_context(),
        "loaded" => program::loaded(),
        "native_streams" => program::native_streams(),
        "captured_streams" => program::captured_streams(),
        "handlers_and_native_streams" => program::handlers_and_native_streams(),
        "part_of_a_group" => places::part_of_a_group(),
        "two_streams" => program::two_streams(),
        "modules" => program::modules(),
        "has_engine" => has_engine(),
        "lost" => ends::lost(),
        "lost_at_mark" => ends::lost_at_mark(),
        "lost_with_another" => ends::lost_with_another(),
        "given_up" => ends::given_up(),
        "left_by_its_thread" => ends::left_by_its_thread(),
        "touched_at_exit" => ends::touched_at_exit(),
        "written_at_exit" => ends::written_at_exit(),
        "others_at_exit" => ends::others_at_exit(),
        "unmapped" => ends::unmapped(),
        "inside_the_driver" => program::inside_the_driver(),
        "restart" => program::restart(),
        _ => panic!("no case {name}"),
    }
}

#[test]
fn cases() {
    if let Some(name) = case() {
        return child(&name);
    }
    for kind in KINDS {
        let library = double::library(kind);
        let missing = double::variable(kind);
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("same_address", &[]),
            ("split", &[("HMMRT_SAME_ADDRESS", "0")]),
            ("late", &[]),
            ("late_in_place", &[("HMMRT_DOUBLE_HINTS", "over")]),
            ("taken_place", &[("HMMRT_DOUBLE_HINTS", "over")]),
            ("allocated", &[("HMMRT_DOUBLE_VMM", "0")]),
            ("groups_2m", &[("HMMRT_DEVICE_GROUP", "2M")]),
            ("groups_32m", &[]),
            ("full", &[("HMMRT_DOUBLE_MEMORY", "41M")]),
            ("lost_with_another", &[("HMMRT_DOUBLE_DEVICES", "3"), ("HMMRT_DOUBLE_MEMORY", "33M")]),
            ("no_library", &[(missing, "/nonexistent/library.so")]),
            ("no_function", &[(missing, "libc.so.6")]), // a library, but no driver
            ("no_device", &[("HMMRT_DOUBLE_DEVICES", "0")]),
            ("too_old", &[("HMMRT_DOUBLE_VERSION", "8000")]),
            ("init_fails", &[("HMMRT_DOUBLE_INIT", "999")]),
            ("any_double", &[]),
            ("any_host", &[("HMMRT_DOUBLE_DEVICES", "0")]),
            ("any_host", &[("HMMRT_DOUBLE_VERSION", "8000")]),
            ("any_host", &[(missing, "/nonexistent/library.so")]),
            ("current", &[]),
            ("one_context", &[]),
            ("loaded", &[]),
            ("split", &[("HMMRT_DOUBLE_HINTS", "none")]),
            ("native_streams", &[]),
            ("captured_streams", &[]),
            ("handlers_and_native_streams", &[]),
            ("part_of_a_group", &[]),
            ("two_streams", &[]),
            ("modules", &[]),
            ("unmapped", &[]),
            ("given_up", &[]),
            ("left_by_its_thread", &[]),
            ("touched_at_exit", &[]),
            ("written_at_exit", &[("HMMRT_POLICY", "auto")]),
            ("others_at_exit", &[("HMMRT_DOUBLE_DEVICES", "2")]),
            ("restart", &[]),
        ];
        for (name, env) in cases {
            let out = double::run_case(kind, &library, name, env);
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{kind} {name} {env:?}: {:?}\n{err}", out.status);
            let end = [
                ("touched_at_exit", "touched"),
                ("written_at_exit", "written"),
                ("others_at_exit", "others"),
            ];
            assert!(end.iter().all(|(n, text)| n != name || err.contains(text)), "{kind}: {err}");
        }
        let limit: &[(&str, &str)] = &[("HMMRT_DRIVER_TIMEOUT", "1")];
        for (name, env, text) in [
            ("lost", &[][..], "brought home"),
            ("lost_at_mark", &[], "brought home"),
            ("inside_the_driver", limit, "did not answer"),
        ] {
            ends_by_a_touch(kind, &library, name, env, text);
        }
    }
}

/// The process ends by SIGBUS where it reads, and a message says so.
fn ends_by_a_touch(kind: &str, library: &Path, name: &str, env: &[(&str, &str)], text: &str) {
    let out = double::run_case(kind, library, name, env);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.signal(), Some(libc::SIGBUS), "{kind} {name} {env:?}: {err}");
    let at = err.lines().find_map(|l| l.strip_prefix("reading ")).unwrap_or("?");
    assert!(err.contains(&format!("SIGBUS at {at}")) && err.contains(text), "{kind} {name} {env:?}: {err}");
}

/// What ends with a device, with the fault engines of userfaultfd.
#[test]
fn devices_end_under_userfaultfd() {
    if case().is_some() {
        return;
    }
    for (kind, engine) in KINDS.into_iter().flat_map(|k| ["uffd", "uffd-thread"].map(|e| (k, e))) {
        let library = double::library(kind);
        let env = [("HMMRT_FAULT", engine)];
        for name in ["has_engine", "given_up", "left_by_its_thread", "unmapped"] {
            let out = double::run_case(kind, &library, name, &env);
            let err = String::from_utf8_lossy(&out.stderr);
            if name == "has_engine" && out.status.code() == Some(NO_ENGINE) {
                common::skipped("devices_end_under_userfaultfd", format_args!("no {engine}: {err}"));
                break;
            }
            assert!(out.status.success(), "{kind} {name} {engine}: {:?}\n{err}", out.status);
            if name == "unmapped" {
                for name in ["lost", "lost_at_mark"] {
                    ends_by_a_touch(kind, &library, name, &env, "brought home");
                }
            }
        }
    }
}

/// How a process ends whose fault engine this machine lacks.
const NO_ENGINE: i32 = 77;

fn has_engine() {
    match hmmrt::raw::init(Some(common::config())) {
        Err(hmmrt::Error::Unsupported { what: "HMMRT_FAULT", why }) => {
            eprintln!("{why}");
            std::process::exit(NO_ENGINE);
        }
        other => other.unwrap(),
    }
}

/// AMD's own runtime, which Debian has, on a machine without a GPU: an error with its own code, and the next backend.
#[test]
fn a_real_runtime_without_a_device() {
    const LIBRARY: &str = "libamdhip64.so.5";
    // SAFETY: the library's constructors are trusted as the backend does.
    if let Err(e) = unsafe { libloading::Library::new(LIBRARY) } {
        assert!(std::env::var_os("CI").is_none(), "libamdhip64-5 is not installed, and CI needs it");
        return common::skipped("a_real_runtime_without_a_device", e);
    }
    if std::path::Path::new("/dev/kfd").exists() {
        return common::skipped("a_real_runtime_without_a_device", "there may be a GPU");
    }
    if case().is_some() {
        return;
    }
    for (case, backend) in [("no_real_device", "hip"), ("any_host", "auto")] {
        let mut command = common::double::case_command(case);
        command.env("HMMRT_BACKEND", backend).env("HMMRT_HIP_LIBRARY", LIBRARY).env("HMMRT_LOG", "info");
        let out = command.output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{case}: {:?}\n{err}", out.status);
        assert!(
            backend == "hip" || err.contains("the hip backend is not used: hipInit failed: hip"),
            "{err}"
        );
    }
}
