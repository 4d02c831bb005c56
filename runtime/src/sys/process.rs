//! What only the C library can do or say for the process: what it calls at fork and exit, signal actions, who the calling
//! thread is. `standin/process.rs` has the same names without it.

use super::signal::Action;
use core::ffi::c_int;

/// A number for the calling thread, unique among live threads, never 0. Signal-safe: reads the thread pointer.
#[inline]
pub(crate) fn thread_pointer() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer: usize;
        // SAFETY: the thread control block starts with its own address (System V ABI, TLS variant II): what pthread_self
        // reads, without the call. Every lock takes it.
        unsafe {
            core::arch::asm!("mov {}, fs:0x10", out(reg) pointer, options(nostack, preserves_flags, readonly));
        }
        pointer
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: pthread_self only reads the thread pointer.
    unsafe {
        libc::pthread_self() as usize
    }
}

type Handler = Option<unsafe extern "C" fn()>;

/// Has the handlers called around each fork from now on: before it, ahead of all that were there already; after it in the
/// parent and in the child, behind them.
pub(crate) fn at_fork(prepare: Handler, parent: Handler, child: Handler) {
    // SAFETY: functions that are never unloaded.
    unsafe { libc::pthread_atfork(prepare, parent, child) };
}

/// Runs `f` when the process ends normally, before all that was registered so far; once for each call of this.
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: the function takes nothing and is never unloaded (`-z nodelete`).
    unsafe { libc::atexit(f) };
}

/// Whether this process runs with more rights than its user (setuid): then no variable may name a library.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

unsafe extern "C" {
    /// glibc's own name for sigaction: not interposed by anybody, our own interposer included.
    fn __sigaction(signum: c_int, act: *const Action, old: *mut Action) -> c_int;
}

/// The real sigaction(2). Signal-safe.
///
/// # Safety
/// As sigaction: the pointers are null or valid.
pub(crate) unsafe fn sigaction(signum: c_int, act: *const Action, old: *mut Action) -> c_int {
    // SAFETY: passed through.
    unsafe { __sigaction(signum, act, old) }
}
