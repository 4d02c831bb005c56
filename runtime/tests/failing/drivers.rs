//! The calls of the host backend, and those of the drivers, over their doubles.

use super::cases::{Case, Settings, calls, is_all, is_case, numbers, run_all, steps as steps_of};
use super::common::double;
use super::steps;

#[test]
fn every_call_of_a_driver_fails() {
    const TEST: &str = "drivers::every_call_of_a_driver_fails";
    if is_case() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    let host: Settings =
        [("HMMRT_BACKEND", "host"), ("HMMRT_HOST_MEMORY", "14M")].map(|(n, v)| (n, v.into())).into();
    for (name, n) in calls(TEST, "host", &host) {
        for i in numbers(n, 5) {
            cases.push(("host", format!("{name}:{i}"), host.clone()));
            cases.push(("host", format!("{name}:{i}+"), host.clone()));
        }
    }
    for kind in double::KINDS {
        let of = settings(kind);
        let ample = with(kind, &[("HMMRT_DOUBLE_MEMORY", AMPLE)]);
        let all = calls(TEST, "driver", &of);
        let total = all.iter().map(|(_, n)| n).sum();
        for (name, n) in all {
            let gives_back = ["Release", "Unmap", "Free"].iter().any(|part| name.contains(part));
            // Without these no call of the driver's is made.
            let enters = ["GetCurrent", "SetCurrent", "GetDevice", "SetDevice"];
            let gives_back = gives_back || enters.iter().any(|part| name.contains(part));
            for (i, how) in numbers(n, 2).into_iter().flat_map(|i| [(i, ""), (i, "+"), (i, "=lost")]) {
                let settings = if gives_back || how == "=lost" { &ample } else { &of };
                cases.push(("driver", format!("{name}:{i}{how}"), settings.clone()));
            }
        }
        // Where each call of each name fails, each of all the calls has.
        let hows: &[&str] = if is_all() { &["+", "=async"] } else { &["", "+", "=lost", "=async"] };
        for i in numbers(total, 24) {
            for how in hows {
                let settings = if how.is_empty() { &of } else { &ample };
                cases.push(("driver", format!("any:{i}{how}"), settings.clone()));
            }
        }
    }
    run_all(TEST, 60, cases);
}

/// What was put at an address and can neither be used nor taken away again serves the next runtime.
#[test]
fn a_device_is_lost_before_it_is_let_in() {
    const TEST: &str = "drivers::a_device_is_lost_before_it_is_let_in";
    if is_case() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    for kind in double::KINDS {
        let all = calls(TEST, "driver", &settings(kind));
        let of = with(kind, &[("HMMRT_DOUBLE_MEMORY", AMPLE)]);
        let (name, n) = all.into_iter().find(|(name, _)| name.contains("SetAccess")).unwrap();
        cases.extend((1..=n).map(|i| ("driver", format!("{name}:{i}=lost"), of.clone())));
    }
    run_all(TEST, usize::MAX, cases);
}

/// Every step of the script that calls a driver: what is given up, unmapped, protected or discarded does not.
const STEPS: [&str; 20] = [
    "open",
    "stream",
    "touch",
    "migrate out",
    "migrate over",
    "migrate home",
    "migrate a part",
    "launch",
    "launch, overwriting",
    "synchronize",
    "prefetch",
    "pin",
    "host_ready",
    "remap",
    "disown",
    "fork",
    "realloc",
    "evict",
    "free",
    "shutdown",
];

/// The fault engines; the first is what `every_call_of_a_driver_fails` runs with.
const ENGINES: [&str; 3] = ["segv", "uffd", "uffd-thread"];

/// The device is lost in the middle of each step, at once and when its work would run. One driver and one engine for each, in turn, if
/// not all cases are run.
#[test]
fn a_device_is_lost_in_each_step() {
    const TEST: &str = "drivers::a_device_is_lost_in_each_step";
    if is_case() {
        return;
    }
    let (mut cases, mut silent): (Vec<Case>, Vec<String>) = (Vec::new(), Vec::new());
    for (k, kind) in double::KINDS.into_iter().enumerate() {
        for (e, engine) in ENGINES.into_iter().enumerate() {
            for memory in [AMPLE, LITTLE] {
                let of = with(kind, &[("HMMRT_FAULT", engine), ("HMMRT_DOUBLE_MEMORY", memory)]);
                // A full device is one with little memory.
                let is_of = |name: &str| (name == "evict") == (memory == LITTLE);
                if memory == LITTLE && engine != ENGINES[0] && !is_all() {
                    continue;
                }
                let Some(made) = steps_of(TEST, "driver", &of) else { continue };
                for (s, name) in STEPS.iter().enumerate().filter(|(_, name)| is_of(name)) {
                    let Some((number, calls)) = steps::longest(&made, name) else {
                        silent.push(format!("{kind}, {engine}: {name}"));
                        continue;
                    };
                    for (h, how) in ["lost", "async"].into_iter().enumerate() {
                        let in_turn = (s + h) % 2 == k && (memory == LITTLE || (s / 2 + h) % 3 == e);
                        if in_turn || is_all() {
                            let middle = calls.div_ceil(2);
                            let spec = format!("any:{middle}={how} in {number} of {name}");
                            cases.push(("driver", spec, of.clone()));
                        }
                    }
                }
            }
        }
    }
    assert!(silent.is_empty(), "steps that call no driver: {silent:#?}");
    run_all(TEST, usize::MAX, cases);
}

/// A sample of what fails once or for good, with the other fault engines.
#[test]
fn calls_fail_with_userfaultfd() {
    const TEST: &str = "drivers::calls_fail_with_userfaultfd";
    if is_case() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    for kind in double::KINDS {
        for engine in &ENGINES[1..] {
            let [of, ample] =
                [LITTLE, AMPLE].map(|m| with(kind, &[("HMMRT_FAULT", engine), ("HMMRT_DOUBLE_MEMORY", m)]));
            let Some(made) = steps_of(TEST, "driver", &of) else { continue };
            for i in numbers(made.iter().map(|(_, calls)| calls).sum(), 6) {
                cases.push(("driver", format!("any:{i}"), of.clone()));
                cases.push(("driver", format!("any:{i}+"), ample.clone()));
            }
        }
    }
    if cases.is_empty() {
        return;
    }
    run_all(TEST, 16, cases);
}

/// So much memory has a device that evicts.
pub const LITTLE: &str = "12M";
/// What a lost device has, or a driver does not take back, is gone: room for the second run.
const AMPLE: &str = "96M";

/// [`settings`], and others in place of some of them.
fn with(kind: &'static str, others: &[(&'static str, &str)]) -> Settings {
    settings(kind).into_iter().chain(others.iter().map(|(n, v)| (*n, v.to_string()))).collect()
}

/// The settings with which a driver's double runs.
pub fn settings(kind: &'static str) -> Settings {
    let library = double::library(kind).into_os_string().into_string().unwrap();
    vec![
        ("HMMRT_BACKEND", kind.into()),
        (double::variable(kind), library.clone()),
        ("HMMRT_CASE_LIBRARY", library),
        ("HMMRT_CASE_KIND", kind.into()),
        ("HMMRT_DOUBLE_MEMORY", LITTLE.into()),
    ]
}
