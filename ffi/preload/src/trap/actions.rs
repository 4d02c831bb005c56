//! What signals do, while calls are trapped: our handler of SIGSYS, the program's own beside it, and rt_sigaction(2).

use super::{entry, handler};
use crate::calls::{self, Action, SA_RESTORER};
use crate::names::{self, bare};
use crate::settings;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::*};
use libc::{SIGBUS, SIGSEGV, SIGSYS, siginfo_t, ucontext_t};

/// The first address of the C library and the one after its last.
pub static C_LIBRARY: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Whether code at this address is the C library's.
pub fn is_c_library(at: i64) -> bool {
    (C_LIBRARY[0].load(Relaxed)..C_LIBRARY[1].load(Relaxed)).contains(&(at as usize))
}

/// The program's own action for SIGSYS, the kernel's way. Words of their own: whoever changes it while the signal comes
/// gets what is half of each, as in any program that does so.
static PROGRAM: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

fn program() -> Action {
    let word = |i: usize| PROGRAM[i].load(Relaxed);
    Action { handler: word(0), flags: word(1), restorer: word(2), mask: word(3) as u64 }
}

fn set_program(action: &Action) {
    let words = [action.handler, action.flags, action.restorer, action.mask as usize];
    PROGRAM.iter().zip(words).for_each(|(to, word)| to.store(word, Relaxed));
}

/// rt_sigaction(2).
fn kernel(signum: c_int, new: Option<&Action>, old: &mut Action) -> isize {
    let new = new.map_or(0, |new| core::ptr::from_ref(new).expose_provenance());
    let old = (&raw mut *old).expose_provenance();
    // SAFETY: NULL or valid, both.
    unsafe { bare(libc::SYS_rt_sigaction, [signum as usize, new, old, 8, 0, 0]) }
}

/// Sets our handler. It runs with the program's mask, as the call that it stands for would, and on the stack that is there: a
/// signal's own stack has no room for the call's own signals, and could not be changed from it.
pub fn install() -> Result<(), isize> {
    let ours = Action {
        handler: handler::on_signal as *const () as usize,
        flags: libc::SA_SIGINFO as usize | libc::SA_NODEFER as usize | SA_RESTORER,
        restorer: entry::restorer as *const () as usize,
        mask: 0,
    };
    let mut old = Action::default();
    match kernel(SIGSYS, Some(&ours), &mut old) {
        0 => {
            set_program(&old);
            Ok(())
        }
        error => Err(error),
    }
}

/// Gives the signal back.
pub fn uninstall() {
    kernel(SIGSYS, Some(&program()), &mut Action::default());
}

/// A SIGSYS that is no call of ours to make: seccomp's, or one that was sent.
///
/// # Safety
/// What the kernel gave.
pub unsafe fn forward(info: *mut siginfo_t, context: *mut ucontext_t) {
    let action = program();
    // SAFETY: the kernel's; the program registered a function of this kind.
    unsafe {
        match action.handler {
            libc::SIG_IGN if (*info).si_code <= 0 => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                kernel(SIGSYS, Some(&Action::default()), &mut Action::default());
                let (process, thread) = (names::process() as usize, bare(libc::SYS_gettid, [0; 6]) as usize);
                let info = info.expose_provenance();
                bare(libc::SYS_rt_tgsigqueueinfo, [process, thread, SIGSYS as usize, info, 0, 0]);
            }
            function => {
                let f: extern "C-unwind" fn(c_int, *mut siginfo_t, *mut c_void) =
                    core::mem::transmute(core::ptr::with_exposed_provenance::<()>(function));
                if action.flags & libc::SA_RESETHAND as usize != 0 {
                    set_program(&Action::default());
                }
                f(SIGSYS, info, context.cast());
            }
        }
    }
}

/// rt_sigaction(2) as the program makes it, from `caller`.
///
/// # Safety
/// As the system call.
pub unsafe fn set(a: [usize; 6], caller: usize) -> isize {
    let own = |signum: c_int, new: Option<&Action>, old: &mut Action| match signum {
        SIGSYS => {
            *old = program();
            // A child of vfork changes its own, and has our handler until it starts its program.
            if let Some(new) =
                new.filter(|_| settings::is_own_process() || hmmrt_core::raw::preload::in_child())
            {
                set_program(new);
            }
            0
        }
        // The C library's come from our `sigaction` and from the runtime.
        SIGSEGV | SIGBUS if !is_c_library(caller as i64) && settings::is_own_process() => {
            calls::fault(signum, new, old)
        }
        _ => kernel(signum, new, old),
    };
    // SAFETY: the caller's promise.
    unsafe { calls::set_action(a, own) }
}
