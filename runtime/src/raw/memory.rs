//! Blocks of the heap and the program's own memory. API context.

use super::Protection;
use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::chunk::Guard;
use crate::error::{Error, Result};
use crate::mask::PageMask;
use crate::migrate::{self, Stop};
use crate::moves;
use crate::sys::signal::Blocked;
use crate::{adopt, heap, inflight, runtime, span, sys, table};

/// A block of `size` bytes (0 counts as 1), at a page boundary; large ones at a 2 MiB boundary.
pub fn malloc(size: usize) -> Result<*mut u8> {
    runtime::ensure_started("hmm_malloc")?;
    heap::allocate(size, 1).map(|(at, _)| at.ptr())
}

/// A zeroed block of `n * size` bytes.
pub fn calloc(n: usize, size: usize) -> Result<*mut u8> {
    runtime::ensure_started("hmm_calloc")?;
    let bytes =
        n.checked_mul(size).ok_or(Error::InvalidArgument { arg: "n", why: "n times size overflows" })?;
    let (at, zeroed) = heap::allocate(bytes, 1)?;
    if !zeroed {
        sys::map::zero(at, bytes);
    }
    Ok(at.ptr())
}

/// A block of `size` bytes at a multiple of `alignment`, a power of two.
pub fn aligned_alloc(alignment: usize, size: usize) -> Result<*mut u8> {
    runtime::ensure_started("hmm_aligned_alloc")?;
    if !alignment.is_power_of_two() {
        return Err(Error::InvalidArgument { arg: "alignment", why: "it is not a power of two" });
    }
    if alignment > 1 << 40 {
        return Err(Error::InvalidArgument { arg: "alignment", why: "it is more than 1 TiB" });
    }
    heap::allocate(size, alignment).map(|(at, _)| at.ptr())
}

/// The block that must start at `ptr`.
fn block_at(ptr: *const u8) -> Result<ByteRange> {
    let addr = HostAddr::from(ptr);
    let found = heap::find(addr).ok_or(Error::NotManaged { arg: "ptr", addr: addr.0 })?;
    if found.range.start != addr.0 {
        return Err(Error::InvalidArgument { arg: "ptr", why: "it points into a block, not at its start" });
    }
    Ok(found.range)
}

/// Changes a block's size, keeping its bytes up to the smaller of the two; it may move. Pages that are on a device move
/// there, not over the host. `ptr` NULL allocates; size 0 keeps a block of the least size.
///
/// # Safety
/// `ptr` is NULL or a live block that nobody else uses meanwhile; after success only the result is valid.
pub unsafe fn realloc(ptr: *mut u8, size: usize) -> Result<*mut u8> {
    if ptr.is_null() {
        return malloc(size);
    }
    let _call = runtime::enter("hmm_realloc")?;
    let old = block_at(ptr)?;
    if size <= old.len() && size > old.len() / 2 || size.max(1) <= PAGE && old.len() == PAGE {
        return Ok(ptr);
    }
    if size > old.len() && heap::extend(HostAddr(old.start), size) {
        return Ok(ptr);
    }
    let (at, _) = heap::allocate(size, 1)?;
    let keep = old.len().min(size);
    let done = migrate::move_plain(HostAddr(old.start), at, keep);
    let rest = match done < keep {
        true => move_contents(HostAddr(old.start).add(done), at.add(done), keep - done),
        false => Ok(()),
    };
    if let Err(e) = rest {
        let back = migrate::move_chunks(at, HostAddr(old.start), done);
        // SAFETY: both blocks are live for so many bytes; the old one's pages there are its own, and empty.
        unsafe {
            core::ptr::copy_nonoverlapping(at.add(back).ptr().cast_const(), ptr.add(back), done - back)
        };
        let _ = heap::free(at);
        return Err(e);
    }
    match heap::free_with(HostAddr(old.start), done == 0) {
        Err(e) if done == 0 => {
            let _ = heap::free(at); // the old block is in use by a device: it stays, with its bytes
            Err(e)
        }
        _ => Ok(at.ptr()), // the old block is gone, or a leak
    }
}

