//! Devices with too little memory, from almost none to almost enough.

use super::cases::{Case, is_case, run_all};
use super::common::double;

#[test]
fn memory_ends_at_every_stage() {
    const TEST: &str = "room::memory_ends_at_every_stage";
    if is_case() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    for mib in (2..=20).step_by(2) {
        let of = |more: (&'static str, &str)| {
            vec![
                ("HMMRT_BACKEND", "host".to_owned()),
                ("HMMRT_HOST_MEMORY", format!("{mib}M")),
                (more.0, more.1.to_owned()),
            ]
        };
        for more in [("HMMRT_FAULT", "segv"), ("HMMRT_FAULT", "uffd"), ("HMMRT_HOST_DIRECT", "0")] {
            cases.push(("memory", String::new(), of(more)));
        }
    }
    for kind in double::KINDS {
        let library = double::library(kind).into_os_string().into_string().unwrap();
        for mib in (32..=56).step_by(4) {
            cases.push((
                "memory",
                String::new(),
                vec![
                    ("HMMRT_BACKEND", kind.into()),
                    (double::variable(kind), library.clone()),
                    ("HMMRT_DOUBLE_MEMORY", format!("{mib}M")),
                ],
            ));
        }
    }
    run_all(TEST, 24, cases);
}
