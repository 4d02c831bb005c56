//! How much memory the rows use: less where the host or the device is short of it. Managed memory of the driver's is never
//! more than a quarter (a fifth, in fact) of what the device has free, and everything is held against it at the same size.

use hmmrt_bench::floors::CHUNK;
use std::fs;

/// Sizes of the rows, bytes; multiples of 2 MiB.
pub struct Sizes {
    /// What is "1 GiB" in the design.
    pub big: usize,
    /// One of the triad's three arrays, 256 MiB.
    pub array: usize,
    /// What the first-touch rows send, 512 MiB.
    pub first: usize,
    /// Chunks of the single faults.
    pub chunks: usize,
    /// Blocks of the registered-block experiment.
    pub blocks: usize,
    /// Kernel launches of one sample.
    pub launches: usize,
}

impl Sizes {
    /// For so much free device memory.
    pub fn new(quick: bool, device_free: usize) -> Self {
        Self::fit(quick, device_free, host_free())
    }

    fn fit(quick: bool, device: usize, host: usize) -> Self {
        // At once, on either side: ours, two of the peers', managed, and as much again that others may take.
        let cap = |wish: usize, of_host: usize, of_device: usize| {
            let most = (host / of_host).min(device / of_device);
            wish.min(most / CHUNK * CHUNK).max(CHUNK)
        };
        let wish = |full: usize, small: usize| if quick { small } else { full };
        Self {
            big: cap(wish(1 << 30, 32 << 20), 5, 5),
            array: cap(wish(256 << 20, 4 << 20), 15, 15),
            first: cap(wish(512 << 20, 64 << 20), 5, 5),
            chunks: cap(wish(64, 8) * CHUNK, 5, 5) / CHUNK,
            blocks: cap(wish(32, 4) * CHUNK, 5, 5) / CHUNK,
            launches: wish(200, 20),
        }
    }
}

/// Bytes that the host can give: what the system has available, less in a container that allows less.
fn host_free() -> usize {
    let limit =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let used =
        fs::read_to_string("/sys/fs/cgroup/memory.current").ok().and_then(|text| text.trim().parse().ok());
    let allowed = limit.map_or(usize::MAX, |limit: usize| limit.saturating_sub(used.unwrap_or(0)));
    available().min(allowed)
}

/// `MemAvailable` of /proc/meminfo in bytes; 4 GiB where it can't be read.
pub fn available() -> usize {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<usize>().ok());
    kib.map_or(4 << 30, |kib| kib << 10)
}

/// A size for people.
pub fn show(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Sizes, show};

    #[test]
    fn sizes_shrink_where_memory_is_short() {
        let plenty = Sizes::fit(false, 80 << 30, 64 << 30);
        assert_eq!((plenty.big, plenty.array, plenty.first), (1 << 30, 256 << 20, 512 << 20));
        let short = Sizes::fit(false, 1 << 30, 64 << 30);
        assert_eq!(short.big, 204 << 20);
        assert!(3 * short.array <= 256 << 20, "managed memory is at most a quarter");
        let tiny = Sizes::fit(false, 0, 0);
        assert_eq!((tiny.big, tiny.array, tiny.chunks), (CHUNK, CHUNK, 1));
        let low = Sizes::fit(false, 80 << 30, 2 << 30);
        assert!(low.big.is_multiple_of(CHUNK) && 5 * low.big <= 2 << 30);
        assert!(Sizes::fit(true, 80 << 30, 64 << 30).big < 64 << 20);
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!([1 << 30, 3 << 20, 4096, 5].map(show), ["1 GiB", "3 MiB", "4 KiB", "5 bytes"]);
    }
}
