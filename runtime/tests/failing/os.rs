//! The calls to the operating system, on each fault engine.

use super::cases::{Case, Settings, calls, is_case, numbers, run_all};

/// What each call can answer; the first of them also for good. `EAGAIN` is never for good: the kernel means it.
const ERRORS: [(&str, &[&str]); 22] = [
    ("mmap", &["12", "11"]),
    ("munmap", &["12"]),
    ("mprotect", &["12"]),
    ("mremap", &["12", "gone", "22"]),
    ("madvise", &["12", "11", "22"]),
    ("openat", &["24", "2", "12"]),
    ("pread64", &["5"]),
    ("pwrite64", &["5", "12"]),
    ("userfaultfd", &["24", "1", "38"]),
    ("fcntl", &["24"]),
    ("mlock", &["12"]),
    ("PAGEMAP_SCAN", &["25", "12"]),
    ("PROCMAP_QUERY", &["25", "12"]),
    ("UFFDIO_API", &["22", "1"]),
    ("UFFDIO_REGISTER", &["12", "22", "16"]),
    ("UFFDIO_UNREGISTER", &["12"]),
    ("UFFDIO_COPY", &["12", "11", "17", "2"]),
    ("UFFDIO_ZEROPAGE", &["12", "11"]),
    ("UFFDIO_MOVE", &["16", "22", "11", "17", "12"]),
    ("UFFDIO_WRITEPROTECT", &["12", "11", "2"]),
    ("USERFAULTFD_IOC_NEW", &["24", "1"]),
    ("thread", &["11"]),
];

/// What can be missing for good while something else fails once.
const MISSING: [&str; 5] =
    ["pwrite64:1+=5", "mremap:1+=12", "madvise:1+=22", "openat:1+=24", "mprotect:30+=12"];

/// The engines, ways to have faults served, and sizes that lead elsewhere.
fn settings() -> Vec<Settings> {
    let of = |more: &[(&'static str, &str)]| -> Settings {
        let always = [("HMMRT_BACKEND", "host"), ("HMMRT_HOST_MEMORY", "14M"), ("HMMRT_SPARE", "8M")];
        always.iter().chain(more).map(|(n, v)| (*n, v.to_string())).collect()
    };
    let (fault, direct) = ("HMMRT_FAULT", "HMMRT_HOST_DIRECT");
    vec![
        of(&[(fault, "segv")]),
        of(&[(fault, "uffd")]),
        of(&[(fault, "uffd-thread")]),
        of(&[(fault, "segv"), (direct, "0")]),
        of(&[(fault, "uffd"), (direct, "0")]),
        of(&[(fault, "segv"), ("HMMRT_SPARE", "0")]),
        of(&[(fault, "segv"), ("HMMRT_VMA_BUDGET", "100")]),
        of(&[(fault, "uffd"), ("HMMRT_UFFD_MOVE", "0"), ("HMMRT_SPARE", "0")]),
    ]
}

#[test]
fn every_call_to_the_system_fails() {
    const TEST: &str = "os::every_call_to_the_system_fails";
    if is_case() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    for settings in settings() {
        let mut add = |spec: String| cases.push(("system", spec, settings.clone()));
        for (name, n) in calls(TEST, "system", &settings) {
            if name == "any" {
                for i in numbers(n, 2) {
                    add(format!("any:{i}+=12"));
                    MISSING.iter().for_each(|missing| add(format!("any:{i}=12,{missing}")));
                }
                continue;
            }
            if name == "mmap" {
                // Neither way to empty memory works.
                numbers(n, 3).iter().for_each(|i| add(format!("mmap:{i}+=12,madvise:1+=22")));
            }
            let (_, errors) = ERRORS.iter().find(|(of, _)| *of == name).unwrap();
            for (k, errno) in errors.iter().enumerate() {
                for i in numbers(n, if k == 0 { 2 } else { 1 }) {
                    add(format!("{name}:{i}={errno}"));
                    if k == 0 && *errno != "11" || name == "thread" {
                        add(format!("{name}:{i}+={errno}"));
                    }
                }
            }
        }
    }
    run_all(TEST, 160, cases);
}
