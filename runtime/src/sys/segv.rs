//! The door of the fault path: our handler for SIGSEGV, and for SIGBUS where userfaultfd sends that. Runs in signal context
//! with all asynchronous signals blocked. What is not ours goes on to the program (`chain.rs`).

use super::chain;
use super::decode;
pub(crate) use super::decode::Touch;
use super::reserve;
use super::sigaction;
use super::stderr::Line;
use crate::addr::HostAddr;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering::*};

/// What the runtime says of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The page is there now; run the instruction again.
    Resolved,
    /// Not our memory, or the program's own protection: the program's segfault.
    NotOurs,
    /// Ours, but its bytes can't be had: SIGBUS. The text says why.
    Bus(&'static str),
}

/// How the kernel noticed a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The page's protection forbids it: SIGSEGV.
    Protection,
    /// The page is missing, or write-protected by itself: userfaultfd.
    Absence,
}

/// Answers a fault. Signal-safe.
pub(crate) type Hook = fn(HostAddr, Touch, Cause) -> Verdict;

static HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Makes sure that our handler is the one the kernel calls, for SIGSEGV, and for SIGBUS if touches come as that, and that it
/// asks `hook`. Costs one or two system calls when nothing has to be done.
pub(crate) fn ensure_installed(hook: Hook, bus: bool) {
    HOOK.store(hook as *mut (), SeqCst);
    sigaction::ensure_installed(bus);
}

/// Whether anybody has asked for our handler yet. Signal-safe.
pub(super) fn is_hooked() -> bool {
    !HOOK.load(Relaxed).is_null()
}

pub(super) extern "C" fn on_signal(signum: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let saved = super::errno();
    // SAFETY: the kernel passes valid structures to an SA_SIGINFO handler.
    let (info, context) = unsafe { (&mut *info, &mut *context.cast::<libc::ucontext_t>()) };
    // Only SEGV_MAPERR (1), SEGV_ACCERR (2) and BUS_ADRERR (2) are page faults; <= 0 was sent by somebody.
    let cause = match (signum, info.si_code) {
        (libc::SIGSEGV, 1 | 2) => Some(Cause::Protection),
        (libc::SIGBUS, 2) => Some(Cause::Absence),
        _ => None,
    };
    if let Some(cause) = cause {
        // SAFETY: si_addr is valid for these codes.
        let addr = HostAddr(unsafe { info.si_addr() }.expose_provenance());
        match ask(addr, cause, context) {
            Verdict::Resolved => {
                super::set_errno(saved);
                return;
            }
            Verdict::NotOurs => {}
            Verdict::Bus(why) => {
                raise_bus(addr, why, context);
                super::set_errno(saved);
                return;
            }
        }
    }
    if chain::ends(signum, info, context) {
        super::set_errno(saved);
        return;
    }
    chain::chain(signum, info, context, saved);
    super::set_errno(saved);
}

/// A question for the runtime, and its answer.
struct Question {
    hook: Hook,
    addr: HostAddr,
    touch: Touch,
    cause: Cause,
    verdict: Verdict,
}

/// What the runtime says of a fault, wherever there is stack enough to find out.
fn ask(addr: HostAddr, cause: Cause, context: &libc::ucontext_t) -> Verdict {
    extern "C" fn answer(question: *mut ()) {
        // SAFETY: the question below, which waits for its answer.
        let q = unsafe { &mut *question.cast::<Question>() };
        q.verdict = (q.hook)(q.addr, q.touch, q.cause);
    }
    let hook = HOOK.load(SeqCst);
    if hook.is_null() {
        return Verdict::NotOurs;
    }
    sigaction::notice_child();
    // SAFETY: only `ensure_installed` stores here, and it stores a `Hook`.
    let hook: Hook = unsafe { core::mem::transmute(hook) };
    let mut question =
        Question { hook, addr, touch: decode::touch(context), cause, verdict: Verdict::NotOurs };
    let argument = (&raw mut question).cast();
    if reserve::is_needed(context) {
        reserve::call(answer, argument)
    } else {
        answer(argument)
    }
    question.verdict
}

/// The bytes can't be had: the access gets SIGBUS, as for a file whose disk failed.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn raise_bus(addr: HostAddr, why: &str, context: &mut libc::ucontext_t) {
    Line::new().text("SIGBUS at ").hex(addr.0).text(": ").text(why).write();
    // SAFETY: zeroed is a valid siginfo; si_addr is the first pointer-sized field of the union, at byte 16.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    info.si_signo = libc::SIGBUS;
    info.si_code = 2; // BUS_ADRERR
    // SAFETY: siginfo_t is 128 bytes on Linux.
    unsafe { (&raw mut info).cast::<u8>().add(16).cast::<usize>().write_unaligned(addr.0) };
    chain::forward(&chain::called(libc::SIGBUS), libc::SIGBUS, &mut info, context);
}
