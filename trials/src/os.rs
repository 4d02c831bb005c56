//! The operating system's calls. Nothing else here names `libc`.

use core::ffi::c_void;

/// A new mapping of the program's own, at `hint` if that is free; readable and writable, or not at all.
pub(crate) fn map(hint: usize, len: usize, open: bool) -> *mut u8 {
    let prot = if open { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: nothing is replaced.
    let at = unsafe { libc::mmap(core::ptr::without_provenance_mut(hint), len, prot, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at.cast()
}

/// Makes pages readable and writable.
///
/// # Safety
/// They are the caller's.
pub(crate) unsafe fn open(at: *mut c_void, len: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { libc::mprotect(at, len, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// Takes a mapping away.
///
/// # Safety
/// It is the caller's, and nobody uses it any more.
pub(crate) unsafe fn unmap(at: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(at.cast(), len) };
}

/// Reads memory that may not be there: how many bytes could be read.
pub(crate) fn peek(at: usize, into: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: core::ptr::with_exposed_provenance_mut(at), iov_len: into.len() };
    // SAFETY: writes at most what `into` has room for; the kernel checks the other side.
    let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    usize::try_from(got).unwrap_or(0)
}