fn move_contents(from: HostAddr, to: HostAddr, len: usize) -> Result<()> {
    let new = heap::find(to).ok_or(Error::NotManaged { arg: "ptr", addr: to.0 })?.range;
    let mut waited = 0;
    let mut moved = Vec::new();
    loop {
        let stopped = {
            let _blocked = Blocked::new();
            moved.clear();
            migrate::relocate(from, to, len.next_multiple_of(PAGE), new, &mut moved)
        };
        match stopped {
            Ok(()) => break,
            Err(Stop::Wait(b)) => inflight::wait_or_busy(b, "ptr", from.0, &mut waited)?,
            Err(Stop::Fail(Error::DeviceMemory { .. })) => break, // no room for two: over the host, then
            Err(Stop::Fail(e)) => return Err(e),
        }
    }
    // What did not move on a device is copied as the program would: faults and all.
    let end = from.0 + len;
    moved.sort_by_key(|r| r.start); // per device, so not in order
    moved.push(ByteRange { start: end, end });
    let mut at = from.0;
    for done in moved {
        if at < done.start.min(end) {
            let n = done.start.min(end) - at;
            // SAFETY: both blocks are live for `n` bytes from here, by the caller's promise and our own allocation.
            unsafe { moves::copy(HostAddr(at), HostAddr(to.0 + at - from.0), n, "ptr")? };
        }
        at = at.max(done.end);
    }
    Ok(())
}

/// Frees a block. NULL is fine; anything that is not the start of a live block is an error and changes nothing.
///
/// # Safety
/// Nobody uses the block any more.
pub unsafe fn free(ptr: *mut u8) -> Result<()> {
    if ptr.is_null() {
        return Ok(());
    }
    runtime::check_process("hmm_free")?;
    heap::free(HostAddr::from(ptr.cast_const()))
}

/// How many bytes of the block that starts at `ptr` may be used; 0 if none does.
pub fn usable_size(ptr: *const u8) -> usize {
    block_at(ptr).map_or(0, ByteRange::len)
}

/// Whether `ptr` is in managed memory: a live block or an adopted range.
#[inline]
pub fn owns(ptr: *const u8) -> bool {
    let addr = HostAddr::from(ptr);
    table::get(addr).is_some_and(|c| c.managed.has(addr.page_in_chunk()))
}

/// Begins to manage the caller's private anonymous memory where it is. `addr` is page-aligned, `len` is rounded up.
///
/// # Safety
/// The memory stays mapped until [`disown`]; nothing but the CPU and this runtime relies on its physical pages.
pub unsafe fn adopt(addr: *mut u8, len: usize) -> Result<()> {
    runtime::ensure_started("hmm_adopt")?;
    adopt::adopt(addr, len)
}

/// Brings adopted memory home and stops managing it; part of an adopted range will do.
///
/// # Safety
/// As for [`adopt`].
pub unsafe fn disown(addr: *mut u8, len: usize) -> Result<()> {
    runtime::check_process("hmm_disown")?;
    adopt::disown(addr, len)
}

/// Sets the program's own protection of managed pages, wherever they are: what mprotect(2) does for other memory.
///
/// # Safety
/// As mprotect: other code may rely on access.
pub unsafe fn protect(addr: *mut u8, len: usize, protection: Protection) -> Result<()> {
    let _devices = runtime::devices("hmm_protect")?;
    let at = HostAddr::from(addr.cast_const());
    if !at.0.is_multiple_of(PAGE) {
        return Err(Error::InvalidArgument { arg: "addr", why: "it is not at a page boundary" });
    }
    let span = span::find(at, len, "addr")?;
    for (chunk_at, part) in span.range.chunks() {
        let _blocked = Blocked::new();
        let g = Guard::lock(table::known(chunk_at), chunk_at);
        let pages = PageMask::of(part) & g.chunk.managed.get();
        let (read, write) = (protection != Protection::None, protection == Protection::ReadWrite);
        migrate::set_user_protection(&g, pages, read, write)?;
    }
    Ok(())
}
