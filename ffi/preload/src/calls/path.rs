//! What takes the name of a file, and what says something of one.

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use libc::{
    FILE, dev_t, gid_t, mode_t, off_t, stat as Stat, statfs as Statfs, statvfs as Statvfs, timespec, timeval,
    uid_t,
};

crate::holds::wraps! {
    // The mode is a variable argument, which is passed as any other on x86-64 and aarch64.
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int |h| { h.text(path) }
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int |h| { h.text(path) }
    fn __open_2(path: *const c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn __open64_2(path: *const c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn openat(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int |h| { h.text(path) }
    fn openat64(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int |h| { h.text(path) }
    fn __openat_2(at: c_int, path: *const c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn __openat64_2(at: c_int, path: *const c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn creat(path: *const c_char, mode: mode_t) -> c_int |h| { h.text(path) }
    fn creat64(path: *const c_char, mode: mode_t) -> c_int |h| { h.text(path) }
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE |h| { h.text(path) }
    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE |h| { h.text(path) }
    fn freopen(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE |h| { h.text(path) }
    fn freopen64(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE |h| { h.text(path) }
    fn opendir(path: *const c_char) -> *mut c_void |h| { h.text(path) }
    fn access(path: *const c_char, mode: c_int) -> c_int |h| { h.text(path) }
    fn eaccess(path: *const c_char, mode: c_int) -> c_int |h| { h.text(path) }
    fn euidaccess(path: *const c_char, mode: c_int) -> c_int |h| { h.text(path) }
    fn faccessat(at: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int |h| { h.text(path) }
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int |h| { h.text(path) }
    fn mkdirat(at: c_int, path: *const c_char, mode: mode_t) -> c_int |h| { h.text(path) }
    fn mkfifo(path: *const c_char, mode: mode_t) -> c_int |h| { h.text(path) }
    fn mkfifoat(at: c_int, path: *const c_char, mode: mode_t) -> c_int |h| { h.text(path) }
    fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int |h| { h.text(path) }
    fn mknodat(at: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int |h| { h.text(path) }
    fn mkstemp(path: *mut c_char) -> c_int |h| { h.text(path) }
    fn mkostemp(path: *mut c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn mkstemp64(path: *mut c_char) -> c_int |h| { h.text(path) }
    fn mkostemp64(path: *mut c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn mkstemps(path: *mut c_char, behind: c_int) -> c_int |h| { h.text(path) }
    fn mkstemps64(path: *mut c_char, behind: c_int) -> c_int |h| { h.text(path) }
    fn mkostemps(path: *mut c_char, behind: c_int, flags: c_int) -> c_int |h| { h.text(path) }
    fn mkostemps64(path: *mut c_char, behind: c_int, flags: c_int) -> c_int |h| { h.text(path) }
    fn mkdtemp(path: *mut c_char) -> *mut c_char |h| { h.text(path) }
    fn rmdir(path: *const c_char) -> c_int |h| { h.text(path) }
    fn unlink(path: *const c_char) -> c_int |h| { h.text(path) }
    fn unlinkat(at: c_int, path: *const c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn remove(path: *const c_char) -> c_int |h| { h.text(path) }
    fn rename(from: *const c_char, to: *const c_char) -> c_int |h| {
        h.text(from);
        h.text(to);
    }
    fn renameat(a: c_int, from: *const c_char, b: c_int, to: *const c_char) -> c_int |h| {
        h.text(from);
        h.text(to);
    }
    fn renameat2(a: c_int, from: *const c_char, b: c_int, to: *const c_char, flags: c_uint) -> c_int |h| {
        h.text(from);
        h.text(to);
    }
    fn link(from: *const c_char, to: *const c_char) -> c_int |h| {
        h.text(from);
        h.text(to);
    }
    fn linkat(a: c_int, from: *const c_char, b: c_int, to: *const c_char, flags: c_int) -> c_int |h| {
        h.text(from);
        h.text(to);
    }
    fn symlink(from: *const c_char, to: *const c_char) -> c_int |h| {
        h.text(from);
        h.text(to);
    }
    fn symlinkat(from: *const c_char, at: c_int, to: *const c_char) -> c_int |h| {
        h.text(from);
        h.text(to);
    }
    fn chdir(path: *const c_char) -> c_int |h| { h.text(path) }
    fn chmod(path: *const c_char, mode: mode_t) -> c_int |h| { h.text(path) }
    fn fchmodat(at: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int |h| { h.text(path) }
    fn chown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int |h| { h.text(path) }
    fn lchmod(path: *const c_char, mode: mode_t) -> c_int |h| { h.text(path) }
    fn lchown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int |h| { h.text(path) }
    fn fchownat(at: c_int, path: *const c_char, uid: uid_t, gid: gid_t, flags: c_int) -> c_int |h| { h.text(path) }
    fn ftok(path: *const c_char, project: c_int) -> c_int |h| { h.text(path) }
    fn pathconf(path: *const c_char, name: c_int) -> isize |h| { h.text(path) }
    fn truncate(path: *const c_char, len: off_t) -> c_int |h| { h.text(path) }
    fn truncate64(path: *const c_char, len: off_t) -> c_int |h| { h.text(path) }
    fn utimensat(at: c_int, path: *const c_char, time: *const timespec, flags: c_int) -> c_int |h| {
        h.text(path);
        h.reads(time, 32);
    }
    fn futimens(fd: c_int, time: *const timespec) -> c_int |h| { h.reads(time, 32) }
    fn utime(path: *const c_char, time: *const c_void) -> c_int |h| { h.text(path) }
    fn utimes(path: *const c_char, time: *const timeval) -> c_int |h| { h.text(path) }
    fn lutimes(path: *const c_char, time: *const timeval) -> c_int |h| { h.text(path) }
    fn futimesat(at: c_int, path: *const c_char, time: *const timeval) -> c_int |h| {
        h.text(path);
        h.reads(time, 32);
    }
    fn readlink(path: *const c_char, buf: *mut c_char, n: usize) -> isize |h| {
        h.text(path);
        h.writes(buf, n);
    }
    fn __readlink_chk(path: *const c_char, buf: *mut c_char, n: usize, room: usize) -> isize |h| {
        h.text(path);
        h.writes(buf, n);
    }
    fn readlinkat(at: c_int, path: *const c_char, buf: *mut c_char, n: usize) -> isize |h| {
        h.text(path);
        h.writes(buf, n);
    }
    fn __readlinkat_chk(at: c_int, path: *const c_char, buf: *mut c_char, n: usize, room: usize) -> isize |h| {
        h.text(path);
        h.writes(buf, n);
    }
    fn realpath(path: *const c_char, buf: *mut c_char) -> *mut c_char |h| {
        h.text(path);
        h.writes(buf, if buf.is_null() { 0 } else { 4096 });
    }
    fn getcwd(buf: *mut c_char, n: usize) -> *mut c_char |h| { h.writes(buf, n) }
    fn __getcwd_chk(buf: *mut c_char, n: usize, room: usize) -> *mut c_char |h| { h.writes(buf, n) }
    fn stat(path: *const c_char, to: *mut Stat) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn stat64(path: *const c_char, to: *mut Stat) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn lstat(path: *const c_char, to: *mut Stat) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn lstat64(path: *const c_char, to: *mut Stat) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn fstat(fd: c_int, to: *mut Stat) -> c_int |h| { h.one(to) }
    fn fstat64(fd: c_int, to: *mut Stat) -> c_int |h| { h.one(to) }
    fn fstatat(at: c_int, path: *const c_char, to: *mut Stat, flags: c_int) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn fstatat64(at: c_int, path: *const c_char, to: *mut Stat, flags: c_int) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn statx(at: c_int, path: *const c_char, flags: c_int, mask: c_uint, to: *mut libc::statx) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn statfs(path: *const c_char, to: *mut Statfs) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn statfs64(path: *const c_char, to: *mut Statfs) -> c_int |h| {
        h.text(path);
        h.one(to);
    }
    fn fstatfs(fd: c_int, to: *mut Statfs) -> c_int |h| { h.one(to) }
    fn fstatfs64(fd: c_int, to: *mut Statfs) -> c_int |h| { h.one(to) }
    fn statvfs(path: *const c_char, to: *mut Statvfs) -> c_int |h| { h.text(path) }
    fn statvfs64(path: *const c_char, to: *mut Statvfs) -> c_int |h| { h.text(path) }
    fn getxattr(path: *const c_char, name: *const c_char, to: *mut c_void, n: usize) -> isize |h| {
        h.text(path);
        h.text(name);
        h.writes(to, n);
    }
    fn lgetxattr(path: *const c_char, name: *const c_char, to: *mut c_void, n: usize) -> isize |h| {
        h.text(path);
        h.text(name);
        h.writes(to, n);
    }
    fn fgetxattr(fd: c_int, name: *const c_char, to: *mut c_void, n: usize) -> isize |h| {
        h.text(name);
        h.writes(to, n);
    }
    fn setxattr(path: *const c_char, name: *const c_char, from: *const c_void, n: usize, flags: c_int) -> c_int |h| {
        h.text(path);
        h.text(name);
        h.reads(from, n);
    }
    fn lsetxattr(path: *const c_char, name: *const c_char, from: *const c_void, n: usize, flags: c_int) -> c_int |h| {
        h.text(path);
        h.text(name);
        h.reads(from, n);
    }
    fn fsetxattr(fd: c_int, name: *const c_char, from: *const c_void, n: usize, flags: c_int) -> c_int |h| {
        h.text(name);
        h.reads(from, n);
    }
    fn listxattr(path: *const c_char, to: *mut c_char, n: usize) -> isize |h| {
        h.text(path);
        h.writes(to, n);
    }
    fn llistxattr(path: *const c_char, to: *mut c_char, n: usize) -> isize |h| {
        h.text(path);
        h.writes(to, n);
    }
    fn flistxattr(fd: c_int, to: *mut c_char, n: usize) -> isize |h| { h.writes(to, n) }
    fn removexattr(path: *const c_char, name: *const c_char) -> c_int |h| {
        h.text(path);
        h.text(name);
    }
    fn lremovexattr(path: *const c_char, name: *const c_char) -> c_int |h| {
        h.text(path);
        h.text(name);
    }
    fn fremovexattr(fd: c_int, name: *const c_char) -> c_int |h| { h.text(name) }
    fn name_to_handle_at(
        at: c_int, path: *const c_char, handle: *mut c_uint, mount: *mut c_int, flags: c_int,
    ) -> c_int |h| {
        h.text(path);
        h.writes(handle, of_handle(handle));
        h.one(mount);
    }
    fn open_by_handle_at(mount: c_int, handle: *mut c_uint, flags: c_int) -> c_int |h| {
        h.writes(handle, of_handle(handle))
    }
    fn fanotify_mark(fd: c_int, flags: c_uint, mask: u64, at: c_int, path: *const c_char) -> c_int |h| { h.text(path) }
    fn chroot(path: *const c_char) -> c_int |h| { h.text(path) }
    fn pivot_root(root: *const c_char, old: *const c_char) -> c_int |h| {
        h.text(root);
        h.text(old);
    }
    fn mount(
        from: *const c_char, path: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void,
    ) -> c_int |h| {
        h.text(from);
        h.text(path);
        h.text(kind);
        h.reads(data, 4096);
    }
    fn umount(path: *const c_char) -> c_int |h| { h.text(path) }
    fn umount2(path: *const c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn move_mount(from: c_int, path: *const c_char, to: c_int, to_path: *const c_char, flags: c_uint) -> c_int |h| {
        h.text(path);
        h.text(to_path);
    }
    fn fspick(at: c_int, path: *const c_char, flags: c_uint) -> c_int |h| { h.text(path) }
    fn mount_setattr(at: c_int, path: *const c_char, flags: c_uint, what: *const c_void, n: usize) -> c_int = SYS_mount_setattr |h| {
        h.text(path);
        h.reads(what, n);
    }
    fn fsopen(name: *const c_char, flags: c_uint) -> c_int = SYS_fsopen |h| { h.text(name) }
    fn fsconfig(fd: c_int, command: c_uint, key: *const c_char, value: *const c_void, aux: c_int) -> c_int = SYS_fsconfig |h| {
        of_option(h, command, key, value, aux)
    }
    // The C library makes do with another folder if it can't look at this one.
    fn tempnam(folder: *const c_char, prefix: *const c_char) -> *mut c_char |h| { h.text(folder) }
    fn pututxline(what: *const libc::utmpx) -> *mut libc::utmpx |h| { h.reads(what, size_of::<libc::utmpx>()) }
    fn pututline(what: *const libc::utmpx) -> *mut libc::utmpx |h| { h.reads(what, size_of::<libc::utmpx>()) }
    fn open_tree(at: c_int, path: *const c_char, flags: c_uint) -> c_int |h| { h.text(path) }
    // What the last argument is, a path or a struct, the command says.
    fn quotactl(command: c_int, device: *const c_char, id: c_int, what: *mut c_char) -> c_int |h| {
        h.text(device);
        h.writes(what, 4096);
    }
    fn acct(path: *const c_char) -> c_int |h| { h.text(path) }
    fn swapon(path: *const c_char, flags: c_int) -> c_int |h| { h.text(path) }
    fn swapoff(path: *const c_char) -> c_int |h| { h.text(path) }
    fn setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE |h| { h.text(path) }
    fn inotify_add_watch(fd: c_int, path: *const c_char, mask: c_uint) -> c_int |h| { h.text(path) }
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int |h| { h.text(name) }
    fn shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int |h| { h.text(name) }
}

/// The bytes of a file's handle, which says how long it is.
pub fn of_handle(at: *const c_uint) -> usize {
    const HEAD: usize = 8;
    const MOST: usize = 128;
    let len = if at.is_null() { None } else { crate::given::read(at) };
    len.map_or(0, |len| HEAD + (len as usize).min(MOST))
}

/// What fsconfig(2) takes: a number, a text, a path or bytes, as its command says.
pub fn of_option(
    h: &mut crate::holds::Holds,
    command: c_uint,
    key: *const c_char,
    value: *const c_void,
    aux: c_int,
) {
    const STRING: c_uint = 1;
    const BINARY: c_uint = 2;
    const EMPTY_PATH: c_uint = 4;
    h.text(key);
    match command {
        BINARY => h.reads(value, aux.max(0) as usize),
        STRING..=EMPTY_PATH => h.text(value.cast()),
        _ => {}
    }
}
