//! A page that the kernel empties in every child with a copy of this memory (MADV_WIPEONFORK, Linux 4.14): so a child knows
//! what it is that no handler has told, and one of vfork, which shares the memory, is none. Signal-safe.

use super::kernel;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};

static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

/// Sets the mark, once. Without room for it, or on an older kernel, there is none.
pub(crate) fn set() {
    if cfg!(hmmrt_standin) || !MARK.load(Acquire).is_null() {
        return;
    }
    const LEN: usize = 4096;
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which stays, or goes before anybody else knows of it.
    unsafe {
        let at = kernel::mmap(core::ptr::null_mut(), LEN, prot, flags);
        if at == libc::MAP_FAILED {
            return;
        }
        let word: *mut AtomicU32 = at.cast();
        let wiped = kernel::madvise(at, LEN, libc::MADV_WIPEONFORK) == 0;
        (*word).store(1, Relaxed);
        if !wiped || MARK.compare_exchange(core::ptr::null_mut(), word, Release, Relaxed).is_err() {
            kernel::munmap(at, LEN);
        }
    }
}

/// Whether this memory is a copy of that in which the mark was set.
#[inline]
pub(crate) fn is_wiped() -> bool {
    // SAFETY: null, or a page that is never unmapped.
    unsafe { MARK.load(Acquire).as_ref() }.is_some_and(|mark| mark.load(Relaxed) == 0)
}
