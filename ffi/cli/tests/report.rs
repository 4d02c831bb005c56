//! `hmmrt run --trace` and `hmmrt report`: what a program did is what the report says, by the counters of the library itself;
//! and what is no trace is named.

mod common;

#[path = "../../../doubles/harness/cdylib.rs"]
mod cdylib;

use common::{compile, done, good, hmmrt, run, scratch};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Two blocks; the second goes to and fro, and a kernel fills the first. Ends with the counters on standard output.
const PROGRAM: &str = r#"
#include <hmmrt.h>
#include <stdio.h>
#include <string.h>
#define OK(x) do { if ((x) != HMM_OK) { char m[256]; hmm_last_error(m, sizeof m); puts(m); return 1; } } while (0)
int main(void) {
    size_t chunk = 2 << 20;
    unsigned *a = hmm_malloc(4 * chunk);
    volatile char *b = hmm_malloc(2 * chunk);
    memset(a, 1, 4 * chunk);
    memset((void *)b, 2, 2 * chunk);
    for (int i = 0; i < 5; i++) {
        OK(hmm_migrate((void *)b, 2 * chunk, 0, NULL));
        b[0]++;          /* comes home */
        b[chunk + i];    /* a read, which leaves the device its copy */
    }
    hmm_module module;
    hmm_kernel fill;
    OK(hmm_module_builtin(0, &module));
    OK(hmm_kernel_get(module, "hmm_fill", &fill));
    unsigned value = 7;
    unsigned long n = chunk / 4;
    hmm_arg args[3] = {
        { .kind = HMM_ARG_POINTER, .mode = HMM_READ_WRITE, .data = a, .size = chunk },
        { .kind = HMM_ARG_VALUE, .data = &value, .size = sizeof value },
        { .kind = HMM_ARG_VALUE, .data = &n, .size = sizeof n },
    };
    hmm_launch_config config = { .struct_size = sizeof config, .grid = { 512, 1, 1 }, .block = { 256, 1, 1 } };
    for (int i = 0; i < 3; i++) {
        OK(hmm_launch(fill, &config, args, 3));
        if (a[5] != 7 || a[chunk / 4] != 0x01010101u) return 2;
        a[5] = 0;
    }
    if (hmm_migrate(NULL, 1, 0, NULL) == HMM_OK) return 3;
    hmm_stats s = { .struct_size = sizeof s };
    OK(hmm_stats_get(&s));
    printf("%lu %lu %lu %lu %lu %lu %lu\n", (unsigned long)s.read_faults, (unsigned long)s.write_faults,
        (unsigned long)s.bytes_to_device, (unsigned long)s.bytes_to_host, (unsigned long)s.bytes_not_copied,
        (unsigned long)s.moves_to_host, (unsigned long)s.waits);
    if (b[0] != 7) return 4;
    hmm_free((void *)b);
    return 0;
}
"#;

/// The program, linked with the library.
fn program() -> &'static Path {
    static PROGRAM_FILE: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM_FILE.get_or_init(|| {
        let (folder, include) =
            (scratch("linked"), Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include"));
        // The name by which the program asks for it at run time.
        let library = folder.join("libhmmrt.so.0");
        symlink(cdylib::build("..").join("libhmmrt.so"), &library).unwrap();
        let flags = [
            format!("-I{}", include.display()),
            "-xnone".into(),
            library.display().to_string(),
            format!("-Wl,-rpath,{}", folder.display()),
        ];
        let program = folder.join("moves");
        compile(PROGRAM, &flags.each_ref().map(String::as_str), &program);
        program
    })
}

