//! The double's own threads: no signal of the program is ever delivered to one of them.

use core::mem::MaybeUninit;
use core::ptr;
use std::thread::Builder;

use crate::{Error, Result};

/// Starts a thread with all signals blocked; it ends by itself.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are ours; the first is filled before it is used.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
    }
    let body = move || {
        // SAFETY: changes only how late this thread's own timed waits may end: latencies of the settings are short.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
        body();
    };
    let started = Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(body);
    // SAFETY: the call above filled it.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), ptr::null_mut()) };
    started.map(drop).map_err(|_| Error::OUT_OF_MEMORY)
}
