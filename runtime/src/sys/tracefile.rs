//! What a trace's file needs of the system: a shared mapping that children do not get, and disk space behind it before it is
//! touched, because a touch without is SIGBUS. `back` and `thread_number` are signal-safe.

use super::{kernel, program};
use crate::addr::{HostAddr, PAGE};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// For opening: a link is an error.
pub(crate) const NO_FOLLOW: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Maps the first `len` bytes of a file, for all who write it.
pub(crate) fn map(file: &File, len: usize) -> io::Result<usize> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_NORESERVE);
    let args = [0, len, prot as usize, flags as usize, file.as_raw_fd() as usize, 0];
    // SAFETY: no address is asked for, so nothing existing is touched.
    let at = unsafe { kernel::call(libc::SYS_mmap, args) };
    if at == -1 {
        return Err(io::Error::last_os_error());
    }
    let at = HostAddr(at as usize);
    // SAFETY: a mapping of ours. Without it children would keep the file's lock; that it fails is not known to happen.
    unsafe { kernel::madvise(at.ptr().cast(), len, libc::MADV_DONTFORK) };
    Ok(at.0)
}

/// Unmaps what [`map`] has mapped.
pub(crate) fn unmap(at: usize, len: usize) {
    super::map::unmap(HostAddr(at), len);
}

/// Has disk space behind whole pages of the mapping; the system's error number if there is none. Leaves errno as it is.
/// Signal-safe.
pub(crate) fn back(at: usize, len: usize) -> Result<(), i32> {
    let start = at & !(PAGE - 1);
    let len = (at + len).next_multiple_of(PAGE) - start;
    // SAFETY: our own mapping; its contents stay.
    match unsafe { program::advise(HostAddr(start).range(len), program::MADV_POPULATE_WRITE) } {
        Ok(_) => Ok(()),
        // What would be SIGBUS: the file system does not say why.
        Err(libc::EFAULT | libc::EHWPOISON) => Err(libc::ENOSPC),
        Err(errno) => Err(errno),
    }
}

/// Puts memory of nobody's in the place of the file's. Whether that worked.
pub(crate) fn detach(at: usize, len: usize) -> bool {
    super::map::replace(HostAddr(at), len, super::map::Prot::ReadWrite).is_ok()
}

/// The calling thread's number, the kernel's. Signal-safe.
pub(crate) fn thread_number() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { kernel::raw(libc::SYS_gettid, [0; 6]) as u32 }
}

/// How long a file of this process may become (RLIMIT_FSIZE): making it longer is a signal.
pub(crate) fn most_file_bytes() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid struct.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    limit.rlim_cur
}