fn json(file: &Path) -> Value {
    let text = good(hmmrt().args(["report", "--json"]).arg(file));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn what_happened_is_what_is_reported() {
    let (program, folder) = (program(), scratch("report"));
    let file = folder.join("t");
    let mut command = run();
    // How much moves is known of this policy.
    command.current_dir(&folder).env("HMMRT_POLICY", "chunk");
    command.args(["--backend", "host", "--trace", "t"]).arg(program);
    let counted: Vec<u64> = good(&mut command).split_whitespace().map(|n| n.parse().unwrap()).collect();
    let report = json(&file);
    let copied = |way: &str| number(&report[way]["copied"]);
    let spared = number(&report["to_device"]["spared"]) + number(&report["to_host"]["spared"]);
    // What was counted before the last fault and the frees.
    let faults = [number(&report["faults"]["read"]), number(&report["faults"]["write"])];
    assert_eq!(faults.to_vec(), counted[..2], "{report:#}");
    assert_eq!([copied("to_device"), copied("to_host"), spared].to_vec(), counted[2..5], "{report:#}");
    let (moves, waits) = (number(&report["to_host"]["moves"]), number(&report["waits"]["count"]));
    assert_eq!([moves, waits].to_vec(), counted[5..], "{report:#}");
    assert_eq!((&report["closed"], &report["backend"]), (&true.into(), &"host".into()));
    assert_eq!(report["notes"].as_array().unwrap().len(), 0);
    assert_eq!(report["errors"], serde_json::json!([{ "code": -2, "count": 1 }]));

    // The second block has moved most.
    let blocks = &report["blocks"];
    assert_eq!((number(&blocks["count"]), number(&blocks["most_bytes"])), (2, 12 << 20));
    let first = &blocks["list"][0];
    assert_eq!((number(&first["number"]), number(&first["len"])), (2, 4 << 20));
    assert!(first["end"].is_u64() && blocks["list"][1]["end"].is_null(), "{blocks:#}");
    // Its chunks went to and fro five times; the launches' chunk came home as often as it was filled.
    let trips: Vec<u64> =
        blocks["to_and_fro"].as_array().unwrap().iter().map(|t| number(&t["round_trips"])).collect();
    assert_eq!(trips, [5, 5, 3], "{blocks:#}");

    let launches = &report["launches"];
    assert_eq!((number(&launches["count"]), number(&launches["failed"])), (3, 0));
    let kernel = &launches["kernels"][0];
    assert_eq!((&kernel["name"], number(&kernel["copied"])), (&"hmm_fill".into(), 3 * (2 << 20)));
    assert!(number(&kernel["median_stall"]) > 0);
    let by_reason = |way: &str, reason: &str| {
        let all = report[way]["by_reason"].as_array().unwrap();
        all.iter().find(|r| r["reason"] == reason).map_or(0, |r| number(&r["copied"]))
    };
    assert_eq!(by_reason("to_device", "launch"), 3 * (2 << 20));
    assert_eq!(by_reason("to_host", "fault"), copied("to_host"));
    let slices = report["time_line"]["slices"].as_array().unwrap();
    let sum: u64 = slices.iter().map(|s| number(&s["to_device"])).sum();
    assert_eq!(sum, copied("to_device"));

    let text = good(hmmrt().args(["report", "--top", "1"]).arg(&file));
    for words in [
        "moves, process ",
        "Summary",
        "Time line",
        "hmm_fill",
        "Blocks: 2 in all",
        "and 1 more",
        "and 2 more",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(!text.contains("note:"), "{text}");
}

/// An unmodified program, its memory moved by the test aid.
#[test]
fn an_unmodified_program() {
    let folder = scratch("unmodified");
    let (program, file) = (folder.join("fill"), folder.join("t"));
    let source = r#"
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <time.h>
        #include <unistd.h>
        int main(void) {
            static unsigned char there[4096];
            size_t n = sizeof there * 4096;
            unsigned char *p = malloc(n);
            for (int round = 0; round < 40; round++) {
                for (size_t i = 0; i < n; i += 4096) if (round && p[i] != round) return 1; else p[i] = round + 1;
                usleep(2000);
            }
            /* Until some of it is away. */
            struct timespec start, now;
            clock_gettime(CLOCK_MONOTONIC, &start);
            do {
                usleep(2000);
                clock_gettime(CLOCK_MONOTONIC, &now);
                if (mincore(p, n, there) != 0 || now.tv_sec - start.tv_sec > 120) return 2;
            } while (memchr(there, 0, sizeof there) == NULL);
            for (size_t i = 0; i < n; i += 4096) if (p[i] != 40) return 3;
            free(p);
            return 0;
        }"#;
    compile(source, &["-O1"], &program);
    let preload = cdylib::build("../preload").join("libhmmrt_preload.so");
    let mut command = hmmrt();
    command.args(["run", "--backend", "host", "--chaos", "--preload"]).arg(preload);
    good(command.arg("--trace").arg(folder.join("%p")).arg(&program));
    let traces: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).filter(|p| *p != program).collect();
    assert_eq!(traces.len(), 1, "{traces:?}");
    fs::rename(&traces[0], &file).unwrap();
    let report = json(&file);
    assert_eq!(traces[0].file_name().unwrap().to_str().unwrap(), report["process"].to_string());
    assert_eq!(report["program"], "fill");
    assert!(number(&report["blocks"]["count"]) >= 1);
    assert!(number(&report["to_device"]["moves"]) > 0, "{report:#}");
    assert!(
        report["to_device"]["by_reason"].as_array().unwrap().iter().all(|r| r["reason"] == "chaos"),
        "{report:#}"
    );
}

#[track_caller]
fn refused(command: &mut Command, status: i32, words: &[&str]) {
    let run = done(command);
    assert_eq!((run.status, &*run.out), (status, ""), "{}", run.err);
    assert!(words.iter().all(|word| run.err.contains(word)), "{words:?} in {}", run.err);
    assert!(!run.err.contains("panicked"), "{}", run.err);
}

#[test]
fn bad_files_are_named() {
    let folder = scratch("bad");
    let file = folder.join("t");
    let report = |words: &[&str]| refused(hmmrt().arg("report").arg(&file), 1, words);
    report(&["cannot be read", file.to_str().unwrap()]);
    for content in [&b""[..], b"text", &[0; 5000]] {
        fs::write(&file, content).unwrap();
        report(&["is not a trace"]);
    }
    let mut command = run();
    let program = program();
    let whole = folder.join("whole");
    good(command.args(["--backend", "host", "--trace"]).arg(&whole).arg(program));
    let bytes = fs::read(&whole).unwrap();
    fs::write(&file, &bytes[..1000]).unwrap();
    report(&["cut off"]);
    let mut newer = bytes.clone();
    newer[8] = 9;
    fs::write(&file, newer).unwrap();
    report(&["newer", "9"]);
    fs::write(&file, &bytes[..4096 + 64 * 3 + 5]).unwrap();
    let text = good(hmmrt().arg("report").arg(&file));
    assert!(
        text.contains("note: the file is cut off") && text.contains("events                        3,"),
        "{text}"
    );
    // Random damage: a report or an error, in either form.
    let mut random = 88172645463325252_u64;
    for _ in 0..40 {
        let mut broken = bytes.clone();
        for _ in 0..20 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = 16 + random as usize % (broken.len() - 16);
            broken[at] = (random >> 40) as u8;
        }
        fs::write(&file, broken).unwrap();
        let run = done(hmmrt().args(["report", "--json"]).arg(&file));
        assert!(matches!(run.status, 0 | 1) && !run.err.contains("panicked"), "{}: {}", run.status, run.err);
    }
}

#[test]
fn traces_that_can_not_be_made_are_refused() {
    let folder = scratch("refused");
    let foreign = folder.join("foreign");
    fs::write(&foreign, "precious").unwrap();
    for (file, words) in [
        (foreign.clone(), "no trace"),
        ("/no/such/folder/t".into(), "No such file"),
        ("/".into(), "no trace"),
    ] {
        let words = ["HMMRT_TRACE=", words];
        refused(run().arg("--trace").arg(&file).arg("true"), 125, &words);
        refused(run().env("HMMRT_TRACE", &file).arg("true"), 125, &words);
    }
    assert_eq!(fs::read(&foreign).unwrap(), b"precious");
    refused(run().env("HMMRT_TRACE_SIZE", "1").arg("true"), 125, &["HMMRT_TRACE_SIZE"]);
    // The program's folder is not the command's.
    let out = good(run().current_dir(&folder).args(["--trace", "t%p", "env"]));
    assert!(
        out.contains(&format!("HMMRT_TRACE={}\n", folder.canonicalize().unwrap().join("t%p").display())),
        "{out}"
    );
}
