//! What `params` needs of the preload library's file of that name.

/// Reads memory that may not be there: how many bytes could be read.
pub fn peek(at: usize, into: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: core::ptr::with_exposed_provenance_mut(at), iov_len: into.len() };
    // SAFETY: writes at most what `into` has room for; the kernel checks the other side.
    let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    usize::try_from(got).unwrap_or(0)
}
