//! The C library's functions that set signal handlers, taken over: while the runtime's handler of SIGSEGV is installed, and
//! that of SIGBUS where touches come as that, the program's own handler for it is kept beside and called for what is not ours,
//! however it was set. Without this a program that sets one after the runtime has started would get our faults. Everything
//! else goes to the C library unchanged. Like the originals safe in any thread and in signal handlers. Not part of the header.

use core::ffi::{c_int, c_void};

const SIGBUS: c_int = 7;
const SIGSEGV: c_int = 11;
const SIG_ERR: usize = usize::MAX;
// The flags that signal's two traditions stand for.
const SA_RESTART: c_int = 0x1000_0000;
const SA_NODEFER: c_int = 0x4000_0000;
const SA_RESETHAND: c_int = c_int::MIN;

/// glibc's `struct sigaction` on x86-64 and aarch64.
#[repr(C)]
struct Action {
    handler: usize,
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}

unsafe extern "C" {
    /// glibc's other name for `signal`, which nobody interposes; it knows what `siginterrupt` has set.
    fn ssignal(signum: c_int, handler: usize) -> usize;
}

/// Sets a handler and gives the one before.
fn set(signum: c_int, handler: usize, flags: c_int) -> usize {
    let new = Action { handler, mask: [0; 16], flags, restorer: 0 };
    let mut old = Action { handler: SIG_ERR, mask: [0; 16], flags: 0, restorer: 0 };
    // SAFETY: both are valid; the layout is sigaction's (there is a test).
    let failed =
        unsafe { hmmrt_core::program_sigaction(signum, (&raw const new).cast(), (&raw mut old).cast()) } != 0;
    if failed { SIG_ERR } else { old.handler }
}

/// sigaction(2).
///
/// # Safety
/// As sigaction: the pointers are NULL or valid.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn sigaction(signum: c_int, new: *const c_void, old: *mut c_void) -> c_int {
    // SAFETY: passed through.
    unsafe { hmmrt_core::program_sigaction(signum, new.cast(), old.cast()) }
}

/// signal(2) as BSD has it: the handler stays, system calls are restarted.
///
/// # Safety
/// `handler` is a signal handler.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn signal(signum: c_int, handler: usize) -> usize {
    if signum == SIGSEGV || signum == SIGBUS {
        return set(signum, handler, SA_RESTART);
    }
    // SAFETY: passed through.
    unsafe { ssignal(signum, handler) }
}

/// The same under its older name.
///
/// # Safety
/// As [`signal`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn bsd_signal(signum: c_int, handler: usize) -> usize {
    // SAFETY: the caller's promise is the same.
    unsafe { signal(signum, handler) }
}

/// signal(2) as System V has it: the handler is used once, and not blocked meanwhile.
///
/// # Safety
/// As [`signal`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn sysv_signal(signum: c_int, handler: usize) -> usize {
    // No state to keep: for every signal the C library does the same.
    set(signum, handler, SA_RESETHAND | SA_NODEFER)
}

/// What `signal` is in a program that is compiled as strict ISO C.
///
/// # Safety
/// As [`signal`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn __sysv_signal(signum: c_int, handler: usize) -> usize {
    // SAFETY: the caller's promise is the same.
    unsafe { sysv_signal(signum, handler) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointee<T>(_: unsafe fn(c_int, *const T, *mut T) -> c_int) -> usize {
        size_of::<T>()
    }

    #[test]
    fn the_struct_is_the_c_librarys() {
        assert_eq!(size_of::<Action>(), pointee(hmmrt_core::program_sigaction));
        // SIGUSR2, set one way and read the other.
        const SIGUSR2: c_int = 12;
        // SAFETY: 1 is SIG_IGN, 0 SIG_DFL; both actions are valid.
        unsafe {
            let mut now = Action { handler: 7, mask: [7; 16], flags: 7, restorer: 7 };
            assert_eq!(ssignal(SIGUSR2, 1), 0);
            assert_eq!(sigaction(SIGUSR2, core::ptr::null(), (&raw mut now).cast()), 0);
            assert_eq!((now.handler, now.flags & SA_RESTART), (1, SA_RESTART));
            assert_eq!(sysv_signal(SIGUSR2, 0), 1);
            assert_eq!(ssignal(SIGUSR2, 1), 0);
            assert_eq!(signal(SIGUSR2, 0), 1);
            assert_eq!(bsd_signal(SIGUSR2, 1), 0);
            assert_eq!(__sysv_signal(SIGUSR2, 0), 1);
        }
        assert_eq!(set(-1, 0, 0), SIG_ERR);
    }
}
