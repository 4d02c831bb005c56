//! SIGBUS as a program may take it: noted, what is short is made plenty again, and the access is made once more.

use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};

static COUNT: AtomicU64 = AtomicU64::new(0);
static ADDR: AtomicUsize = AtomicUsize::new(0);
static REMEDY: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// How a process ends that is not to have SIGBUS, and has it.
pub const TOLD: i32 = 9;

extern "C" fn on_bus(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the runtime's or the kernel's siginfo; what is in REMEDY is a function.
    unsafe {
        ADDR.store((*info).si_addr() as usize, SeqCst);
        let remedy = REMEDY.load(SeqCst);
        if COUNT.fetch_add(1, SeqCst) > 100_000 || remedy.is_null() {
            libc::_exit(TOLD);
        }
        std::mem::transmute::<*mut (), fn()>(remedy)();
    }
}

/// From here on SIGBUS calls `remedy`, which must be signal-safe, and the access is repeated. Before the runtime starts.
pub fn take_bus(remedy: fn()) {
    REMEDY.store(remedy as *mut (), SeqCst);
    install(libc::SIGBUS, on_bus as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK);
}

/// From here on SIGBUS ends the process with [`TOLD`]: in a forked child.
pub fn take_bus_never() {
    REMEDY.store(std::ptr::null_mut(), SeqCst);
}

/// Sets a signal's action.
pub fn install(signal: i32, handler: usize, flags: i32) {
    // SAFETY: a zeroed action is filled in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// How many there were, and the last one's address.
pub fn buses() -> (u64, usize) {
    (COUNT.load(SeqCst), ADDR.load(SeqCst))
}
