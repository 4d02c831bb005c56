//! The program's calls about its mappings, for a library that stands before the C library's functions: what they do to
//! managed memory. Addresses and numbers are the system calls', and so are the errors. The caller looks first whether
//! any of it is managed ([`touches`]); what is not goes to the C library as ever. Any thread, signal handlers included but
//! for the mlock family; in forked children without the runtime.

use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::sys::program::{self, Mapping};
use crate::sys::thread;
use crate::{adopt, runtime};

/// What a call answers: a number, or the system call's error.
pub type Answer = Result<usize, i32>;

/// Starts the runtime, so that [`adopt`] need not: nothing is opened.
pub fn prepare() -> crate::error::Result<()> {
    runtime::ensure_started("mmap")
}

/// Whether any page of `len` bytes from `addr` is managed. Signal-safe.
pub fn touches(addr: usize, len: usize) -> bool {
    ByteRange::new(addr, len).is_some_and(|r| adopt::any_managed(r.pages_out()))
}

/// Begins to manage what mmap(2) has just given the program, with `prot`; whether that could be.
///
/// # Safety
/// It is private anonymous memory of that protection, which nobody knows yet.
pub unsafe fn adopt(addr: usize, len: usize, prot: i32) -> bool {
    let mapping = Mapping { prot, flags: 0, fd: -1, offset: 0 };
    let range = program::pages(addr, len);
    super::preload::may_use_heap()
        && !adopt::is_locked_by_me()
        && range.is_some_and(|r| adopt::adopt_new(r, mapping.reads(), mapping.writes()).is_ok())
}

/// mmap(2) with `MAP_FIXED`; with `adopt` the new memory is managed, if it can be.
///
/// # Safety
/// As the system call.
pub unsafe fn map_fixed(
    addr: usize,
    len: usize,
    prot: i32,
    flags: i32,
    fd: i32,
    offset: i64,
    adopt: bool,
) -> Answer {
    let mapping = Mapping { prot, flags, fd, offset };
    let Some(range) = program::pages(addr, len) else { return Err(program::EINVAL) };
    let asked = adopt::Fixed { range, mapping, adopt };
    if thread::forked() { adopt::map_in_child(&asked) } else { adopt::map_fixed(&asked) }
}

/// Another mapping that `replace` puts at a fixed place: shmat(2) with `SHM_REMAP`.
///
/// # Safety
/// `replace` maps something at exactly that place, or fails.
pub unsafe fn replace(addr: usize, len: usize, replace: &mut dyn FnMut() -> Answer) -> Answer {
    match program::pages(addr, len) {
        Some(range) if !thread::forked() => adopt::replace(range, replace),
        Some(range) => replace().inspect(|_| adopt::unmark_in_child(range)),
        None => replace(),
    }
}

/// munmap(2).
///
/// # Safety
/// As the system call.
pub unsafe fn unmap(addr: usize, len: usize) -> Answer {
    let Some(range) = program::pages(addr, len) else { return Err(program::EINVAL) };
    if thread::forked() { adopt::unmap_in_child(range) } else { adopt::unmap(range) }
}

/// mremap(2).
///
/// # Safety
/// As the system call.
pub unsafe fn remap(addr: usize, old_len: usize, new_len: usize, flags: i32, to: usize) -> Answer {
    let old = program::pages(addr, old_len);
    let new_len = new_len.checked_next_multiple_of(PAGE).filter(|n| *n > 0);
    let (Some(old), Some(new_len)) = (old, new_len) else { return Err(program::EINVAL) };
    let has = |flag: i32| flags & flag != 0;
    let all = program::MREMAP_MAYMOVE | program::MREMAP_FIXED | program::MREMAP_DONTUNMAP;
    let moves = !has(program::MREMAP_FIXED | program::MREMAP_DONTUNMAP) || has(program::MREMAP_MAYMOVE);
    let same = !has(program::MREMAP_DONTUNMAP) || new_len == old.len();
    let apart = !has(program::MREMAP_FIXED)
        || program::pages(to, new_len).is_some_and(|target| !target.overlaps(old));
    if flags & !all != 0 || !moves || !same || !apart {
        return Err(program::EINVAL);
    }
    let asked = adopt::Remap { old, new_len, flags, to };
    if thread::forked() { adopt::remap_in_child(&asked) } else { adopt::remap(&asked) }
}

/// mprotect(2), or pkey_mprotect(2) with a key.
///
/// # Safety
/// As the system call.
pub unsafe fn protect(addr: usize, len: usize, prot: i32, key: Option<i32>) -> Answer {
    let Some(range) = program::pages(addr, len) else { return Err(program::EINVAL) };
    match (thread::forked(), key) {
        (true, _) => adopt::protect_in_child(range, prot),
        (false, None) => adopt::protect(range, prot),
        (false, Some(key)) => adopt::protect_with_key(range, prot, key),
    }
}

/// madvise(2).
///
/// # Safety
/// As the system call.
pub unsafe fn advise(addr: usize, len: usize, advice: i32) -> Answer {
    let Some(range) = program::pages(addr, len) else { return Err(program::EINVAL) };
    if thread::forked() { adopt::advise_in_child(range, advice) } else { adopt::advise(range, advice) }
}

/// mlock(2), or mlock2(2) with flags: the memory stays on the host.
pub fn lock(addr: usize, len: usize, flags: u32) -> Answer {
    let start = addr & !(PAGE - 1);
    let range = len.checked_add(addr - start).and_then(|len| program::pages(start, len));
    let Some(range) = range else { return Err(program::EINVAL) };
    if thread::forked() { program::lock(range, flags) } else { adopt::lock_pages(range, flags) }
}

/// munlock(2).
pub fn unlock(addr: usize, len: usize) -> Answer {
    let range = ByteRange::new(HostAddr(addr).0, len).map(ByteRange::pages_out);
    let Some(range) = range else { return Err(program::EINVAL) };
    if thread::forked() { program::unlock(range) } else { adopt::unlock_pages(range) }
}

/// mlockall(2) has succeeded: all that is managed now stays on the host.
pub fn lock_all() -> Answer {
    if thread::forked() { Ok(0) } else { adopt::lock_all().map(|()| 0) }
}

/// munlockall(2) has succeeded.
pub fn unlock_all() {
    if !thread::forked() {
        adopt::unlock_all();
    }
}
