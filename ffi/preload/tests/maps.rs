//! Programs that map, unmap, move and protect memory, with the library before them: what is adopted, and parts of blocks.
//! The C programs are `c/maps.c` and `c/maps_together.c`; each of their parts names the mistakes that it catches.

mod common;

use common::{compile, passes, preloaded, run};
use std::process::Output;

/// Whether the statistics say that something was sent to a device.
fn moved(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("to the device")).unwrap_or_default();
    line.contains(" moves") && !line.contains(" 0 moves")
}

const ADOPT: (&str, &str) = ("HMMRT_ADOPT_MMAP", "1");

fn both(settings: &[&[(&str, &str)]]) {
    for name in ["maps", "maps_together"] {
        let (program, _) = compile(name);
        for settings in settings {
            passes(&program, &[], settings);
        }
    }
}

#[test]
fn mappings_and_parts_of_blocks() {
    both(&[&[], &[ADOPT], &[("HMMRT_MIN_SIZE", "64K"), ADOPT]]);
}

const CHAOS: (&str, &str) = ("HMMRT_CHAOS", "1");
const SMALL: (&str, &str) = ("HMMRT_MIN_SIZE", "64K");

#[test]
fn while_memory_moves() {
    // Blocks are followed without that setting, too.
    both(&[
        &[CHAOS, ADOPT],
        &[SMALL, CHAOS, ADOPT],
        &[SMALL, CHAOS],
        &[("HMMRT_MIN_SIZE", "0"), CHAOS, ADOPT],
    ]);
}

/// As with a GPU's driver: faults are served by another thread.
#[test]
fn while_a_thread_serves_faults() {
    let indirect = ("HMMRT_HOST_DIRECT", "0");
    both(&[&[indirect, CHAOS, ADOPT], &[SMALL, indirect, CHAOS, ADOPT]]);
}

/// Where mappings are few, chunks move as a whole.
#[test]
fn near_the_limit_of_mappings() {
    both(&[&[SMALL, CHAOS, ("HMMRT_VMA_BUDGET", "300"), ADOPT]]);
}

/// Catches: mappings that are managed although nobody wants it, or not although somebody does.
#[test]
fn only_what_is_wanted_is_adopted() {
    let (program, _) = compile("maps");
    for (adopt, least) in [("1", ""), ("0", ""), ("", ""), ("1", "1G")] {
        let settings = [
            ("HMMRT_ADOPT_MMAP", adopt),
            ("HMMRT_MIN_SIZE", least),
            ("HMMRT_CHAOS", "1"),
            ("HMMRT_STATS", "1"),
        ];
        let output = run(preloaded(&program, &settings).arg("mmap"));
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{settings:?}: {err}");
        assert_eq!(moved(&output), adopt == "1" && least.is_empty(), "{settings:?}: {err}");
    }
}
