//! Sockets. What sends is in `lent`.

use core::ffi::{c_int, c_uint, c_void};
use libc::{mmsghdr, msghdr, sockaddr, socklen_t, timespec};

crate::holds::wraps! {
    fn recv(fd: c_int, buf: *mut c_void, n: usize, flags: c_int) -> isize |h| { h.writes(buf, n) }
    fn __recv_chk(fd: c_int, buf: *mut c_void, n: usize, room: usize, flags: c_int) -> isize |h| { h.writes(buf, n) }
    fn recvfrom(
        fd: c_int, buf: *mut c_void, n: usize, flags: c_int, from: *mut sockaddr, len: *mut socklen_t,
    ) -> isize |h| {
        h.writes(buf, n);
        h.answer(from.cast(), len);
    }
    fn __recvfrom_chk(
        fd: c_int, buf: *mut c_void, n: usize, room: usize, flags: c_int, from: *mut sockaddr, len: *mut socklen_t,
    ) -> isize |h| {
        h.writes(buf, n);
        h.answer(from.cast(), len);
    }
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> isize |h| { h.message(message, true) }
    fn recvmmsg(fd: c_int, all: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int |h| {
        h.messages(all, n as usize, true);
        h.one(timeout);
    }
    fn accept(fd: c_int, from: *mut sockaddr, len: *mut socklen_t) -> c_int |h| { h.answer(from.cast(), len) }
    fn accept4(fd: c_int, from: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int |h| {
        h.answer(from.cast(), len)
    }
    fn connect(fd: c_int, to: *const sockaddr, len: socklen_t) -> c_int |h| { h.reads(to, len as usize) }
    fn bind(fd: c_int, to: *const sockaddr, len: socklen_t) -> c_int |h| { h.reads(to, len as usize) }
    fn getsockname(fd: c_int, to: *mut sockaddr, len: *mut socklen_t) -> c_int |h| { h.answer(to.cast(), len) }
    fn getpeername(fd: c_int, to: *mut sockaddr, len: *mut socklen_t) -> c_int |h| { h.answer(to.cast(), len) }
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int |h| {
        h.answer(value, len)
    }
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int |h| {
        h.reads(value, len as usize)
    }
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int |h| { h.writes(fds, 8) }
}
