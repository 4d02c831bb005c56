//! What waits with another signal mask for the time: with the program's, but for SIGSEGV and SIGBUS.

use super::wait::of_set;
use core::ffi::{c_int, c_ulong};
use libc::{epoll_event, fd_set, pollfd, sigset_t, timespec};

/// Defines exported functions as `wraps!` does; the argument after the semicolon is a mask.
macro_rules! masked {
    ($(fn $name:ident($($arg:ident: $type:ty),*; $mask:ident $(, $after:ident: $last:ty)?) |$h:ident| $body:block)+) => {
        #[allow(non_upper_case_globals, reason = "named as the functions are")]
        mod real {
            $(pub static $name: crate::names::Real = crate::names::Real::new(
                match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!(),
                });)+
        }

        /// Looks all of them up.
        pub fn resolve() {
            $(real::$name.address();)+
        }

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
                    let copy = super::mask::allowed($mask);
                    let mask = copy.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
                    let hold = || {
                        let saved = crate::names::errno();
                        let mut holds = crate::holds::Holds::new();
                        {
                            let $h = &mut holds;
                            $body
                        }
                        crate::names::set_errno(saved);
                        holds
                    };
                    let holds = hmmrt_core::raw::preload::is_active().then(hold);
                    let answer = f($($arg,)* mask $(, $after)?);
                    // The devices may have been opened during the call, and memory gone that was not held: once more.
                    if answer == -1
                        && crate::names::errno() == libc::EFAULT
                        && !holds.is_some_and(|holds| holds.any())
                        && hmmrt_core::raw::preload::is_active()
                    {
                        let holds = hold();
                        if holds.any() {
                            return f($($arg,)* mask $(, $after)?);
                        }
                    }
                    answer
                }
            }
        )+
    };
}

masked! {
    fn ppoll(fds: *mut pollfd, n: c_ulong, timeout: *const timespec; mask) |h| { h.writes(fds, n as usize * 8) }
    fn __ppoll_chk(fds: *mut pollfd, n: c_ulong, timeout: *const timespec; mask, room: usize) |h| {
        h.writes(fds, n as usize * 8)
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
