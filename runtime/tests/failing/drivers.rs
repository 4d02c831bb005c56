//! The calls of the host backend, and those of the drivers, over their doubles.

use super::cases::{Case, Settings, calls, is_all, is_case, numbers, run_all};
use super::common::double;

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
        // What a lost device has, or a driver does not take back, is gone: room for the second run.
        let ample: Settings = of.iter().cloned().chain([("HMMRT_DOUBLE_MEMORY", "48M".into())]).collect();
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
        let mut of = settings(kind);
        let all = calls(TEST, "driver", &of);
        of.push(("HMMRT_DOUBLE_MEMORY", "48M".into()));
        let (name, n) = all.into_iter().find(|(name, _)| name.contains("SetAccess")).unwrap();
        cases.extend((1..=n).map(|i| ("driver", format!("{name}:{i}=lost"), of.clone())));
    }
    run_all(TEST, usize::MAX, cases);
}

/// The settings with which a driver's double runs.
pub fn settings(kind: &'static str) -> Settings {
    let library = double::library(kind).into_os_string().into_string().unwrap();
    vec![
        ("HMMRT_BACKEND", kind.into()),
        (double::variable(kind), library.clone()),
        ("HMMRT_CASE_LIBRARY", library),
        ("HMMRT_CASE_KIND", kind.into()),
        ("HMMRT_DOUBLE_MEMORY", "12M".into()),
    ]
}
