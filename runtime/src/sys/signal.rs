//! Signal masks, actions and re-sending. Used by API calls that hold locks the fault path takes (`Blocked`) and by the
//! SIGSEGV engine. Signal-safe.

use super::kernel;
pub(crate) use super::process::sigaction as real_sigaction;
use core::ffi::c_int;

/// The kernel's and libc's description of what a signal does.
pub(crate) type Action = libc::sigaction;

/// Signals that the CPU raises: never blocked, a blocked one kills.
const SYNCHRONOUS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// The C library's own (its cancellation, and setuid for all threads): nobody blocks them.
const RESERVED: [c_int; 2] = [32, 33];

/// All signals but the synchronous ones.
pub(crate) fn all_asynchronous() -> libc::sigset_t {
    let mut set = core::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    let but = SYNCHRONOUS.iter().chain(&RESERVED).fold(0, |bits, signum| bits | 1_u64 << (signum - 1));
    // SAFETY: zeroed is the empty set, and the kernel's 64 signals are its first 8 bytes, which are aligned for them.
    unsafe {
        set.as_mut_ptr().cast::<u64>().write(!but);
        set.assume_init()
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

    /// Blocks what the program has handlers for, until dropped: what ends the program by default still does. For long waits.
    pub(crate) fn handlers() -> Blocked {
        let mut set = all_asynchronous();
        let has_none =
            |signum: &c_int| [libc::SIG_DFL, libc::SIG_IGN].contains(&current(*signum).sa_sigaction);
        for signum in (1..=64).filter(has_none) {
            // SAFETY: a set, and a signal's number.
            unsafe { libc::sigdelset(&mut set, signum) };
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asynchronous_are_all_but_the_synchronous_and_the_reserved() {
        let set = all_asynchronous();
        for signum in 1..=64 {
            // SAFETY: a set, and a signal's number.
            let blocked = unsafe { libc::sigismember(&set, signum) } == 1;
            assert_eq!(blocked, !SYNCHRONOUS.contains(&signum) && !RESERVED.contains(&signum), "{signum}");
        }
    }
}
