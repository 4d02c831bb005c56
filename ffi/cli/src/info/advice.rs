//! What to change about the system, where a limit is bad for the runtime.

use super::limits::Limits;
use crate::size;

/// Managed memory that takes one mapping, once its pages have come home by themselves.
const CHUNK: u64 = 2 << 20;

/// What the runtime was made for.
const PAGE: u64 = 4096;

/// A sentence for each.
pub fn of(limits: &Limits) -> Vec<String> {
    let mut advice = Vec::new();
    if limits.page_size != PAGE {
        advice.push(format!(
            "Pages are {}, and the runtime does not start: it needs a kernel with pages of 4 KiB.",
            size::show(limits.page_size)
        ));
    }
    if !limits.mremap_dontunmap {
        advice.push("The kernel has no MREMAP_DONTUNMAP: Linux 5.7 or newer is needed.".into());
    }
    if let (Some(budget), Some(memory)) = (limits.mapping_budget, limits.memory_total)
        && budget.saturating_mul(CHUNK) < memory
    {
        advice.push(format!(
            "Above {} of managed memory, pages come home in a slower way that needs no mappings: \
             sysctl vm.max_map_count={} is enough for all memory (and HMMRT_VMA_BUDGET, if it is set).",
            size::show(budget.saturating_mul(CHUNK)),
            // The runtime takes half of it.
            memory.div_ceil(CHUNK).saturating_mul(2).next_multiple_of(65_536)
        ));
    }
    if limits.huge_pages.as_deref() == Some("never") {
        advice.push(
            "Transparent huge pages are off, and memory moves by pages of 4 KiB, which takes longer: \
             echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
                .into(),
        );
    }
    if let Some(space) = limits.address_space {
        advice.push(format!(
            "Address space is limited to {}, and the runtime and GPU drivers reserve a lot of it (no memory): \
             ulimit -v unlimited",
            size::show(space)
        ));
    }
    if limits.overcommit == Some(2) {
        advice.push(
            "Overcommit is strict: memory counts against the system's commit limit also while its pages are on a \
             device. sysctl vm.overcommit_memory=0"
                .into(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::{Limits, of};

    const GOOD: Limits = Limits {
        page_size: 4096,
        memory_total: Some(24 << 30),
        memory_available: Some(20 << 30),
        max_map_count: Some(65_530),
        mapping_budget: Some(32_765),
        huge_pages: None,
        huge_pages_defrag: None,
        overcommit: Some(0),
        address_space: None,
        locked_memory: Some(8 << 20),
        mremap_dontunmap: true,
        procmap_query: false,
    };

    #[test]
    fn an_ordinary_machine_is_well() {
        assert_eq!(of(&GOOD), [""; 0]);
        assert_eq!(of(&Limits { huge_pages: Some("madvise".into()), ..GOOD }), [""; 0]);
    }

    #[test]
    fn each_bad_limit_has_its_sentence() {
        for (limits, words) in [
            (Limits { page_size: 65_536, ..GOOD }, ["64 KiB", "4 KiB"]),
            (Limits { mremap_dontunmap: false, ..GOOD }, ["MREMAP_DONTUNMAP", "5.7"]),
            (Limits { memory_total: Some(256 << 30), ..GOOD }, ["Above 64 GiB", "vm.max_map_count=262144"]),
            (Limits { huge_pages: Some("never".into()), ..GOOD }, ["huge pages", "madvise"]),
            (Limits { address_space: Some(8 << 30), ..GOOD }, ["8 GiB", "ulimit -v"]),
            (Limits { overcommit: Some(2), ..GOOD }, ["strict", "vm.overcommit_memory"]),
        ] {
            let advice = of(&limits);
            assert!(advice.len() == 1 && words.iter().all(|word| advice[0].contains(word)), "{advice:?}");
        }
    }
}
