//! Signal masks and stacks: a fault that comes while SIGSEGV is blocked kills, and so does one on a signal stack that is
//! away. What the program blocks is blocked, but for those two; a signal stack in managed memory stays on the host.

use crate::names;
use core::ffi::{c_int, c_void};
use hmmrt_core::raw;
use libc::sigset_t;

/// The kernel's set: one bit for each signal.
fn without_faults(set: u64) -> u64 {
    const KEPT: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, 32, 33]; // the last two are the C library's own
    KEPT.iter().fold(set, |set, s| set & !(1 << (s - 1)))
}

/// rt_sigprocmask with sets of ours; the error, or 0.
///
/// # Safety
/// Both are NULL or valid.
unsafe fn change(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // The program's sets may be managed: we touch them, not the kernel.
    let mut before = 0_u64;
    // SAFETY: the caller's promise; the kernel's set is the first 8 bytes of the C library's.
    unsafe {
        let wanted = (!set.is_null()).then(|| match set.cast::<u64>().read() {
            set if how == libc::SIG_UNBLOCK => set,
            set => without_faults(set),
        });
        let pointer = wanted.as_ref().map_or(core::ptr::null(), |w| &raw const *w);
        let saved = names::errno();
        if libc::syscall(libc::SYS_rt_sigprocmask, how, pointer, &raw mut before, 8) != 0 {
            let error = names::errno();
            names::set_errno(saved);
            return error;
        }
        if !old.is_null() {
            old.cast::<u8>().write_bytes(0, size_of::<sigset_t>());
            old.cast::<u64>().write(before);
        }
    }
    0
}

/// pthread_sigmask(3) that never blocks SIGSEGV and SIGBUS.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { change(how, set, old) }
}

/// sigprocmask(2) that never blocks SIGSEGV and SIGBUS.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { change(how, set, old) } {
        0 => 0,
        error => {
            names::set_errno(error);
            -1
        }
    }
}

static SIGALTSTACK: names::Real = names::Real::new(c"sigaltstack");

/// sigaltstack(2); a managed stack is pinned to the host until it is freed.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaltstack(new: *const libc::stack_t, old: *mut libc::stack_t) -> c_int {
    // SAFETY: the caller's promise; the function of that name.
    unsafe {
        let mut ours = None;
        if !new.is_null() {
            let stack = *new; // of ours: the kernel reads it
            if stack.ss_flags & libc::SS_DISABLE == 0 {
                keep(stack.ss_sp, stack.ss_size);
            }
            ours = Some(stack);
        }
        let mut before: libc::stack_t = core::mem::zeroed();
        let f: unsafe extern "C" fn(*const libc::stack_t, *mut libc::stack_t) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(SIGALTSTACK.address()));
        let answer = f(ours.as_ref().map_or(core::ptr::null(), |s| &raw const *s), &raw mut before);
        if answer == 0 && !old.is_null() {
            *old = before;
        }
        answer
    }
}

/// Pins managed memory for good, or until it is freed.
fn keep(at: *mut c_void, len: usize) {
    if raw::owns(at.cast_const().cast()) {
        let saved = names::errno();
        let _ = raw::pin(at.cast_const().cast(), len);
        names::set_errno(saved);
    }
}

static ATTR_SETSTACK: names::Real = names::Real::new(c"pthread_attr_setstack");

/// pthread_attr_setstack(3); a managed stack is pinned to the host until it is freed.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_attr_setstack(
    attributes: *mut libc::pthread_attr_t,
    stack: *mut c_void,
    len: usize,
) -> c_int {
    keep(stack, len);
    // SAFETY: the function of that name; the arguments are the caller's.
    unsafe {
        let f: unsafe extern "C" fn(*mut libc::pthread_attr_t, *mut c_void, usize) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(ATTR_SETSTACK.address()));
        f(attributes, stack, len)
    }
}

/// Looks up what this file needs.
pub fn resolve() {
    SIGALTSTACK.address();
    ATTR_SETSTACK.address();
}
