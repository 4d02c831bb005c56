//! Devices with too little memory, from one chunk on to what is enough; and memory that ends, once or for good, at each place where
//! a driver is asked for some.

use super::cases::{Case, Settings, calls, is_case, numbers, run_all};
use super::common::double;
use super::drivers;

#[test]
fn memory_ends_at_every_stage() {
    const TEST: &str = "room::memory_ends_at_every_stage";
    if is_case() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    for mib in [2, 4, 6, 8] {
        let memory = format!("{mib}M");
        for (name, value) in [
            ("HMMRT_FAULT", "segv"),
            ("HMMRT_FAULT", "uffd"),
            ("HMMRT_FAULT", "uffd-thread"),
            ("HMMRT_HOST_DIRECT", "0"),
            ("HMMRT_SPARE", "0"),
        ] {
            let of: Settings = vec![
                ("HMMRT_BACKEND", "host".into()),
                ("HMMRT_HOST_MEMORY", memory.clone()),
                (name, value.into()),
            ];
            cases.push(("memory", String::new(), of));
        }
        for kind in double::KINDS {
            for layout in [None, Some(("HMMRT_SAME_ADDRESS", "0")), Some(("HMMRT_DOUBLE_VMM", "0"))] {
                let more = layout.map(|(name, value)| (name, value.to_owned()));
                let of = drivers::settings(kind).into_iter().chain([("HMMRT_DOUBLE_MEMORY", memory.clone())]);
                cases.push(("memory", String::new(), of.chain(more).collect()));
            }
        }
    }
    for kind in double::KINDS {
        let of = drivers::settings(kind);
        for (name, n) in calls(TEST, "driver", &of).into_iter().filter(|(name, _)| name.contains("MemCreate"))
        {
            for i in numbers(n, 10) {
                // Both drivers' code for it.
                cases.push(("driver", format!("{name}:{i}=2"), of.clone()));
                cases.push(("driver", format!("{name}:{i}+=2"), of.clone()));
            }
        }
    }
    run_all(TEST, 30, cases);
}
