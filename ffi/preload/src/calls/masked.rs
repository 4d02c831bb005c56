//! What waits with another signal mask for the time: with the program's, but for SIGSEGV and SIGBUS.

use super::wait::of_set;
use core::ffi::{c_int, c_ulong};
use libc::{epoll_event, fd_set, pollfd, sigset_t, timespec};

/// Defines exported functions as `wraps!` does; the argument after the semicolon is a mask.
macro_rules! masked {
    ($(fn $name:ident($($arg:ident: $type:ty),*; $mask:ident $(, $after:ident: $last:ty)?) |$h:ident| $body:block)+) => {
        crate::names::reals! { real, resolve: $($name)+ }

        $(
            /// The C library's function of this name, with managed memory among its arguments held for the call, and a mask
            /// that lets faults through.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($($arg: $type,)* $mask: *const sigset_t $(, $after: $last)?) -> c_int {
                let at = real::$name.address();
                if at == 0 {
                    crate::names::set_errno(libc::ENOSYS);
                    return -1;
                }
                // SAFETY: the function of this name and type; the arguments are the caller's.
                unsafe {
                    let f: unsafe extern "C-unwind" fn($($type,)* *const sigset_t $(, $last)?) -> c_int =
                        core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                    crate::cancel::deferred(|kind| {
                        let copy = super::mask::allowed($mask);
                        let mask = copy.as_ref().map_or($mask, core::ptr::from_ref);
                        let call = || crate::cancel::as_it_was(kind, || f($($arg,)* mask $(, $after)?));
                        crate::holds::around(false, |$h| $body, call, crate::holds::has_failed)
                    })
                }
            }
        )+
    };
}

masked! {
    fn ppoll(fds: *mut pollfd, n: c_ulong, timeout: *const timespec; mask) |h| {
        h.writes(fds, (n as usize).saturating_mul(8))
    }
    fn __ppoll_chk(fds: *mut pollfd, n: c_ulong, timeout: *const timespec; mask, room: usize) |h| {
        h.writes(fds, (n as usize).saturating_mul(8))
    }
    fn pselect(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *const timespec; mask) |h| {
        h.writes(r, of_set(n));
        h.writes(w, of_set(n));
        h.writes(e, of_set(n));
    }
    fn epoll_pwait(epoll: c_int, events: *mut epoll_event, n: c_int, timeout: c_int; mask) |h| {
        h.writes(events, n.max(0) as usize * size_of::<epoll_event>())
    }
    fn epoll_pwait2(epoll: c_int, events: *mut epoll_event, n: c_int, timeout: *const timespec; mask) |h| {
        h.writes(events, n.max(0) as usize * size_of::<epoll_event>());
        h.one(timeout);
    }
    fn sigsuspend(; mask) |_h| {}
}
