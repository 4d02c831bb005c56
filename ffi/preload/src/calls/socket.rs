//! Sockets. What is received is so only once: such calls hold always. What sends is in `lent`, and the plain ways to receive in `arrive`.

use core::ffi::{c_int, c_uint, c_void};
use libc::{mmsghdr, msghdr, sockaddr, socklen_t, timespec};

crate::holds::wraps! {
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> isize |h| if always { h.message(message, true) }
    fn recvmmsg(fd: c_int, all: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int |h| if always {
        h.messages(all, n as usize, true);
        h.one(timeout);
    }
    fn connect(fd: c_int, to: *const sockaddr, len: socklen_t) -> c_int |h| { h.reads(to, len as usize) }
    fn bind(fd: c_int, to: *const sockaddr, len: socklen_t) -> c_int |h| { h.reads(to, len as usize) }
    fn getsockname(fd: c_int, to: *mut sockaddr, len: *mut socklen_t) -> c_int |h| { h.answer(to.cast(), len) }
    fn getpeername(fd: c_int, to: *mut sockaddr, len: *mut socklen_t) -> c_int |h| { h.answer(to.cast(), len) }
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int |h| if always {
        h.answer(value, len)
    }
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int |h| {
        h.reads(value, len as usize)
    }
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int |h| { h.writes(fds, 8) }
}
