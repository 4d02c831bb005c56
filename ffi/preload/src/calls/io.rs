//! Files and descriptors: read, write and all that is like them.

use core::ffi::{c_int, c_long, c_uint, c_ulong, c_void};
use libc::{iovec, off_t};

crate::holds::wraps! {
    fn read(fd: c_int, buf: *mut c_void, n: usize) -> isize |h| { h.writes(buf, n) }
    fn __read_chk(fd: c_int, buf: *mut c_void, n: usize, room: usize) -> isize |h| { h.writes(buf, n) }
    fn pread(fd: c_int, buf: *mut c_void, n: usize, at: off_t) -> isize |h| { h.writes(buf, n) }
    fn pread64(fd: c_int, buf: *mut c_void, n: usize, at: off_t) -> isize |h| { h.writes(buf, n) }
    fn __pread_chk(fd: c_int, buf: *mut c_void, n: usize, at: off_t, room: usize) -> isize |h| { h.writes(buf, n) }
    fn __pread64_chk(fd: c_int, buf: *mut c_void, n: usize, at: off_t, room: usize) -> isize |h| {
        h.writes(buf, n)
    }
    fn write(fd: c_int, buf: *const c_void, n: usize) -> isize |h| { h.reads(buf, n) }
    fn pwrite(fd: c_int, buf: *const c_void, n: usize, at: off_t) -> isize |h| { h.reads(buf, n) }
    fn pwrite64(fd: c_int, buf: *const c_void, n: usize, at: off_t) -> isize |h| { h.reads(buf, n) }
    fn readv(fd: c_int, iov: *const iovec, n: c_int) -> isize |h| { h.vectors(iov, n as usize, true) }
    fn writev(fd: c_int, iov: *const iovec, n: c_int) -> isize |h| { h.vectors(iov, n as usize, false) }
    fn preadv(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> isize |h| { h.vectors(iov, n as usize, true) }
    fn preadv64(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> isize |h| { h.vectors(iov, n as usize, true) }
    fn pwritev(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> isize |h| { h.vectors(iov, n as usize, false) }
    fn pwritev64(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> isize |h| {
        h.vectors(iov, n as usize, false)
    }
    fn preadv2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> isize |h| {
        h.vectors(iov, n as usize, true)
    }
    fn preadv64v2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> isize |h| {
        h.vectors(iov, n as usize, true)
    }
    fn pwritev2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> isize |h| {
        h.vectors(iov, n as usize, false)
    }
    fn pwritev64v2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> isize |h| {
        h.vectors(iov, n as usize, false)
    }
    fn vmsplice(fd: c_int, iov: *const iovec, n: usize, flags: c_uint) -> isize |h| { h.vectors(iov, n, true) }
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
    fn sendfile(to: c_int, from: c_int, at: *mut off_t, n: usize) -> isize |h| { h.one(at) }
    fn sendfile64(to: c_int, from: c_int, at: *mut off_t, n: usize) -> isize |h| { h.one(at) }
    fn copy_file_range(
        from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, n: usize, flags: c_uint,
    ) -> isize |h| {
        h.one(from_at);
        h.one(to_at);
    }
    fn splice(
        from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, n: usize, flags: c_uint,
    ) -> isize |h| {
        h.one(from_at);
        h.one(to_at);
    }
    fn pipe(fds: *mut c_int) -> c_int |h| { h.writes(fds, 8) }
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int |h| { h.writes(fds, 8) }
    // These two have a variable argument, which is passed as any third argument on x86-64 and aarch64. Only what is
    // managed memory is taken for a pointer.
    fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int |h| { h.writes(arg, size_of_ioctl(request)) }
    fn fcntl(fd: c_int, command: c_int, arg: *mut c_void) -> c_int |h| { h.writes(arg, of_fcntl(command)) }
    fn fcntl64(fd: c_int, command: c_int, arg: *mut c_void) -> c_int |h| { h.writes(arg, of_fcntl(command)) }
    // As above, with what the frequent ones do.
    fn syscall(
        number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize,
    ) -> isize |h| { by_number(h, number, [a, b, c, d, e, f]) }
}

/// The bytes that an ioctl's argument has: newer requests say it themselves (asm-generic/ioctl.h), the older ones of
/// terminals and sockets have at most this.
fn size_of_ioctl(request: c_ulong) -> usize {
    match request >> 16 & 0x3fff {
        0 => 256,
        size => size as usize,
    }
}

/// The bytes of fcntl's argument, for the commands that have a struct.
fn of_fcntl(command: c_int) -> usize {
    const F_SETOWN_EX: c_int = 15;
    const F_GETOWN_EX: c_int = 16;
    const F_GET_RW_HINT: c_int = 1035;
    const F_SET_FILE_RW_HINT: c_int = 1038;
    match command {
        libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW => size_of::<libc::flock>(),
        F_SETOWN_EX | F_GETOWN_EX | F_GET_RW_HINT..=F_SET_FILE_RW_HINT => 8,
        _ => 0,
    }
}

/// The far side of process_vm_*, where it is this process.
///
/// # Safety
/// `remote` is NULL or has `count` valid elements.
unsafe fn other_process(
    h: &mut crate::holds::Holds,
    pid: c_int,
    remote: *const iovec,
    count: usize,
    write: bool,
) {
    // SAFETY: the caller's promise; getpid has no preconditions.
    unsafe {
        if pid == libc::getpid() {
            h.vectors(remote, count, write);
        } else {
            h.reads(remote, count.min(1024) * size_of::<iovec>());
        }
    }
}

/// syscall(2) by number: what programs and other languages' libraries call that way.
fn by_number(h: &mut crate::holds::Holds, number: c_long, a: [usize; 6]) {
    let ptr = core::ptr::with_exposed_provenance::<u8>;
    match number {
        libc::SYS_read | libc::SYS_pread64 | libc::SYS_getdents64 => h.writes(ptr(a[1]), a[2]),
        libc::SYS_write | libc::SYS_pwrite64 => h.reads(ptr(a[1]), a[2]),
        libc::SYS_getrandom => h.writes(ptr(a[0]), a[1]),
        libc::SYS_futex => h.writes(ptr(a[0]), 4),
        _ => {}
    }
}
