//! The door of the fault path: our handler for SIGSEGV, and for SIGBUS where userfaultfd sends that, and chaining to whatever
//! the program installed before or after us. Runs in signal context with all asynchronous signals blocked. Modelled on Android ART's sigchain and OpenJDK's libjsig: the program's actions are kept
//! in a table and given back when asked.

use super::decode;
pub(crate) use super::decode::Touch;
use super::frame;
use super::futex::Locked;
use super::pending;
use super::reserve;
use super::signal::{self, Action, Blocked};
use super::stderr::Line;
use crate::addr::HostAddr;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering::*};

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
/// The program's own actions for SIGSEGV and SIGBUS while ours are installed.
static PROGRAM: [Locked<Option<Action>>; 2] = [const { Locked::new(None) }; 2];

/// Where the program's action for a signal is kept that may be ours.
fn kept(signum: c_int) -> Option<&'static Locked<Option<Action>>> {
    match signum {
        libc::SIGSEGV => Some(&PROGRAM[0]),
        libc::SIGBUS => Some(&PROGRAM[1]),
        _ => None,
    }
}

/// Bits of a signal set of the kernel's, as far as they are taken out of the masks that handlers run with: a fault of ours
/// that meets a blocked SIGSEGV kills.
const FAULTS: u64 = bit(libc::SIGSEGV) | bit(libc::SIGBUS);
/// Stands for SIGSEGV in the mask of a handler that should have that blocked: the C library's own signal for cancellation,
/// which no program can block or see. A fault that is not ours is then what it would have been, the end of the program; and
/// whoever jumps out of the handler and restores the mask of before takes it out as well.
const BLOCKED_FAULT: u64 = CANCEL;
const CANCEL: u64 = bit(32);

/// Whether whoever stands before the C library's functions takes the mark out again when the program unblocks SIGSEGV; the
/// C library itself does not let it.
static MARKS: AtomicBool = AtomicBool::new(false);

/// The process whose actions are in the tables. A child of vfork shares them, and has actions of its own.
static HOME: AtomicI32 = AtomicI32::new(0);

/// The preload library is there: see [`MARKS`].
pub(crate) fn set_marks() {
    MARKS.store(true, Relaxed);
    HOME.store(super::process(), Relaxed);
    super::thread::at_fork(None, None, Some(in_child));
}

/// Whether this is a child of vfork, which shares this memory with its parent. Signal-safe.
pub fn is_vforked() -> bool {
    let home = HOME.load(Relaxed);
    home != 0 && home != super::process() && !notice_child()
}

/// In a child that no handler has told that it is one. Whether this was the first to notice. Signal-safe.
fn notice_child() -> bool {
    let first = super::thread::notice_child();
    if first {
        in_child();
    }
    first
}

/// In a forked child: the tables are its own. Signal-safe.
pub(crate) extern "C" fn in_child() {
    if HOME.load(Relaxed) != 0 {
        HOME.store(super::process(), Relaxed);
    }
}

const fn bit(signum: c_int) -> u64 {
    1 << (signum - 1)
}

/// The kernel's part of a set.
fn word(set: &mut libc::sigset_t) -> &mut u64 {
    // SAFETY: the kernel's 64 signals are the first 8 bytes of the C library's set, which is aligned for them.
    unsafe { &mut *(&raw mut *set).cast::<u64>() }
}

/// What was taken out of the mask of each signal's action.
static STRIPPED: [AtomicU64; 65] = [const { AtomicU64::new(0) }; 65];

/// Sets an action of the program's, without what its mask may not have; gives the one before as the program set it.
///
/// # Safety
/// As sigaction: the pointers are null or valid.
unsafe fn set_stripped(signum: c_int, new: *const Action, old: *mut Action) -> c_int {
    let Some(stripped) = usize::try_from(signum).ok().and_then(|s| STRIPPED.get(s)) else {
        // SAFETY: passed through, to be refused.
        return unsafe { signal::real_sigaction(signum, new, old) };
    };
    // SAFETY: the caller's promise; the kernel sees copies of ours, because the program's may be managed.
    unsafe {
        let mut copy = (!new.is_null()).then(|| *new);
        let out = copy.as_mut().map(|action| {
            let mask = word(&mut action.sa_mask);
            let out = *mask & FAULTS;
            *mask &= !FAULTS;
            out
        });
        let mut before: Action = core::mem::zeroed();
        let given = copy.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        let answer = signal::real_sigaction(signum, given, &mut before);
        if answer == 0 {
            *word(&mut before.sa_mask) |= out
                .filter(|_| !is_vforked())
                .map_or_else(|| stripped.load(Relaxed), |out| stripped.swap(out, Relaxed));
            if !old.is_null() {
                *old = before;
            }
        }
        answer
    }
}

