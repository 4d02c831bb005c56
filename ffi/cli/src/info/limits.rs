//! The limits of the system that matter to the runtime.

use crate::os;
use hmmrt::Config;
use serde::Serialize;

/// Sizes in bytes; what can't be found out, and what is unlimited, is null.
#[derive(Serialize)]
pub struct Limits {
    /// The runtime knows 4 KiB only.
    pub page_size: u64,
    /// Memory of the machine.
    pub memory_total: Option<u64>,
    /// Memory that programs can have without swapping.
    pub memory_available: Option<u64>,
    /// vm.max_map_count: mappings of one process.
    pub max_map_count: Option<u64>,
    /// Those that the runtime uses before it takes ways that add none.
    pub mapping_budget: Option<u64>,
    /// Transparent huge pages: always, madvise or never.
    pub huge_pages: Option<String>,
    /// How hard the kernel tries to make one at a touch.
    pub huge_pages_defrag: Option<String>,
    /// vm.overcommit_memory: 0, 1, or 2 for strict.
    pub overcommit: Option<u64>,
    /// RLIMIT_AS: address space.
    pub address_space: Option<u64>,
    /// RLIMIT_MEMLOCK: memory that a program can hold in place.
    pub locked_memory: Option<u64>,
    /// The kernel can take pages out of a mapping that stays (5.7).
    pub mremap_dontunmap: bool,
    /// The kernel answers questions about mappings (6.11); without it the runtime reads /proc/self/maps.
    pub procmap_query: bool,
}

impl Limits {
    /// As they are now.
    pub fn new(config: &Config) -> Limits {
        let number = |path| line(path).and_then(|text| text.parse::<u64>().ok());
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let max_map_count = number("/proc/sys/vm/max_map_count");
        Limits {
            page_size: os::page_size(),
            memory_total: kib(&meminfo, "MemTotal:"),
            memory_available: kib(&meminfo, "MemAvailable:"),
            max_map_count,
            mapping_budget: match config.vma_budget {
                0 => max_map_count.map(|count| count / 2),
                budget => Some(budget as u64),
            },
            huge_pages: line("/sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| chosen(&text)),
            huge_pages_defrag: line("/sys/kernel/mm/transparent_hugepage/defrag")
                .and_then(|text| chosen(&text)),
            overcommit: number("/proc/sys/vm/overcommit_memory"),
            address_space: os::limit(os::RLIMIT_AS),
            locked_memory: os::limit(os::RLIMIT_MEMLOCK),
            mremap_dontunmap: os::has_dontunmap(),
            procmap_query: os::has_procmap_query(),
        }
    }
}

/// A file of one line.
pub fn line(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The word in brackets.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// A line of /proc/meminfo, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{chosen, kib};

    #[test]
    fn files_of_the_kernel() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
        let text = "MemTotal:       24684084 kB\nMemFree:        1 kB\n";
        assert_eq!(kib(text, "MemTotal:"), Some(24684084 << 10));
        assert_eq!(kib(text, "MemAvailable:"), None);
    }
}
