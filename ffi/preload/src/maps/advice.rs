//! Advice about the program's memory, some of which changes what is there.

use super::{number, real};
use crate::given;
use crate::holds::Holds;
use crate::names::{self, Real};
use core::ffi::{c_int, c_uint, c_void};
use hmmrt_core::raw::mapping;
use libc::{iovec, size_t};

static MADVISE: Real = Real::new(c"madvise");
static POSIX_MADVISE: Real = Real::new(c"posix_madvise");
static PROCESS_MADVISE: Real = Real::new(c"process_madvise");

/// Looks them up: the constructor.
pub fn resolve() {
    for real in [&MADVISE, &POSIX_MADVISE, &PROCESS_MADVISE] {
        real.address();
    }
}

/// madvise(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn madvise(at: *mut c_void, len: size_t, advice: c_int) -> c_int {
    if mapping::touches(at.addr(), len) {
        // SAFETY: the caller's promise.
        return number(unsafe { mapping::advise(at.addr(), len, advice) });
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe { real!(MADVISE: fn(*mut c_void, size_t, c_int) -> c_int, -1; at, len, advice) }
}

/// posix_madvise(3), which gives nothing up, and returns its error.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_madvise(at: *mut c_void, len: size_t, advice: c_int) -> c_int {
    if advice == libc::POSIX_MADV_WILLNEED && mapping::touches(at.addr(), len) {
        // SAFETY: the caller's promise.
        return unsafe { mapping::advise(at.addr(), len, libc::MADV_WILLNEED) }.err().unwrap_or(0);
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe { real!(POSIX_MADVISE: fn(*mut c_void, size_t, c_int) -> c_int, libc::ENOSYS; at, len, advice) }
}

/// Advice that changes nothing of what the program can see.
fn is_harmless(advice: c_int) -> bool {
    const MADV_COLLAPSE: c_int = 25;
    [libc::MADV_COLD, libc::MADV_PAGEOUT, libc::MADV_WILLNEED, MADV_COLLAPSE].contains(&advice)
}

/// process_madvise(2). For this process itself any advice can be given since Linux 6.13; it is followed as madvise is.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn process_madvise(
    pidfd: c_int,
    parts: *const iovec,
    count: size_t,
    advice: c_int,
    flags: c_uint,
) -> isize {
    let mut holds = Holds::new();
    if !parts.is_null() && count <= 1024 {
        holds.reads(parts, count * size_of::<iovec>());
    }
    // What is not an array of so many is for the kernel to say.
    let all = || (0..count).map_while(|i| given::read(parts.wrapping_add(i)));
    // SAFETY: the caller's promise.
    unsafe {
        if !is_harmless(advice)
            && flags == 0
            && !parts.is_null()
            && count <= 1024
            && all().any(|part| mapping::touches(part.iov_base.addr(), part.iov_len))
            && all().count() == count
            && is_this_process(pidfd)
        {
            let mut done = 0;
            for part in all() {
                if madvise(part.iov_base, part.iov_len, advice) != 0 {
                    return if done > 0 { done } else { -1 };
                }
                done += part.iov_len as isize;
            }
            return done;
        }
        real!(PROCESS_MADVISE: fn(c_int, *const iovec, size_t, c_int, c_uint) -> isize, -1;
            pidfd, parts, count, advice, flags)
    }
}

/// Whether a process descriptor is this process's.
fn is_this_process(pidfd: c_int) -> bool {
    if pidfd < 0 {
        return pidfd == -10000 || pidfd == -10001; // PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP
    }
    let saved = names::errno();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{pidfd}")).unwrap_or_default();
    names::set_errno(saved);
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    pid.is_some_and(|pid| pid.parse() == Ok(names::process()))
}
