//! POSIX mutexes. As other locks they are held while a thread may wait for them. One that is robust is read by the kernel when the
//! thread that has it ends, along a list of all that it has: such a one is pinned as long as it is locked.

use super::flight;
use crate::cancel;
use crate::holds::{self, Holds};
use core::ffi::c_int;
use core::mem::offset_of;
use hmmrt_core::raw::{owns, preload::is_active};
use libc::{clockid_t, pthread_mutex_t, timespec};

/// The head of glibc's mutex, as it is on x86-64 and aarch64.
#[repr(C)]
struct Mutex {
    lock: c_int,
    count: c_int,
    owner: c_int,
    users: c_int,
    kind: c_int,
}
const _: () = assert!(offset_of!(Mutex, kind) == 16);

/// Whether the kernel is to tell the next owner that this one's owner has ended, and the mutex is managed.
///
/// # Safety
/// A mutex.
unsafe fn is_robust(m: *const pthread_mutex_t) -> bool {
    const ROBUST: c_int = 16;
    // SAFETY: the caller's promise; others may be changing it.
    let kind = unsafe { (&raw const (*m.cast::<Mutex>()).kind).read_volatile() };
    kind & ROBUST != 0 && owns(m.cast())
}

/// Makes a call that locks a robust mutex, which stays pinned if it does.
fn locking(m: *const pthread_mutex_t, call: impl FnOnce() -> c_int) -> c_int {
    let pin = flight::pin(m.expose_provenance(), size_of::<pthread_mutex_t>());
    let answer = call();
    // The pin of an owner that has ended is left for who unlocks it now.
    if let Some(pin) = pin.filter(|_| answer != 0) {
        flight::unpin(pin);
    }
    answer
}

/// A wait for a condition has this answer, and has locked the mutex again if it can be. This thread's pin has stayed; the one of
/// an owner that has ended goes, or where nobody can have it any more this one's.
///
/// # Safety
/// A mutex.
pub unsafe fn relocked(m: *const pthread_mutex_t, answer: c_int) {
    // SAFETY: the caller's promise.
    if matches!(answer, libc::EOWNERDEAD | libc::ENOTRECOVERABLE) && unsafe { is_robust(m) } {
        flight::unpin(flight::Pin::of(m.expose_provenance(), size_of::<pthread_mutex_t>()));
    }
}

/// Makes a call that unlocks it.
fn unlocking(m: *const pthread_mutex_t, call: impl FnOnce() -> c_int) -> c_int {
    let answer = call();
    if answer == 0 {
        flight::unpin(flight::Pin::of(m.expose_provenance(), size_of::<pthread_mutex_t>()));
    }
    answer
}

/// Defines exported functions that lock or unlock a mutex, with what each holds. `plain`: when nothing has to be.
macro_rules! mutexes {
    ($(fn $name:ident($m:ident $(, $arg:ident: $type:ty)*) $how:ident, plain if $plain:expr, |$h:ident| $body:expr;)+) => {
        crate::names::reals! { real, resolve: $($name)+ }

        $(
            /// The C library's function of this name; the mutex is held for the call, and one that is robust while it is locked.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($m: *mut pthread_mutex_t $(, $arg: $type)*) -> c_int {
                let at = real::$name.address();
                if at == 0 {
                    return libc::ENOSYS;
                }
                // SAFETY: the function of this name and type; the arguments are the caller's.
                unsafe {
                    let f: unsafe extern "C-unwind" fn(*mut pthread_mutex_t $(, $type)*) -> c_int =
                        core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                    let is_robust = is_robust($m);
                    if $plain && !is_robust {
                        return f($m $(, $arg)*);
                    }
                    cancel::deferred(|kind| {
                        let call = || {
                            let call = || cancel::as_it_was(kind, || f($m $(, $arg)*));
                            holds::around(true, |$h: &mut Holds| $body, call, |_| false)
                        };
                        if is_robust { $how($m, call) } else { call() }
                    })
                }
            }
        )+
    };
}

mutexes! {
    fn pthread_mutex_lock(m) locking, plain if !is_active(), |h| h.one(m);
    fn pthread_mutex_trylock(m) locking, plain if true, |h| h.one(m);
    fn pthread_mutex_timedlock(m, time: *const timespec) locking, plain if false, |h| {
        h.one(m);
        h.one(time);
    };
    fn pthread_mutex_clocklock(m, clock: clockid_t, time: *const timespec) locking, plain if false, |h| {
        h.one(m);
        h.one(time);
    };
    fn pthread_mutex_unlock(m) unlocking, plain if true, |_h| {};
}
