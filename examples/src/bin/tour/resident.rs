//! How much host RAM is really behind a piece of memory, asked of the kernel (/proc/self/pagemap).
//!
//! Called by `bytes`. The runtime's own word is not taken for it.

use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGE: usize = 4 << 10;
/// Bit 63 of an entry: the page is in RAM; bit 62: it is in swap.
const THERE: u64 = 3 << 62;

/// Bytes of RAM (or swap) behind `memory`, in whole 4 KiB pages.
pub fn bytes(memory: &[u8]) -> std::io::Result<u64> {
    let first = memory.as_ptr().addr() / PAGE;
    let end = (memory.as_ptr().addr() + memory.len()).div_ceil(PAGE);
    let mut entries = vec![0; (end - first) * 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, first as u64 * 8)?;
    let (entries, _) = entries.as_chunks::<8>();
    Ok(entries.iter().filter(|entry| u64::from_ne_bytes(**entry) & THERE != 0).count() as u64 * PAGE as u64)
}
