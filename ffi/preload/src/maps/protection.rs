//! Protections and locks of the program's memory.

use super::{number, real};
use crate::names::Real;
use crate::settings;
use core::ffi::{c_int, c_uint, c_void};
use hmmrt_core::raw::mapping;
use libc::size_t;

static MPROTECT: Real = Real::new(c"mprotect");
static PKEY_MPROTECT: Real = Real::new(c"pkey_mprotect");
static MLOCK: Real = Real::new(c"mlock");
static MLOCK2: Real = Real::new(c"mlock2");
static MUNLOCK: Real = Real::new(c"munlock");
static MLOCKALL: Real = Real::new(c"mlockall");
static MUNLOCKALL: Real = Real::new(c"munlockall");

/// Looks them up: the constructor.
pub fn resolve() {
    for real in [&MPROTECT, &PKEY_MPROTECT, &MLOCK, &MLOCK2, &MUNLOCK, &MLOCKALL, &MUNLOCKALL] {
        real.address();
    }
}

/// mprotect(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mprotect(at: *mut c_void, len: size_t, prot: c_int) -> c_int {
    // A mapping that grows is not followed: the heap has none, and none is adopted.
    if mapping::touches(at.addr(), len) && prot & (libc::PROT_GROWSDOWN | libc::PROT_GROWSUP) == 0 {
        // SAFETY: the caller's promise.
        return number(unsafe { mapping::protect(at.addr(), len, prot, None) });
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe { real!(MPROTECT: fn(*mut c_void, size_t, c_int) -> c_int, -1; at, len, prot) }
}

/// pkey_mprotect(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pkey_mprotect(at: *mut c_void, len: size_t, prot: c_int, key: c_int) -> c_int {
    if mapping::touches(at.addr(), len) {
        // SAFETY: the caller's promise.
        return number(unsafe { mapping::protect(at.addr(), len, prot, Some(key)) });
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe { real!(PKEY_MPROTECT: fn(*mut c_void, size_t, c_int, c_int) -> c_int, -1; at, len, prot, key) }
}

/// mlock(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlock(at: *const c_void, len: size_t) -> c_int {
    if mapping::touches(at.addr(), len) {
        return number(mapping::lock(at.addr(), len, 0));
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe { real!(MLOCK: fn(*const c_void, size_t) -> c_int, -1; at, len) }
}

/// mlock2(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlock2(at: *const c_void, len: size_t, flags: c_uint) -> c_int {
    if mapping::touches(at.addr(), len) {
        return number(mapping::lock(at.addr(), len, flags));
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe { real!(MLOCK2: fn(*const c_void, size_t, c_uint) -> c_int, -1; at, len, flags) }
}

/// munlock(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munlock(at: *const c_void, len: size_t) -> c_int {
    if mapping::touches(at.addr(), len) {
        return number(mapping::unlock(at.addr(), len));
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe { real!(MUNLOCK: fn(*const c_void, size_t) -> c_int, -1; at, len) }
}

/// mlockall(2). What is managed stays on the host, and nothing more is managed until munlockall: it would be locked, too.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlockall(flags: c_int) -> c_int {
    // SAFETY: the function of this name.
    let answer = unsafe { real!(MLOCKALL: fn(c_int) -> c_int, -1; flags) };
    if answer == 0 {
        settings::pause();
        if settings::is_own_process() {
            return number(mapping::lock_all());
        }
    }
    answer
}

/// munlockall(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munlockall() -> c_int {
    // SAFETY: the function of this name.
    let answer = unsafe { real!(MUNLOCKALL: fn() -> c_int, -1;) };
    if answer == 0 {
        mapping::unlock_all();
        settings::resume();
    }
    answer
}
