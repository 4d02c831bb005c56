//! Mapping, protecting and moving memory. Called by heap, pool, migrate and the host backend. All functions are plain
//! system calls: signal-safe. Addresses are those of memory that the caller owns; the table's lock order is the caller's.

use super::{kernel, limits, os_error};
use crate::addr::{CHUNK, HostAddr, PAGE};
use crate::error::{Error, Result};

/// What the CPU may do with pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Prot {
    None = libc::PROT_NONE,
    Read = libc::PROT_READ,
    ReadWrite = libc::PROT_READ | libc::PROT_WRITE,
}

/// Private, anonymous, not charged before it is used.
const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

fn check(p: *mut libc::c_void, what: &'static str, bytes: usize) -> Result<HostAddr> {
    if p != libc::MAP_FAILED {
        return Ok(HostAddr(p.expose_provenance()));
    }
    Err(if super::errno() == libc::ENOMEM { Error::NoMemory { what, bytes } } else { os_error("mmap") })
}

/// Maps `len` bytes anywhere, aligned to `align` (a power of two, at least a page).
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn map(len: usize, align: usize, prot: Prot, what: &'static str) -> Result<HostAddr> {
    let padded = len.checked_add(align).ok_or(Error::NoMemory { what, bytes: len })?;
    // SAFETY: no address is asked for, so nothing existing is touched.
    let p = unsafe { kernel::mmap(core::ptr::null_mut(), padded, prot as i32, ANON) };
    let at = check(p, what, len)?;
    let start = at.0.next_multiple_of(align);
    let (head, tail) = (start - at.0, at.0 + padded - start - len);
    if head > 0 {
        unmap(at, head);
    }
    if tail > 0 {
        unmap(HostAddr(start + len), tail);
    }
    Ok(HostAddr(start))
}

/// Reserves `len` bytes without access exactly at `at`, if nothing is there.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn reserve_at(at: HostAddr, len: usize) -> Option<HostAddr> {
    // SAFETY: NOREPLACE never touches an existing mapping.
    let p = unsafe { kernel::mmap(at.ptr().cast(), len, libc::PROT_NONE, ANON | libc::MAP_FIXED_NOREPLACE) };
    let got = check(p, "reservation", len).ok()?;
    if got != at {
        unmap(got, len); // a kernel before 4.17 takes the flag for a hint
        return None;
    }
    Some(got)
}

/// Replaces pages by an empty mapping: their memory is given back and their mapping merges with its like. Signal-safe.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn replace(at: HostAddr, len: usize, prot: Prot) -> Result<()> {
    // SAFETY: the caller owns the range; a fixed mapping replaces it in one step.
    let p = unsafe { kernel::mmap(at.ptr().cast(), len, prot as i32, ANON | libc::MAP_FIXED) };
    check(p, "replacing pages", len).map(|_| ())
}

/// Unmaps memory of ours.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn unmap(at: HostAddr, len: usize) {
    // SAFETY: the caller owns the range and no longer uses it.
    unsafe { kernel::munmap(at.ptr().cast(), len) };
}

/// Sets the protection of pages. Signal-safe.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn protect(at: HostAddr, len: usize, prot: Prot) -> Result<()> {
    // SAFETY: the caller owns the range.
    if unsafe { kernel::mprotect(at.ptr().cast(), len, prot as i32) } == 0 {
        return Ok(());
    }
    Err(if super::errno() == libc::ENOMEM {
        Error::NoMemory { what: "page protection", bytes: len }
    } else {
        os_error("mprotect")
    })
}

/// Moves the pages of `from` over `to` in one step; `from`, which is one mapping, stays mapped, empty. The mapping at `to` gets
/// `from`'s protection, which is `prot`. Both stay the owner's. Signal-safe. Needs Linux 5.7.
///
/// The kernel unmaps `to` before it knows that all will be well (mm/mremap.c, `mremap_to`, all versions): then another thread's
/// mmap could be given that place. Refused before anything is unmapped: bad arguments, sealed memory, too many mappings. After
/// it: `from` of several mappings (before 6.17; callers have one), the limits of address space and data and strict accounting
/// (asked for here first), and the kernel finding no memory for a mapping's record or a page table. So what is left is this:
/// the kernel out of memory by a few hundred bytes (a memory cgroup at its limit whose OOM killer spares us), or another
/// thread that uses up the limit between the question and the move; and in the microsecond until the place is reserved
/// again a third that maps memory, of a size that the kernel does not find above. There is no call that moves pages over a
/// mapping and keeps that until it is done.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn move_pages(from: HostAddr, to: HostAddr, len: usize, prot: Prot) -> Result<()> {
    if !limits::have_room(len, prot as i32) {
        return Err(Error::NoMemory { what: "moving pages", bytes: len });
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    // SAFETY: the caller owns both ranges; what was mapped at `to` is meant to be replaced.
    let p = unsafe { kernel::mremap(from.ptr().cast(), len, flags, to.ptr().cast()) };
    if p != libc::MAP_FAILED {
        return Ok(());
    }
    // No mapping that is there is touched.
    let errno = super::errno();
    let _ = reserve_at(to, len);
    super::set_errno(errno);
    Err(if errno == libc::ENOMEM {
        Error::NoMemory { what: "moving pages", bytes: len }
    } else {
        os_error("mremap")
    })
}

