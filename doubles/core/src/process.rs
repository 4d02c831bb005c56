//! What has become of the process: not initialised, running, a forked child, exiting. Calls ask it first.

use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use crate::{Error, Result, os, settings};

const FRESH: i32 = 0;
const READY: i32 = 1;
const FORKED: i32 = 2;
const EXITING: i32 = 3;

static STATE: AtomicI32 = AtomicI32::new(FRESH);

extern "C" fn in_child() {
    // A child of a process that never used the driver may still use it.
    let _ = STATE.compare_exchange(READY, FORKED, SeqCst, SeqCst);
}

extern "C" fn at_exit() {
    let _ = STATE.compare_exchange(READY, EXITING, SeqCst, SeqCst);
}

/// cuInit, hipInit.
pub fn init() -> Result {
    match STATE.load(SeqCst) {
        FRESH => {}
        _ => return ready(),
    }
    let settings = settings::get();
    if settings.init != 0 {
        return Err(Error(settings.init));
    }
    if settings.devices == 0 {
        return Err(Error::NO_DEVICE);
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: both handlers only change an atomic, and the library is never unloaded (-z nodelete).
        unsafe { os::at_fork_and_exit(in_child, at_exit) };
    });
    STATE.store(READY, SeqCst);
    Ok(())
}

/// Whether calls are possible.
pub fn ready() -> Result {
    match STATE.load(SeqCst) {
        READY => Ok(()),
        EXITING => Err(Error::DEINITIALIZED),
        _ => Err(Error::NOT_INITIALIZED),
    }
}

/// Whether this is a forked child of a process that used the driver.
pub fn forked() -> bool {
    STATE.load(SeqCst) == FORKED
}
