//! C and C++ programs against the header, linked with libhmmrt.so and with libhmmrt.a, and what they print. Warnings are
//! errors in all of them.

mod common;

use common::Link::{self, Shared, Static};
use common::{compile, double, has_cpp, run_ok, run_with};
use std::path::Path;

/// Builds the program both ways and runs it; it names each part that it went through.
fn parts(sources: &[&str], expected: &[&str]) {
    for link in [Shared, Static] {
        let (out, err) = run_ok(&compile(sources, link), &[]);
        let parts: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
        assert_eq!(parts, expected, "{link:?}: {err}");
        assert_eq!(out.lines().last(), Some("all well"), "{link:?}");
    }
}

#[test]
fn the_whole_interface_in_c() {
    parts(
        &["api.c"],
        &[
            "life",
            "devices",
            "memory",
            "movement",
            "prefetch_and_streams",
            "pins",
            "host_ready",
            "discard_and_advise",
            "protection",
            "adoption",
            "own_kernels",
            "builtin_kernels",
            "shutdown_keeps_data",
        ],
    );
}

#[test]
fn advice_in_bytes_in_c() {
    parts(&["advice.c"], &["config", "old_stats", "each_value"]);
}

/// What only a GPU has, on the doubles of the drivers.
#[test]
fn device_code_and_same_addresses() {
    let code = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels");
    let source = common::scratch("gpu").join("kernels.cu");
    let text = |name| std::fs::read_to_string(code.join(name)).expect(name);
    std::fs::write(&source, text("kernels.cu") + &text("test_kernels.cu")).expect("the source");
    for (kind, variable, image) in
        [("cuda", "HMMRT_CUDA_LIBRARY", code.join("test_kernels.ptx")), ("hip", "HMMRT_HIP_LIBRARY", source)]
    {
        let double = double(kind);
        let settings = [("HMMRT_BACKEND", kind), (variable, double.to_str().expect("UTF-8"))];
        for link in [Shared, Static] {
            let output = run_with(&compile(&["gpu.c"], link), &[&image], &settings);
            let out = String::from_utf8_lossy(&output.stdout);
            let expected = "ok device_code\nok nested_pointers\nok default_stream\nall well\n";
            assert_eq!(out, expected, "{kind} {link:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// The kernel's own accesses, by calls that nobody wraps: with `uffd-thread` the whole table works.
#[test]
fn every_call_works_unwrapped() {
    let folder = common::scratch("unwrapped-files");
    let program = compile(&["unwrapped.c"], Shared);
    for direct in ["1", "0"] {
        let settings = [("HMMRT_FAULT", "uffd-thread"), ("HMMRT_HOST_DIRECT", direct)];
        let output = run_with(&program, &[&folder], &settings);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {out}{err}", output.status);
        if let Some(why) = out.strip_prefix("skipped: ") {
            return common::skipped("every_call_works_unwrapped", why);
        }
        let parts = out.lines().filter(|line| line.starts_with("ok ")).count();
        assert!(parts == 10 && out.ends_with("all well\n"), "{out}{err}");
    }
}

#[test]
fn the_whole_interface_in_cpp() {
    if has_cpp() {
        parts(&["cpp.cpp"], &["allocator", "memory_resource", "buffer", "launches", "errors"]);
    }
}

#[test]
fn memory_functions_refuse() {
    parts(
        &["refused_memory.c"],
        &[
            "sizes",
            "alignments",
            "not_blocks",
            "freed_twice",
            "freed_while_pinned",
            "adoption",
            "nothing_lost",
        ],
    );
}

#[test]
fn calls_refuse() {
    parts(
        &["refused_calls.c"],
        &[
            "ranges",
            "zero_lengths",
            "looking",
            "unknown_devices",
            "enums",
            "launching",
            "streams",
            "pins",
            "struct_sizes",
            "settings",
            "nothing_lost",
        ],
    );
}

#[test]
fn calls_after_shutdown() {
    parts(&["after_shutdown.c"], &["every_call", "the_data_is_there", "again"]);
}

#[test]
fn calls_in_a_forked_child() {
    let expected = &["calls", "memory", "device_memory", "parent_is_unaffected"];
    parts(&["forked.c"], expected);
    let (out, _) = run_ok(&compile(&["forked.c"], Shared), &[("HMMRT_FORK", "exec")]);
    assert!(out.ends_with("all well\n"), "{out}");
}

#[test]
fn signal_handlers_of_the_program() {
    let expected = &[
        "by_sigaction",
        "by_signal",
        "by_system_v_signal",
        "bus_by_signal",
        "other_signals",
        "after_shutdown",
    ];
    parts(&["signals.c"], expected);
    let uffd = [("HMMRT_FAULT", "uffd")];
    match run_ok(&compile(&["start.c"], Shared), &uffd).0.as_str() {
        "0: \n" => assert!(run_ok(&compile(&["signals.c"], Shared), &uffd).0.ends_with("all well\n")),
        refused => eprintln!("not tested with userfaultfd: {refused}"),
    }
}

#[test]
fn the_header_is_the_contract() {
    for link in [Shared, Static] {
        run_ok(&compile(&["contract.c"], link), &[]);
    }
}

#[test]
fn headers_can_be_included_twice() {
    run_ok(&compile(&["twice_a.c", "twice_b.c"], Shared), &[]);
    if has_cpp() {
        run_ok(&compile(&["twice_a.cpp", "twice_b.cpp"], Shared), &[]);
    }
}

#[test]
fn unknown_settings_are_named() {
    let program = compile(&["start.c"], Shared);
    assert_eq!(run_ok(&program, &[]).0, "0: \n");
    for (name, value) in [
        ("HMMRT_BACKEND", "toaster"),
        ("HMMRT_FAULT", "magic"),
        ("HMMRT_SPARE", "64Q"),
        ("HMMRT_HOST_DEVICES", "-1"),
        ("HMMRT_HOST_MEMORY", "much"),
        ("HMMRT_HOST_BANDWIDTH", "1.5"),
        ("HMMRT_HOST_LATENCY", "soon"),
        ("HMMRT_HOST_DIRECT", "maybe"),
        ("HMMRT_HOST_FAIL", "nonsense"),
        ("HMMRT_VMA_BUDGET", "x"),
        ("HMMRT_STATS", "yes"),
        ("HMMRT_LOG", "loud"),
    ] {
        let (out, _) = run_ok(&program, &[(name, value)]);
        assert!(out.starts_with("-19: hmm_init: "), "{out}");
        assert!(out.contains(name) && out.contains(value), "{out}");
    }
}

fn start(link: Link, settings: &[(&str, &str)]) -> String {
    // Its argument is anything at all.
    let output = run_with(&compile(&["start.c"], link), &[Path::new("moves")], settings);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn statistics_are_printed_at_exit() {
    for link in [Shared, Static] {
        let err = start(link, &[("HMMRT_STATS", "1")]);
        let line =
            |name: &str| err.lines().find(|line| line.trim_start().starts_with(name)).map(str::to_owned);
        assert!(err.contains("hmmrt statistics"), "{link:?}: {err}");
        let faults = line("faults").expect("a line of faults");
        assert!(faults.contains("(0 read, 1 write)"), "{link:?}: {faults}");
        assert!(line("to the device").is_some_and(|line| line.contains("MiB")), "{link:?}: {err}");
        let err = start(link, &[("HMMRT_STATS", "0")]);
        assert!(!err.contains("statistics"), "{link:?}: {err}");
    }
}

#[test]
fn a_bad_free_is_one_line() {
    let err = start(Shared, &[]);
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 1, "{err}");
    assert!(lines[0].starts_with("hmmrt: hmm_free: ptr: "), "{err}");
}