/// Gives the memory of pages back; they read as zeros where they can be read. Signal-safe.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn give_back(at: HostAddr, len: usize) -> Result<()> {
    // SAFETY: the caller owns the range and no longer needs its contents.
    if unsafe { kernel::madvise(at.ptr().cast(), len, libc::MADV_DONTNEED) } == 0 {
        Ok(())
    } else {
        Err(os_error("madvise"))
    }
}

/// As [`give_back`], locked memory too (Linux 5.18): pages that must be gone. Signal-safe.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn take_away(at: HostAddr, len: usize) -> Result<()> {
    const DONTNEED_LOCKED: i32 = 24;
    // SAFETY: as above.
    give_back(at, len).or_else(|e| match unsafe { kernel::madvise(at.ptr().cast(), len, DONTNEED_LOCKED) } {
        0 => Ok(()),
        _ => Err(e),
    })
}

/// Asks for (or against) huge pages; a kernel without them ignores it. Signal-safe.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn huge_pages(at: HostAddr, len: usize, on: bool) {
    let advice = if on { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
    // SAFETY: advice changes no contents.
    unsafe { kernel::madvise(at.ptr().cast(), len, advice) };
}

/// What the program may have asked for the mapping that pages came in is not asked for the next one: at a fork, and in a core
/// dump, they are what memory is by default. About 1 us. Signal-safe.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn forget_advice(at: HostAddr, len: usize) {
    for advice in [libc::MADV_DOFORK, libc::MADV_KEEPONFORK, libc::MADV_DODUMP] {
        // SAFETY: advice changes no contents.
        unsafe { kernel::madvise(at.ptr().cast(), len, advice) };
    }
}

/// Makes all pages of a writable chunk present, by touching them: an ordinary fault holds only its own mapping's lock,
/// MADV_POPULATE_WRITE the whole address space's, and every fault handler would wait for it (0.2 ms a huge page).
pub(crate) fn populate(at: HostAddr) {
    for page in (0..CHUNK).step_by(PAGE) {
        // SAFETY: the chunk is ours, writable, and its contents do not matter.
        unsafe { at.add(page).ptr().write_volatile(0) };
    }
}

/// Puts zero pages where the kernel would put them at a touch (Linux 5.14). Whether all are there: not where userfaultfd
/// watches missing ones, for one. Signal-safe.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn populate_read(at: HostAddr, len: usize) -> bool {
    // SAFETY: no contents change: what is there stays, and what is not reads as zeros as before.
    unsafe { kernel::madvise(at.ptr().cast(), len, libc::MADV_POPULATE_READ) == 0 }
}

/// Fills memory of ours with zeros. Signal-safe.
pub(crate) fn zero(at: HostAddr, len: usize) {
    // SAFETY: the caller owns writable memory there.
    unsafe { core::ptr::write_bytes(at.ptr(), 0, len) }
}

/// Whether a page of ours, which can be read, holds nothing but zeros. Signal-safe.
pub(crate) fn is_zero(page: HostAddr) -> bool {
    // SAFETY: the caller owns readable memory there.
    (0..PAGE / 8).all(|i| unsafe { page.add(i * 8).ptr().cast::<u64>().read_volatile() } == 0)
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself does
mod tests {
    use super::*;

    /// In a process of its own: limits are the process's.
    fn in_child(what: fn() -> bool) -> bool {
        // SAFETY: the child makes system calls only, and leaves.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(i32::from(!what())),
                child => {
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &mut status, 0), child);
                    status == 0
                }
            }
        }
    }

    fn limit(which: u32, bytes: u64) -> bool {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a valid struct; the child's own limit.
        unsafe { libc::setrlimit(which, &limit) == 0 }
    }

    /// A move between two filled chunks, with such a limit: it fails and the target is as it was, or it succeeds.
    fn is_whole(which: u32, bytes: u64, succeeds: bool) -> bool {
        let Ok(from) = map(2 * CHUNK, CHUNK, Prot::ReadWrite, "a test") else { return false };
        let to = from.add(CHUNK);
        // SAFETY: mapped, writable, a test's own.
        unsafe {
            from.ptr().write_bytes(1, CHUNK);
            to.ptr().write_bytes(2, CHUNK);
        }
        // As a chunk that is away: what is not writable does not count as data.
        let ready = protect(to, CHUNK, Prot::Read).is_ok() && limit(which, bytes);
        let moved = move_pages(from, to, CHUNK, Prot::ReadWrite).is_ok();
        // SAFETY: as above; a target that is gone ends the child, which is a failure too.
        let there = unsafe { (0..CHUNK).all(|i| to.add(i).ptr().read() == if succeeds { 1 } else { 2 }) };
        ready && moved == succeeds && there
    }

    #[test]
    fn what_a_limit_refuses_leaves_the_target() {
        assert!(in_child(|| is_whole(libc::RLIMIT_DATA, CHUNK as u64, false)), "data");
        assert!(in_child(|| is_whole(libc::RLIMIT_AS, CHUNK as u64, false)), "address space");
        assert!(in_child(|| is_whole(libc::RLIMIT_AS, 1 << 46, true)), "limits with room");
    }
}
