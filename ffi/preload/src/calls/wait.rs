//! Waiting for descriptors, and what is like it. A signal that is taken is lost if what it says can't be written: that is held always.
//! Children, time and other waits for signals are in `apart`.

use core::ffi::{c_int, c_ulong};
use libc::{epoll_event, fd_set, pollfd, rusage, siginfo_t, sigset_t, timespec, timeval};

/// The bytes that select looks at, in an fd_set of any size.
pub fn of_set(n: c_int) -> usize {
    (n.max(0) as usize).div_ceil(64) * 8
}

crate::holds::wraps! {
    fn poll(fds: *mut pollfd, n: c_ulong, timeout: c_int) -> c_int |h| { h.writes(fds, (n as usize).saturating_mul(8)) }
    fn __poll_chk(fds: *mut pollfd, n: c_ulong, timeout: c_int, room: usize) -> c_int |h| {
        h.writes(fds, (n as usize).saturating_mul(8))
    }
    fn select(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval) -> c_int |h| {
        h.writes(r, of_set(n));
        h.writes(w, of_set(n));
        h.writes(e, of_set(n));
        h.one(timeout);
    }
    fn epoll_ctl(epoll: c_int, what: c_int, fd: c_int, event: *mut epoll_event) -> c_int |h| { h.one(event) }
    fn epoll_wait(epoll: c_int, events: *mut epoll_event, n: c_int, timeout: c_int) -> c_int |h| {
        h.writes(events, n.max(0) as usize * size_of::<epoll_event>())
    }
    fn getrusage(who: c_int, usage: *mut rusage) -> c_int |h| { h.one(usage) }
    fn uname(to: *mut libc::utsname) -> c_int |h| { h.one(to) }
    fn sysinfo(to: *mut libc::sysinfo) -> c_int |h| { h.one(to) }
    fn times(to: *mut libc::tms) -> isize |h| { h.one(to) }
    fn sigtimedwait(set: *const sigset_t, to: *mut siginfo_t, time: *const timespec) -> c_int |h| if always {
        h.reads(set, SET);
        h.one(to);
        h.one(time);
    }
    fn sigpending(to: *mut sigset_t) -> c_int |h| { h.writes(to, SET) }
    fn signalfd(fd: c_int, set: *const sigset_t, flags: c_int) -> c_int |h| { h.reads(set, SET) }
}

/// The kernel's set of signals.
const SET: usize = 8;
