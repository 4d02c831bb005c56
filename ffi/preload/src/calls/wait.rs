//! Waiting: for descriptors, time and children.

use core::ffi::{c_int, c_uint, c_ulong, c_void};
use libc::{epoll_event, fd_set, pid_t, pollfd, rusage, siginfo_t, timespec, timeval};

/// The bytes that select looks at, in an fd_set of any size.
pub fn of_set(n: c_int) -> usize {
    (n.max(0) as usize).div_ceil(64) * 8
}

crate::holds::wraps! {
    fn poll(fds: *mut pollfd, n: c_ulong, timeout: c_int) -> c_int |h| { h.writes(fds, n as usize * 8) }
    fn __poll_chk(fds: *mut pollfd, n: c_ulong, timeout: c_int, room: usize) -> c_int |h| {
        h.writes(fds, n as usize * 8)
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
    fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int |h| {
        h.one(time);
        h.one(rest);
    }
    fn clock_nanosleep(clock: c_int, flags: c_int, time: *const timespec, rest: *mut timespec) -> c_int |h| {
        h.one(time);
        h.one(rest);
    }
    fn wait(status: *mut c_int) -> pid_t |h| { h.one(status) }
    fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t |h| { h.one(status) }
    fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t |h| {
        h.one(status);
        h.one(usage);
    }
    fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t |h| {
        h.one(status);
        h.one(usage);
    }
    fn waitid(kind: c_int, id: c_uint, info: *mut siginfo_t, options: c_int) -> c_int |h| { h.one(info) }
    fn getrusage(who: c_int, usage: *mut rusage) -> c_int |h| { h.one(usage) }
    fn uname(to: *mut libc::utsname) -> c_int |h| { h.one(to) }
    fn sysinfo(to: *mut libc::sysinfo) -> c_int |h| { h.one(to) }
    fn times(to: *mut libc::tms) -> isize |h| { h.one(to) }
    fn sched_setaffinity(pid: pid_t, n: usize, mask: *const c_void) -> c_int |h| { h.reads(mask, n) }
    fn sched_getaffinity(pid: pid_t, n: usize, mask: *mut c_void) -> c_int |h| { h.writes(mask, n) }
}
