//! The older functions for signals, System V's and BSD's. In the C library they change masks and actions without passing by
//! sigprocmask and sigaction. Any context.

use super::mask;
use super::masked::sigsuspend;
use crate::names::{self, Real};
use crate::signals::sigaction;
use core::ffi::c_int;
use libc::{SIG_BLOCK, SIG_ERR, SIG_SETMASK, SIG_UNBLOCK, SIGBUS, SIGSEGV, sigset_t};

/// The disposition of sigset(3) that blocks.
const SIG_HOLD: usize = 2;

static SIGSET: Real = Real::new(c"sigset");
static SIGIGNORE: Real = Real::new(c"sigignore");
static SIGINTERRUPT: Real = Real::new(c"siginterrupt");

/// Looks up what this file needs.
pub fn resolve() {
    for function in [&SIGSET, &SIGIGNORE, &SIGINTERRUPT] {
        function.address();
    }
}

fn failed(error: c_int) -> c_int {
    names::set_errno(error);
    -1
}

/// The set of one signal; the C library's own are none.
fn one(signum: c_int) -> Option<u64> {
    (1..=64).contains(&signum).then(|| 1 << (signum - 1)).filter(|_| signum != 32 && signum != 33)
}

fn change_one(how: c_int, signum: c_int) -> c_int {
    let Some(set) = one(signum) else { return failed(libc::EINVAL) };
    mask::change(how, Some(set)).map_or_else(failed, |_| 0)
}

/// sighold(3).
#[unsafe(no_mangle)]
pub extern "C" fn sighold(signum: c_int) -> c_int {
    change_one(SIG_BLOCK, signum)
}

/// sigrelse(3).
#[unsafe(no_mangle)]
pub extern "C" fn sigrelse(signum: c_int) -> c_int {
    change_one(SIG_UNBLOCK, signum)
}

/// sigblock(3): the first 32 signals.
#[unsafe(no_mangle)]
pub extern "C" fn sigblock(set: c_int) -> c_int {
    mask::change(SIG_BLOCK, Some(u64::from(set as u32))).map_or_else(failed, |before| before as c_int)
}

/// sigsetmask(3), likewise.
#[unsafe(no_mangle)]
pub extern "C" fn sigsetmask(set: c_int) -> c_int {
    mask::change(SIG_SETMASK, Some(u64::from(set as u32))).map_or_else(failed, |before| before as c_int)
}

/// siggetmask(3), likewise.
#[unsafe(no_mangle)]
pub extern "C" fn siggetmask() -> c_int {
    mask::change(SIG_BLOCK, None).map_or_else(failed, |before| before as c_int)
}

/// Whether the runtime may have this signal.
fn is_fault(signum: c_int) -> bool {
    matches!(signum, SIGSEGV | SIGBUS)
}

/// An action of the program's for one of those.
fn act(signum: c_int, new: Option<&libc::sigaction>) -> Result<libc::sigaction, c_int> {
    let new = new.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: zeroed is a valid action to be overwritten.
    unsafe {
        let mut old: libc::sigaction = core::mem::zeroed();
        match sigaction(signum, new.cast(), (&raw mut old).cast()) {
            0 => Ok(old),
            _ => Err(names::errno()),
        }
    }
}

fn set_handler(signum: c_int, handler: usize) -> Result<libc::sigaction, c_int> {
    // SAFETY: zeroed is an empty mask and no flags.
    let mut new: libc::sigaction = unsafe { core::mem::zeroed() };
    new.sa_sigaction = handler;
    act(signum, Some(&new))
}

/// sigset(3).
///
/// # Safety
/// As the C library's: `handler` is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigset(signum: c_int, handler: usize) -> usize {
    let result = || {
        let Some(set) = one(signum) else { return Err(libc::EINVAL) };
        if handler == SIG_HOLD {
            let before = mask::change(SIG_BLOCK, Some(set))?;
            // SAFETY: zeroed is a valid action to be overwritten.
            let mut old: libc::sigaction = unsafe { core::mem::zeroed() };
            // SAFETY: as above.
            if unsafe { sigaction(signum, core::ptr::null(), (&raw mut old).cast()) } != 0 {
                return Err(names::errno());
            }
            return Ok(if before & set != 0 { SIG_HOLD } else { old.sa_sigaction });
        }
        let old = set_handler(signum, handler)?;
        let before = mask::change(SIG_UNBLOCK, Some(set))?;
        Ok(if before & set != 0 { SIG_HOLD } else { old.sa_sigaction })
    };
    if is_fault(signum) || handler == SIG_HOLD {
        return result().unwrap_or_else(|error| {
            names::set_errno(error);
            SIG_ERR
        });
    }
    // SAFETY: the function of that name.
    unsafe {
        let f: unsafe extern "C" fn(c_int, usize) -> usize =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(SIGSET.address()));
        f(signum, handler)
    }
}

/// sigignore(3).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigignore(signum: c_int) -> c_int {
    if is_fault(signum) {
        return set_handler(signum, libc::SIG_IGN).map_or_else(failed, |_| 0);
    }
    // SAFETY: the function of that name.
    unsafe {
        let f: unsafe extern "C" fn(c_int) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(SIGIGNORE.address()));
        f(signum)
    }
}

/// siginterrupt(3).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siginterrupt(signum: c_int, interrupt: c_int) -> c_int {
    if is_fault(signum) {
        return act(signum, None)
            .and_then(|mut action| {
                match interrupt {
                    0 => action.sa_flags |= libc::SA_RESTART,
                    _ => action.sa_flags &= !libc::SA_RESTART,
                }
                act(signum, Some(&action))
            })
            .map_or_else(failed, |_| 0);
    }
    // SAFETY: the function of that name.
    unsafe {
        let f: unsafe extern "C" fn(c_int, c_int) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(SIGINTERRUPT.address()));
        f(signum, interrupt)
    }
}

/// # Safety
/// As sigsuspend(2): handlers of the program's run in here, and may leave it by a jump.
unsafe fn suspend_with(set: u64) -> c_int {
    // SAFETY: zeroed is the empty set, whose first 8 bytes are the kernel's.
    unsafe {
        let mut full: sigset_t = core::mem::zeroed();
        (&raw mut full).cast::<u64>().write(set);
        sigsuspend(&full)
    }
}

/// sigpause(3) as BSD has it: a mask of the first 32 signals.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sigpause(set: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { suspend_with(u64::from(set as u32)) }
}

/// sigpause(3) as System V has it: a signal to be unblocked meanwhile.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __xpg_sigpause(signum: c_int) -> c_int {
    let Some(set) = one(signum) else { return failed(libc::EINVAL) };
    match mask::change(SIG_BLOCK, None) {
        // SAFETY: the caller's promise.
        Ok(now) => unsafe { suspend_with(now & !set) },
        Err(error) => failed(error),
    }
}

/// What both of them are in the C library's headers.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __sigpause(what: c_int, is_signal: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { if is_signal != 0 { __xpg_sigpause(what) } else { sigpause(what) } }
}
