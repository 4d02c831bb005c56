//! Signal masks, actions and re-sending. Used by API calls that hold locks the fault path takes (`Blocked`) and by the
//! SIGSEGV engine. Signal-safe.

use super::kernel;
use core::ffi::c_int;

/// The kernel's and libc's description of what a signal does.
pub(crate) type Action = libc::sigaction;

/// Signals that the CPU raises: never blocked, a blocked one kills.
const SYNCHRONOUS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// All signals but the synchronous ones.
pub(crate) fn all_asynchronous() -> libc::sigset_t {
    // SAFETY: sigfillset makes the set whole before it is used.
    unsafe {
        let mut set = core::mem::zeroed();
        libc::sigfillset(&mut set);
        for s in SYNCHRONOUS {
            libc::sigdelset(&mut set, s);
        }
        set
    }
}

/// Keeps handlers of the program from running on this thread, so that none can fault while this thread holds a lock
/// that the fault path takes. About 0.2 us for the pair.
pub(crate) struct Blocked {
    old: libc::sigset_t,
    _not_send: core::marker::PhantomData<*const ()>,
}

impl Blocked {
    /// Blocks until dropped.
    pub(crate) fn new() -> Blocked {
        let set = all_asynchronous();
        Blocked {
            old: kernel::sigprocmask(libc::SIG_BLOCK, Some(&set)),
            _not_send: core::marker::PhantomData,
        }
    }
}
impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(&self.old);
    }
}

/// Sets this thread's mask. Signal-safe.
pub(crate) fn set_mask(set: &libc::sigset_t) {
    kernel::sigprocmask(libc::SIG_SETMASK, Some(set));
}

unsafe extern "C" {
    /// glibc's own name for sigaction: not interposed by anybody, our own interposer included.
    fn __sigaction(signum: c_int, act: *const Action, old: *mut Action) -> c_int;
}

/// The real sigaction(2). Signal-safe.
///
/// # Safety
/// As sigaction: the pointers are null or valid.
pub(crate) unsafe fn real_sigaction(signum: c_int, act: *const Action, old: *mut Action) -> c_int {
    // SAFETY: passed through.
    unsafe { __sigaction(signum, act, old) }
}

/// The action of `signum` now. Signal-safe.
pub(crate) fn current(signum: c_int) -> Action {
    // SAFETY: zeroed is a valid action to be overwritten; `old` is valid.
    unsafe {
        let mut old = core::mem::zeroed();
        real_sigaction(signum, core::ptr::null(), &mut old);
        old
    }
}

/// Whether this thread runs on a stack that sigaltstack(2) has set. Signal-safe.
pub(crate) fn is_on_own_stack() -> bool {
    // SAFETY: zeroed is a valid description to be overwritten.
    unsafe {
        let mut now: libc::stack_t = core::mem::zeroed();
        kernel::raw(libc::SYS_sigaltstack, [0, (&raw mut now).expose_provenance(), 0, 0, 0, 0]);
        now.ss_flags & libc::SS_ONSTACK != 0
    }
}

/// Makes `signum` do what it does by default. Signal-safe.
pub(crate) fn set_default(signum: c_int) {
    // SAFETY: zeroed is SIG_DFL without flags.
    unsafe {
        let default: Action = core::mem::zeroed();
        real_sigaction(signum, &default, core::ptr::null_mut());
    }
}

/// Sends this thread the signal that `info` describes, with all of `info`, and lets it arrive. Signal-safe.
pub(crate) fn resend(info: &libc::siginfo_t) {
    // SAFETY: sending to oneself is allowed with any si_code; `info` is valid; the set is made before use.
    unsafe {
        let thread = kernel::raw(libc::SYS_gettid, [0; 6]) as usize;
        let process = kernel::raw(libc::SYS_getpid, [0; 6]) as usize;
        let info_at = core::ptr::from_ref(info).expose_provenance();
        kernel::raw(libc::SYS_rt_tgsigqueueinfo, [process, thread, info.si_signo as usize, info_at, 0, 0]);
        let mut set = core::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, info.si_signo);
        kernel::sigprocmask(libc::SIG_UNBLOCK, Some(&set));
    }
}
