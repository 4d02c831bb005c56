//! Files and descriptors: write and all that is like it, and reading but for read, which is in `arrive`. What is taken from a pipe or a counter, or is sent, is so only once:
//! such calls hold always. What says where in a file can be made once more.

use super::number::{of_fcntl, other_process, size_of_ioctl};
use crate::holds::stays;
use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use libc::{iovec, off_t};

crate::holds::wraps! {
    fn pread(fd: c_int, buf: *mut c_void, n: usize, at: off_t) -> isize |h| { h.writes(buf, n) }
    fn pread64(fd: c_int, buf: *mut c_void, n: usize, at: off_t) -> isize |h| { h.writes(buf, n) }
    fn __pread_chk(fd: c_int, buf: *mut c_void, n: usize, at: off_t, room: usize) -> isize |h| { h.writes(buf, n) }
    fn __pread64_chk(fd: c_int, buf: *mut c_void, n: usize, at: off_t, room: usize) -> isize |h| {
        h.writes(buf, n)
    }
    fn write(fd: c_int, buf: *const c_void, n: usize) -> isize |h| { h.reads(buf, n) }
    fn pwrite(fd: c_int, buf: *const c_void, n: usize, at: off_t) -> isize |h| { h.reads(buf, n) }
    fn pwrite64(fd: c_int, buf: *const c_void, n: usize, at: off_t) -> isize |h| { h.reads(buf, n) }
    fn readv(fd: c_int, iov: *const iovec, n: c_int) -> isize |h| if always { h.vectors(iov, n as usize, true) }
    fn writev(fd: c_int, iov: *const iovec, n: c_int) -> isize |h| { h.vectors(iov, n as usize, false) }
    fn preadv(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> isize |h| { h.vectors(iov, n as usize, true) }
    fn preadv64(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> isize |h| { h.vectors(iov, n as usize, true) }
    fn pwritev(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> isize |h| { h.vectors(iov, n as usize, false) }
    fn pwritev64(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> isize |h| {
        h.vectors(iov, n as usize, false)
    }
    fn preadv2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> isize |h| if always {
        h.vectors(iov, n as usize, true)
    }
    fn preadv64v2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> isize |h| if always {
        h.vectors(iov, n as usize, true)
    }
    fn pwritev2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> isize |h| {
        h.vectors(iov, n as usize, false)
    }
    fn pwritev64v2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> isize |h| {
        h.vectors(iov, n as usize, false)
    }
    fn process_vm_readv(
        pid: c_int, local: *const iovec, n: c_ulong, remote: *const iovec, m: c_ulong, flags: c_ulong,
    ) -> isize |h| {
        h.vectors(local, n as usize, true);
        other_process(h, pid, remote, m as usize, false);
    }
    fn process_vm_writev(
        pid: c_int, local: *const iovec, n: c_ulong, remote: *const iovec, m: c_ulong, flags: c_ulong,
    ) -> isize |h| {
        h.vectors(local, n as usize, false);
        other_process(h, pid, remote, m as usize, true);
    }
    fn getrandom(buf: *mut c_void, n: usize, flags: c_uint) -> isize |h| { h.writes(buf, n) }
    fn getentropy(buf: *mut c_void, n: usize) -> c_int |h| { h.writes(buf, n) }
    fn getdents64(fd: c_int, buf: *mut c_void, n: usize) -> isize |h| { h.writes(buf, n) }
    fn getdirentries(fd: c_int, buf: *mut c_char, n: usize, at: *mut off_t) -> isize |h| { h.writes(buf, n) }
    fn getdirentries64(fd: c_int, buf: *mut c_char, n: usize, at: *mut off_t) -> isize |h| { h.writes(buf, n) }
    fn sendfile(to: c_int, from: c_int, at: *mut off_t, n: usize) -> isize |h| if always plain if stays(at, 8) => { h.one(at) }
    fn sendfile64(to: c_int, from: c_int, at: *mut off_t, n: usize) -> isize |h| if always plain if stays(at, 8) => { h.one(at) }
    fn copy_file_range(
        from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, n: usize, flags: c_uint,
    ) -> isize |h| if always plain if stays(from_at, 8) && stays(to_at, 8) => {
        h.one(from_at);
        h.one(to_at);
    }
    fn splice(
        from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, n: usize, flags: c_uint,
    ) -> isize |h| if always plain if stays(from_at, 8) && stays(to_at, 8) => {
        h.one(from_at);
        h.one(to_at);
    }
    fn pipe(fds: *mut c_int) -> c_int |h| { h.writes(fds, 8) }
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int |h| { h.writes(fds, 8) }
    // These two have a variable argument, which is passed as any third argument on x86-64 and aarch64. Only what is
    // managed memory is taken for a pointer.
    fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int |h| if always plain if stays(arg, size_of_ioctl(request)) => {
        h.writes(arg, size_of_ioctl(request))
    }
    fn fcntl(fd: c_int, command: c_int, arg: *mut c_void) -> c_int |h| { h.writes(arg, of_fcntl(command)) }
    fn fcntl64(fd: c_int, command: c_int, arg: *mut c_void) -> c_int |h| { h.writes(arg, of_fcntl(command)) }
}

mod random {
    use crate::names::Real;
    pub static ARC4RANDOM_BUF: Real = Real::new(c"arc4random_buf");
}

/// arc4random_buf(3), which aborts where the kernel can't write. New in glibc 2.36: in older ones, where a program that looks for it
/// finds this, it is the kernel's.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn arc4random_buf(to: *mut c_void, n: usize) {
    let at = random::ARC4RANDOM_BUF.address();
    crate::cancel::deferred(|kind| {
        let fill = || match at {
            0 => fill_by_kernel(to.cast(), n),
            // SAFETY: the function of that name; the arguments are the caller's.
            at => unsafe {
                let f: unsafe extern "C-unwind" fn(*mut c_void, usize) =
                    core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                crate::cancel::as_it_was(kind, || f(to, n));
            },
        };
        crate::holds::around(true, |h| h.writes(to, n), fill, |()| false);
    });
}

/// Random bytes of the kernel's, or none and the end, as the C library has it.
fn fill_by_kernel(to: *mut u8, n: usize) {
    let mut done = 0;
    while done < n {
        let a = [to.wrapping_add(done).expose_provenance(), n - done, 0, 0, 0, 0];
        // SAFETY: as many bytes of the caller's.
        match unsafe { crate::names::bare(libc::SYS_getrandom, a) } {
            answer if answer > 0 => done += answer as usize,
            answer if answer == -(libc::EINTR as isize) => {}
            _ => crate::names::abort_with("arc4random_buf: no random bytes\n"),
        }
    }
}

/// Looks up what is not in the list above.
pub fn resolve_random() {
    random::ARC4RANDOM_BUF.address();
}
