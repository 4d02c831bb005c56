//! The system calls about mappings that the program made, as it made them: what `adopt` follows. By the kernel's numbers
//! and with its errors, without errno. Signal-safe.

use super::kernel;
use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE, PAGES};
use core::ffi::c_long;

pub(crate) use libc::{
    EAGAIN, EBUSY, EFAULT, EINVAL, ENOMEM, MADV_DONTNEED, MADV_FREE, MAP_ANONYMOUS, MAP_FIXED,
    MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_HUGETLB, MAP_LOCKED, MAP_PRIVATE, MAP_TYPE, MREMAP_DONTUNMAP,
    MREMAP_FIXED, MREMAP_MAYMOVE, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE,
};
pub(crate) use libc::{
    MADV_DONTFORK, MADV_HWPOISON, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_SOFT_OFFLINE, MADV_WILLNEED,
    MADV_WIPEONFORK,
};

/// MADV_DONTNEED for locked memory, too (Linux 5.18).
pub(crate) const MADV_DONTNEED_LOCKED: i32 = 24;
/// Makes a huge page at once (Linux 6.1).
pub(crate) const MADV_COLLAPSE: i32 = 25;
/// Guard pages without a mapping of their own (Linux 6.13).
pub(crate) const MADV_GUARD_INSTALL: i32 = 102;
/// Takes them away.
pub(crate) const MADV_GUARD_REMOVE: i32 = 103;

/// What the kernel answers: a number, or its error.
pub(crate) type Answer = Result<usize, i32>;

/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
unsafe fn call(number: c_long, a: [usize; 6]) -> Answer {
    #[cfg(feature = "inject")]
    if let Some(errno) = super::refusal::of_call(number, &a) {
        return Err(errno);
    }
    // SAFETY: the caller's promise.
    match unsafe { kernel::raw(number, a) } {
        error @ -4095..0 => Err(-error as i32),
        answer => Ok(answer as usize),
    }
}

/// What mmap(2) is asked for beside the range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    /// `PROT_*`.
    pub(crate) prot: i32,
    /// `MAP_*`.
    pub(crate) flags: i32,
    /// The file, or -1.
    pub(crate) fd: i32,
    /// Where in the file.
    pub(crate) offset: i64,
}

impl Mapping {
    /// Whether it is private anonymous memory of ordinary pages that no code is in and nothing locks.
    pub(crate) fn is_ordinary(&self) -> bool {
        let other = MAP_HUGETLB | MAP_LOCKED | MAP_GROWSDOWN;
        self.flags & MAP_TYPE == MAP_PRIVATE
            && self.flags & MAP_ANONYMOUS != 0
            && self.flags & other == 0
            && self.prot & !(PROT_READ | PROT_WRITE) == 0
    }
    /// Whether it may be read.
    pub(crate) fn reads(&self) -> bool {
        self.prot != PROT_NONE
    }
    /// Whether it may be written.
    pub(crate) fn writes(&self) -> bool {
        self.prot & PROT_WRITE != 0
    }
}

/// mmap(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn map(range: ByteRange, m: Mapping) -> Answer {
    let a = [range.start, range.len(), m.prot as usize, m.flags as usize, m.fd as usize, m.offset as usize];
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_mmap, a) }
}

/// munmap(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn unmap(range: ByteRange) -> Answer {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_munmap, [range.start, range.len(), 0, 0, 0, 0]) }
}

/// mprotect(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn protect(range: ByteRange, prot: i32) -> Answer {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_mprotect, [range.start, range.len(), prot as usize, 0, 0, 0]) }
}

/// pkey_mprotect(2).
///
/// # Safety
/// As the system call.
pub(crate) unsafe fn protect_with_key(range: ByteRange, prot: i32, key: i32) -> Answer {
    let a = [range.start, range.len(), prot as usize, key as usize, 0, 0];
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_pkey_mprotect, a) }
}

/// madvise(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn advise(range: ByteRange, advice: i32) -> Answer {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_madvise, [range.start, range.len(), advice as usize, 0, 0, 0]) }
}

/// mremap(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn remap(from: ByteRange, new_len: usize, flags: i32, to: usize) -> Answer {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_mremap, [from.start, from.len(), new_len, flags as usize, to, 0]) }
}

/// mlock2(2), and mlock(2) where there is nothing to say beside.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn lock(range: ByteRange, flags: u32) -> Answer {
    let (number, flags) = if flags == 0 { (libc::SYS_mlock, 0) } else { (libc::SYS_mlock2, flags as usize) };
    // SAFETY: changes no contents.
    unsafe { call(number, [range.start, range.len(), flags, 0, 0, 0]) }
}

/// munlock(2).
pub(crate) fn unlock(range: ByteRange) -> Answer {
    // SAFETY: changes no contents.
    unsafe { call(libc::SYS_munlock, [range.start, range.len(), 0, 0, 0, 0]) }
}

/// Whether all pages of `range` are mapped.
pub(crate) fn is_mapped(range: ByteRange) -> bool {
    let mut there = [0_u8; PAGES];
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + CHUNK);
        let vec = there.as_mut_ptr().expose_provenance();
        // SAFETY: the vector has a byte for each page of a chunk.
        if unsafe { call(libc::SYS_mincore, [at, end - at, vec, 0, 0, 0]) } == Err(ENOMEM) {
            return false;
        }
        at = end;
    }
    true
}

/// The bytes of whole pages that a call names; `None`: the kernel has an error for that.
pub(crate) fn pages(addr: usize, len: usize) -> Option<ByteRange> {
    let len = len.checked_next_multiple_of(PAGE)?;
    ByteRange::new(HostAddr(addr).0, len)
        .filter(|r| addr.is_multiple_of(PAGE) && r.len() > 0 && r.end < 1 << 56)
}
