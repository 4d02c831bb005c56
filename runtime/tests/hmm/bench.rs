//! benchmark_thp_migration: that the sizes of its table move, wholly and rightly. Their times are a part of the benchmark.

use crate::memory::{BOTH, HUGE, Memory, PAGE};
use crate::row::{Kind, row};
use hmmrt::Page;
use hmmrt::raw::{self, HMM_HOST};

/// The table's sizes, in quarters of 2 MiB.
const QUARTERS: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Catches: a size that does not move as a whole.
#[test]
fn benchmark_thp_migration() {
    let differs = "checked here; measured by `cargo xtask bench -- --only thp-migration`";
    let Some(row) = row("bench::benchmark_thp_migration", Kind::Same, differs) else { return };
    row.cases(2 * QUARTERS.len());
    for kind in BOTH {
        for len in QUARTERS.map(|n| n * HUGE / 4) {
            let m = Memory::new(kind, len);
            (0..len).step_by(PAGE).for_each(|at| m.fill_part(at, at + 4, 1));
            let before = raw::stats();
            m.send();
            assert_eq!(m.migrate(HMM_HOST), len / PAGE, "{kind:?}, {len:#x}");
            let after = raw::stats();
            let copied =
                [after.bytes_to_device - before.bytes_to_device, after.bytes_to_host - before.bytes_to_host];
            assert_eq!(copied, [len as u64; 2], "{kind:?}, {len:#x}");
            assert!(m.all_are(Page::HOST));
            assert!((0..len).step_by(PAGE).all(|at| m.part_holds(at, at + 4, 1)), "{kind:?}, {len:#x}");
        }
    }
}
