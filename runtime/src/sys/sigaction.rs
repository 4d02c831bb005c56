//! The program's actions for signals while ours are installed: sigaction(2) as the program means it. Modelled on Android ART's sigchain
//! and OpenJDK's libjsig: the actions are kept in a table and given back when asked. And what masks the program's handlers may have,
//! so that a fault of ours never meets a blocked SIGSEGV.

use super::futex::Locked;
use super::pending;
use super::segv;
use super::signal::{self, Action, Blocked};
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};

/// The program's own actions for SIGSEGV and SIGBUS while ours are installed.
static PROGRAM: [Locked<Option<Action>>; 2] = [const { Locked::new(None) }; 2];

/// Where the program's action for a signal is kept that may be ours.
pub(super) fn kept(signum: c_int) -> Option<&'static Locked<Option<Action>>> {
    match signum {
        libc::SIGSEGV => Some(&PROGRAM[0]),
        libc::SIGBUS => Some(&PROGRAM[1]),
        _ => None,
    }
}

/// Bits of a signal set of the kernel's, as far as they are taken out of the masks that handlers run with: a fault of ours
/// that meets a blocked SIGSEGV kills.
pub(super) const FAULTS: u64 = bit(libc::SIGSEGV) | bit(libc::SIGBUS);
/// Stands for SIGSEGV in the mask of a handler that should have that blocked: the C library's own signal for cancellation,
/// which no program can block or see. A fault that is not ours is then what it would have been, the end of the program; and
/// whoever jumps out of the handler and restores the mask of before takes it out as well.
pub(super) const BLOCKED_FAULT: u64 = CANCEL;
const CANCEL: u64 = bit(32);

/// Whether whoever stands before the C library's functions takes the mark out again when the program unblocks SIGSEGV; the
/// C library itself does not let it.
static MARKS: AtomicBool = AtomicBool::new(false);

/// The process whose actions are in the tables. A child of vfork shares them, and has actions of its own.
static HOME: AtomicI32 = AtomicI32::new(0);

/// What stands for a SIGSEGV that is in `mask`. Signal-safe.
pub(super) fn mark(mask: u64) -> u64 {
    if mask & bit(libc::SIGSEGV) != 0 && MARKS.load(Relaxed) { BLOCKED_FAULT } else { 0 }
}

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
pub(super) fn notice_child() -> bool {
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

pub(super) const fn bit(signum: c_int) -> u64 {
    1 << (signum - 1)
}

/// The kernel's part of a set.
pub(super) fn word(set: &mut libc::sigset_t) -> &mut u64 {
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

pub(super) fn is_ours(action: &Action) -> bool {
    action.sa_sigaction == segv::on_signal as *const () as usize
}

/// Makes sure that our handler is the one the kernel calls, for SIGSEGV, and for SIGBUS too if `bus`. What was there before,
/// also if the program put it there after us, becomes what we chain to.
pub(super) fn ensure_installed(bus: bool) {
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
    ours.sa_sigaction = segv::on_signal as *const () as usize;
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
        if signum == libc::SIGSEGV || !segv::is_hooked() {
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
    } else if segv::is_hooked() {
        // SAFETY: the caller's promise.
        return unsafe { set_stripped(signum, new, old) };
    }
    // SAFETY: passed through.
    unsafe { signal::real_sigaction(signum, new, old) }
}
