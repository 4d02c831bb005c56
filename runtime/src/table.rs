//! The residency table: from an address to its chunk's record, without a lock, from any context. Two levels: a static
//! array with one entry per GiB of address space, and leaves of 512 records that are mapped when first needed and never
//! unmapped. Signal-safe, but for `ensure`.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::stats::STATS;
use crate::sys::futex::Locked;
use crate::sys::map::{self, Prot};
use crate::sys::signal::Blocked;
use core::sync::atomic::{AtomicPtr, Ordering::*};

/// Records in a leaf: 1 GiB of memory, 512 KiB of records, touched as they are used.
const LEAF: usize = 512;
/// 48 bits: what user space has on x86-64 (47) and aarch64 (48), unless it asks for more.
const ROOTS: usize = 1 << 18;

type Leaf = [Chunk; LEAF];
static ROOT: [AtomicPtr<Leaf>; ROOTS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; ROOTS];
static GROW: Locked<()> = Locked::new(());

/// The record of the chunk that `addr` is in, if any of its neighbourhood was ever ours. Signal-safe.
#[inline]
pub(crate) fn get(addr: HostAddr) -> Option<&'static Chunk> {
    let number = addr.0 / CHUNK;
    let leaf = ROOT.get(number / LEAF)?.load(Acquire);
    // SAFETY: a published leaf is 512 zero-initialized records, never unmapped.
    let leaf = unsafe { leaf.as_ref()? };
    Some(&leaf[number % LEAF])
}

/// The record of the chunk that `addr` is in, whose leaf is there because the address is managed. Signal-safe.
pub(crate) fn known(addr: HostAddr) -> &'static Chunk {
    match get(addr) {
        Some(chunk) => chunk,
        None => crate::sys::stderr::fatal("a managed address has no record", addr.0),
    }
}

/// Makes sure that there are records for all chunks that `range` touches.
pub(crate) fn ensure(range: ByteRange) -> Result<()> {
    let leaf_bytes = LEAF * CHUNK;
    let last = range.end.saturating_sub(1) / leaf_bytes;
    if last >= ROOTS {
        return Err(Error::Unsupported { what: "addr", why: "addresses above 48 bits are not supported" });
    }
    for (i, root) in ROOT.iter().enumerate().take(last + 1).skip(range.start / leaf_bytes) {
        if !root.load(Acquire).is_null() {
            continue;
        }
        let _blocked = Blocked::new(); // who waits for a handler's touch may need it
        let _grow = GROW.lock();
        if root.load(Acquire).is_null() {
            let at = map::map(size_of::<Leaf>(), PAGE, Prot::ReadWrite, "residency table")?;
            map::huge_pages(at, size_of::<Leaf>(), false);
            root.store(at.ptr().cast(), Release);
            // The root's own page, once for its 512 entries.
            let shared = ROOT[i / 512 * 512..(i / 512 + 1) * 512]
                .iter()
                .filter(|r| !r.load(Relaxed).is_null())
                .count();
            STATS.table_bytes.add(if shared == 1 { PAGE as u64 } else { 0 });
        }
    }
    Ok(())
}

/// Counts the records of `range` as used (`add`) or not, for the statistics.
pub(crate) fn account(range: ByteRange, add: bool) {
    let bytes = (range.chunks().count() * size_of::<Chunk>()) as u64;
    if add { STATS.table_bytes.add(bytes) } else { STATS.table_bytes.sub(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_records() {
        assert!(get(HostAddr(usize::MAX)).is_none());
        let base = 0x1234_4000_0000;
        ensure(ByteRange { start: base, end: base + (3 << 30) }).unwrap();
        let a = get(HostAddr(base)).unwrap();
        let b = get(HostAddr(base + CHUNK)).unwrap();
        assert_eq!(core::ptr::from_ref(b).addr() - core::ptr::from_ref(a).addr(), 1024);
        assert!(core::ptr::eq(get(HostAddr(base + CHUNK - 1)).unwrap(), a));
        assert!(ensure(ByteRange { start: 1 << 50, end: (1 << 50) + 1 }).is_err());
    }
}
