//! System calls without the C library: nobody interposes them (the preload library stands for the functions of the same
//! names, and would find itself asked by the fault path), none is a cancellation point, and none is looked up. They answer
//! as the C library's do: -1, and errno. Signal-safe, all of it.

pub use super::gate::raw;
use core::ffi::{CStr, c_int, c_long, c_ulong, c_void};

/// As [`raw`], with errors in errno.
///
/// # Safety
/// As the system call.
#[inline]
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn call(number: c_long, a: [usize; 6]) -> isize {
    #[cfg(feature = "inject")]
    if let Some(errno) = super::refusal::of_call(number, &a) {
        super::set_errno(errno);
        return -1;
    }
    // SAFETY: the caller's promise.
    let answer = unsafe { raw(number, a) };
    if (-4095..0).contains(&answer) {
        super::set_errno(-answer as i32);
        return -1;
    }
    answer
}

fn addr<T>(p: *const T) -> usize {
    p.expose_provenance()
}

/// mmap(2) of anonymous memory.
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int) -> *mut c_void {
    // SAFETY: the caller's promise.
    let to = unsafe { call(libc::SYS_mmap, [addr(at), len, prot as usize, flags as usize, usize::MAX, 0]) };
    core::ptr::with_exposed_provenance_mut(to as usize) // -1 is MAP_FAILED
}

/// munmap(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn munmap(at: *mut c_void, len: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_munmap, [addr(at), len, 0, 0, 0, 0]) as c_int }
}

/// mprotect(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn mprotect(at: *mut c_void, len: usize, prot: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_mprotect, [addr(at), len, prot as usize, 0, 0, 0]) as c_int }
}

/// mremap(2) to a given address.
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn mremap(from: *mut c_void, len: usize, flags: c_int, to: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise.
    let to = unsafe { call(libc::SYS_mremap, [addr(from), len, len, flags as usize, addr(to), 0]) };
    core::ptr::with_exposed_provenance_mut(to as usize)
}

/// madvise(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn madvise(at: *mut c_void, len: usize, advice: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_madvise, [addr(at), len, advice as usize, 0, 0, 0]) as c_int }
}

/// open(2), of a file that is there.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn open(path: &CStr, flags: c_int) -> c_int {
    let at = libc::AT_FDCWD as usize;
    // SAFETY: a C string.
    unsafe { call(libc::SYS_openat, [at, addr(path.as_ptr()), flags as usize, 0, 0, 0]) as c_int }
}

/// close(2).
pub(crate) fn close(fd: c_int) {
    // SAFETY: no memory is involved.
    unsafe { raw(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// pread(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn pread(fd: c_int, to: *mut c_void, len: usize, at: i64) -> isize {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_pread64, [fd as usize, addr(to), len, at as usize, 0, 0]) }
}

/// pwrite(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn pwrite(fd: c_int, from: *const c_void, len: usize, at: i64) -> isize {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_pwrite64, [fd as usize, addr(from), len, at as usize, 0, 0]) }
}

/// write(2).
pub(crate) fn write(fd: c_int, bytes: &[u8]) -> isize {
    // SAFETY: the bytes are readable.
    unsafe { call(libc::SYS_write, [fd as usize, addr(bytes.as_ptr()), bytes.len(), 0, 0, 0]) }
}

/// ioctl(2).
///
/// # Safety
/// As the system call.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) unsafe fn ioctl<T>(fd: c_int, request: c_ulong, arg: *mut T) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_ioctl, [fd as usize, request as usize, addr(arg), 0, 0, 0]) as c_int }
}

/// Changes the calling thread's signal mask; the one before.
pub(crate) fn sigprocmask(how: c_int, set: Option<&libc::sigset_t>) -> libc::sigset_t {
    // SAFETY: zeroed is the empty set.
    let mut old: libc::sigset_t = unsafe { core::mem::zeroed() };
    let set = set.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: valid or null; the kernel's sets are the first 8 bytes of the C library's.
    unsafe { raw(libc::SYS_rt_sigprocmask, [how as usize, addr(set), addr(&raw mut old), 8, 0, 0]) };
    old
}