fn is_ours(action: &Action) -> bool {
    action.sa_sigaction == on_signal as *const () as usize
}

/// Makes sure that our handler is the one the kernel calls, for SIGSEGV, and for SIGBUS if touches come as that. What was
/// there before, also if the program put it there after us, becomes what we chain to. Costs one or two system calls when
/// nothing has to be done.
pub(crate) fn ensure_installed(hook: Hook, bus: bool) {
    HOOK.store(hook as *mut (), SeqCst);
    let ours = if bus { &[libc::SIGSEGV, libc::SIGBUS][..] } else { &[libc::SIGSEGV][..] };
    let missing = ours.iter().filter(|s| !is_ours(&signal::current(**s)));
    let mut any = false;
    for &signum in missing {
        any = true;
        install(signum);
    }
    if !any {
        return;
    }
    for signum in (1..=64).filter(|s| !ours.contains(s)) {
        let mut action = signal::current(signum);
        if !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
            && *word(&mut action.sa_mask) & FAULTS != 0
        {
            // SAFETY: an action that the kernel gave us.
            unsafe { set_stripped(signum, &action, core::ptr::null_mut()) };
        }
    }
}

fn install(signum: c_int) {
    let Some(table) = kept(signum) else { return };
    let _blocked = Blocked::new();
    let mut program = table.lock();
    // SAFETY: valid actions.
    unsafe {
        let mut old = core::mem::zeroed();
        signal::real_sigaction(signum, &ours(0), &mut old);
        if !is_ours(&old) {
            *program = Some(old);
        }
    }
    follow(signum, program.as_ref());
}

/// The kernel's action while our handler is installed.
fn ours(restart: c_int) -> Action {
    // SAFETY: a zeroed action is filled in before use; the handler has the SA_SIGINFO signature.
    let mut ours: Action = unsafe { core::mem::zeroed() };
    ours.sa_sigaction = on_signal as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER | restart;
    ours.sa_mask = signal::all_asynchronous();
    // An asynchronous cancellation would unwind through our handler. (The other of the C library's signals harms nobody here, and
    // who sends it waits for all threads.) A mark in the mask of who was interrupted is looked for in its context, and is not this.
    *word(&mut ours.sa_mask) |= CANCEL;
    ours
}

/// A signal that is sent interrupts system calls, or lets them go on, as the program's action has it: with the table locked.
fn follow(signum: c_int, program: Option<&Action>) {
    let restarts = |a: &Action| a.sa_sigaction == libc::SIG_IGN || a.sa_flags & libc::SA_RESTART != 0;
    let wanted = if program.is_some_and(restarts) { libc::SA_RESTART } else { 0 };
    let now = signal::current(signum);
    if is_ours(&now) && now.sa_flags & libc::SA_RESTART != wanted {
        // SAFETY: a valid action.
        unsafe { signal::real_sigaction(signum, &ours(wanted), core::ptr::null_mut()) };
    }
}

/// Gives SIGSEGV and SIGBUS back to the program. Everything can be touched already.
pub(crate) fn uninstall() {
    pending::wait_for_faults();
    let _blocked = Blocked::new();
    for signum in [libc::SIGSEGV, libc::SIGBUS] {
        let Some(table) = kept(signum) else { continue };
        let mut program = table.lock();
        if let Some(action) = program.take()
            && is_ours(&signal::current(signum))
        {
            // SAFETY: an action that the kernel gave us.
            unsafe { signal::real_sigaction(signum, &action, core::ptr::null_mut()) };
        }
    }
}

