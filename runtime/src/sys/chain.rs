//! What becomes of a signal that is the program's: what the kernel would have done with the program's own action. Runs in
//! signal context, maybe on an alternate stack of 8 KiB.

use super::frame;
use super::reserve;
use super::sigaction::{self, FAULTS, bit, is_ours, kept, word};
use super::signal::{self, Action};
use core::ffi::{c_int, c_void};

/// Whether the program has no handler for a fault of its own that has come with little stack left, and is going to end by it. Another
/// fault here, for want of stack, would have the kernel begin again at the stack's top, for ever.
pub(super) fn ends(signum: c_int, info: &libc::siginfo_t, context: &mut libc::ucontext_t) -> bool {
    /// `is_it`: whatever the program has.
    struct Last {
        signum: c_int,
        is_it: bool,
    }
    extern "C" fn look(last: *mut ()) {
        // SAFETY: the one below, which waits for the answer.
        let last = unsafe { &mut *last.cast::<Last>() };
        let Some(table) = kept(last.signum) else { return };
        let program = table.lock();
        let (action, _) = programs(last.signum, &program);
        last.is_it |= matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
        if last.is_it {
            signal::set_default(last.signum);
        }
    }
    if info.si_code <= 0 || signum != libc::SIGSEGV || !reserve::is_needed(context) {
        return false;
    }
    let mut last = Last { signum, is_it: is_blocked(context) };
    reserve::call(look, (&raw mut last).cast());
    last.is_it
}

/// Whether a fault has come while the program has SIGSEGV blocked.
fn is_blocked(context: &mut libc::ucontext_t) -> bool {
    *word(&mut context.uc_sigmask) & sigaction::BLOCKED_FAULT != 0
}

/// It is the program's signal.
#[inline(never)] // the signal stack may be small: the answer to a fault of ours does not need this room
pub(super) fn chain(signum: c_int, info: &mut libc::siginfo_t, context: &mut libc::ucontext_t, saved: c_int) {
    // Nobody is asked.
    let blocked = signum == libc::SIGSEGV && info.si_code > 0 && is_blocked(context);
    // SAFETY: zeroed is SIG_DFL.
    let action = if blocked { unsafe { core::mem::zeroed() } } else { called(signum) };
    super::set_errno(saved); // also for a handler that never comes back here
    forward(&action, signum, info, context);
}

/// The program's action for SIGSEGV or SIGBUS, which is going to be called. With the table locked: the kernel's may be the
/// program's again at any moment, and the table empty.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(super) fn called(signum: c_int) -> Action {
    // SAFETY: zeroed is SIG_DFL.
    let default: Action = unsafe { core::mem::zeroed() };
    let Some(table) = kept(signum) else { return default };
    let mut program = table.lock();
    let (action, ours) = programs(signum, &program);
    if action.sa_flags & libc::SA_RESETHAND != 0 {
        match ours {
            // The rest stays, as with the kernel.
            true => *program = Some(Action { sa_sigaction: libc::SIG_DFL, ..action }),
            false => signal::set_default(signum),
        }
    }
    action
}

/// The program's action, of which `kept` is what is kept, and whether the kernel has ours.
fn programs(signum: c_int, kept: &Option<Action>) -> (Action, bool) {
    let now = signal::current(signum);
    match is_ours(&now) {
        // SAFETY: zeroed is SIG_DFL.
        true => (kept.unwrap_or_else(|| unsafe { core::mem::zeroed() }), true),
        false => (now, false),
    }
}

/// Does what the kernel would have done with the program's action.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(super) fn forward(
    action: &Action,
    signum: c_int,
    info: &mut libc::siginfo_t,
    context: &mut libc::ucontext_t,
) {
    let real_fault = info.si_code > 0;
    match action.sa_sigaction {
        libc::SIG_IGN if !real_fault => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // The kernel does not let a real fault be ignored either. The same instruction faults again, or the same
            // signal arrives again: same number, code and address, and the core shows the right place.
            signal::set_default(signum);
            if !real_fault || signum != libc::SIGSEGV {
                signal::resend(info);
            }
        }
        handler => {
            let (mut mask, mut more) = (context.uc_sigmask, action.sa_mask);
            let mut wanted = *word(&mut mask) | *word(&mut more);
            if action.sa_flags & libc::SA_NODEFER == 0 {
                wanted |= bit(signum);
            }
            wanted |= sigaction::mark(wanted);
            *word(&mut mask) = wanted & !FAULTS;
            signal::set_mask(&mask);
            if action.sa_flags & libc::SA_ONSTACK == 0 {
                frame::call_on_own_stack(handler, signum, info, context);
            }
            // SAFETY: the program registered a function of this signature; one without SA_SIGINFO ignores the rest.
            let f: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                unsafe { core::mem::transmute(handler) };
            f(signum, info, (context as *mut libc::ucontext_t).cast());
        }
    }
}