/// sigaction(2) as the program means it: for SIGSEGV and SIGBUS, while our handler is installed, the program's action is
/// kept in the table and the kernel's stays ours. Everything else goes to libc. Exported by the C library as `sigaction`.
///
/// # Safety
/// As sigaction: the pointers are null or valid.
pub unsafe fn program_sigaction(signum: c_int, new: *const Action, old: *mut Action) -> c_int {
    if let Some(table) = kept(signum) {
        // The caller's memory, which may be managed, or not there at all: a fault of the program's, which looks into the table.
        // SAFETY: the caller's promise.
        let given = (!new.is_null()).then(|| unsafe { *new });
        let _blocked = Blocked::new();
        let mut program = table.lock();
        let vforked = is_vforked();
        if let Some(action) = program.as_mut() {
            let before = *action;
            if vforked {
                // Its own action goes with it, but for what a program that it starts inherits.
                // SAFETY: the caller's promise.
                unsafe {
                    drop(program);
                    if !new.is_null() && (*new).sa_sigaction == libc::SIG_IGN {
                        signal::real_sigaction(signum, new, core::ptr::null_mut());
                    }
                    if !old.is_null() {
                        *old = before;
                    }
                }
                return 0;
            }
            if let Some(given) = given {
                *action = given;
                follow(signum, Some(action));
            }
            drop(program);
            if !old.is_null() {
                // SAFETY: the caller's promise.
                unsafe { *old = before };
            }
            return 0;
        }
        // With the list locked: whoever puts our handler in front comes before or after.
        if signum == libc::SIGSEGV || HOOK.load(Relaxed).is_null() {
            // SAFETY: the caller's promise.
            return unsafe { signal::real_sigaction(signum, new, old) };
        }
        let new = given.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY: a zeroed action is filled in. The caller's place, which may have to come home or fault, is written without the lock.
        unsafe {
            let mut before: Action = core::mem::zeroed();
            let answer = set_stripped(signum, new, &mut before);
            drop(program);
            if answer == 0 && !old.is_null() {
                *old = before;
            }
            return answer;
        }
    } else if !HOOK.load(Relaxed).is_null() {
        // SAFETY: the caller's promise.
        return unsafe { set_stripped(signum, new, old) };
    }
    // SAFETY: passed through.
    unsafe { signal::real_sigaction(signum, new, old) }
}

extern "C" fn on_signal(signum: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
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
    if ends(signum, info, context) {
        super::set_errno(saved);
        return;
    }
    chain(signum, info, context, saved);
    super::set_errno(saved);
}

/// Whether the program has no handler for a fault of its own that has come with little stack left, and is going to end by it. Another
/// fault here, for want of stack, would have the kernel begin again at the stack's top, for ever.
fn ends(signum: c_int, info: &libc::siginfo_t, context: &mut libc::ucontext_t) -> bool {
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
    notice_child();
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

/// Whether a fault has come while the program has SIGSEGV blocked.
fn is_blocked(context: &mut libc::ucontext_t) -> bool {
    *word(&mut context.uc_sigmask) & BLOCKED_FAULT != 0
}

/// It is the program's signal.
#[inline(never)] // the signal stack may be small: the answer to a fault of ours does not need this room
fn chain(signum: c_int, info: &mut libc::siginfo_t, context: &mut libc::ucontext_t, saved: c_int) {
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
fn called(signum: c_int) -> Action {
    // SAFETY: zeroed is SIG_DFL.
    let default: Action = unsafe { core::mem::zeroed() };
    let Some(table) = kept(signum) else { return default };
    let mut program = table.lock();
    let (action, ours) = programs(signum, &program);
    if action.sa_flags & libc::SA_RESETHAND != 0 {
        match ours {
            true => *program = Some(default),
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
fn forward(action: &Action, signum: c_int, info: &mut libc::siginfo_t, context: &mut libc::ucontext_t) {
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
            if wanted & bit(libc::SIGSEGV) != 0 && MARKS.load(Relaxed) {
                wanted |= BLOCKED_FAULT;
            }
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
    forward(&called(libc::SIGBUS), libc::SIGBUS, &mut info, context);
}
