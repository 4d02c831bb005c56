//! What the kernel is told of a process and says of it: limits, ids, names, scheduling. Those of POSIX threads answer with the
//! error itself, and hold always, as do those that take something, or tell what was before they have changed it.

use crate::given;
use crate::holds::{self, Holds};
use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{gid_t, pid_t, pthread_t, rlimit, sched_param, siginfo_t, timespec, uid_t};

crate::holds::wraps! {
    fn getrlimit(which: c_int, to: *mut rlimit) -> c_int |h| { h.one(to) }
    fn getrlimit64(which: c_int, to: *mut rlimit) -> c_int |h| { h.one(to) }
    fn setrlimit(which: c_int, from: *const rlimit) -> c_int |h| { h.reads(from, size_of::<rlimit>()) }
    fn setrlimit64(which: c_int, from: *const rlimit) -> c_int |h| { h.reads(from, size_of::<rlimit>()) }
    fn prlimit(pid: pid_t, which: c_int, from: *const rlimit, to: *mut rlimit) -> c_int |h| if always {
        h.one(to);
        h.reads(from, size_of::<rlimit>());
    }
    fn prlimit64(pid: pid_t, which: c_int, from: *const rlimit, to: *mut rlimit) -> c_int |h| if always {
        h.one(to);
        h.reads(from, size_of::<rlimit>());
    }
    fn getgroups(n: c_int, to: *mut gid_t) -> c_int |h| { h.writes(to, n.max(0) as usize * 4) }
    fn __getgroups_chk(n: c_int, to: *mut gid_t, room: usize) -> c_int |h| { h.writes(to, n.max(0) as usize * 4) }
    fn setgroups(n: usize, from: *const gid_t) -> c_int |h| { h.reads(from, n.saturating_mul(4)) }
    fn getresuid(real: *mut uid_t, effective: *mut uid_t, saved: *mut uid_t) -> c_int |h| {
        h.one(real);
        h.one(effective);
        h.one(saved);
    }
    fn getresgid(real: *mut gid_t, effective: *mut gid_t, saved: *mut gid_t) -> c_int |h| {
        h.one(real);
        h.one(effective);
        h.one(saved);
    }
    fn capget(header: *mut c_void, data: *mut c_void) -> c_int |h| {
        h.writes(header, 8);
        h.writes(data, 24);
    }
    fn capset(header: *mut c_void, data: *const c_void) -> c_int |h| {
        h.writes(header, 8);
        h.reads(data, 24);
    }
    fn sethostname(name: *const c_char, n: usize) -> c_int |h| { h.reads(name, n) }
    fn setdomainname(name: *const c_char, n: usize) -> c_int |h| { h.reads(name, n) }
    fn klogctl(what: c_int, to: *mut c_char, n: c_int) -> c_int |h| if always { h.writes(to, n.max(0) as usize) }
    // These are variable arguments, which are passed as any others on x86-64 and aarch64. Never straight: a sandbox is to be seen.
    fn prctl(what: c_int, a: usize, b: usize, c: usize, d: usize) -> c_int |h| plain if false => {
        of_prctl(h, what, [a, b, c, d])
    } then |answer| {
        if what == libc::PR_SET_SECCOMP && answer == 0 {
            holds::confine();
        }
    }
    fn mincore(at: *mut c_void, n: usize, to: *mut u8) -> c_int |h| { h.writes(to, n.div_ceil(4096)) }
    // Likewise.
    fn ptrace(what: c_int, pid: pid_t, at: *mut c_void, data: *mut c_void) -> isize |h| { of_ptrace(h, what, at, data) }
    fn pidfd_send_signal(fd: c_int, signum: c_int, info: *const siginfo_t, flags: c_uint) -> c_int = SYS_pidfd_send_signal |h| {
        h.reads(info, size_of::<siginfo_t>())
    }
    fn init_module(image: *const c_void, n: usize, options: *const c_char) -> c_int |h| {
        h.reads(image, n);
        h.text(options);
    }
    fn sched_getparam(pid: pid_t, to: *mut sched_param) -> c_int |h| { h.one(to) }
    fn sched_setparam(pid: pid_t, from: *const sched_param) -> c_int |h| { h.reads(from, size_of::<sched_param>()) }
    fn sched_setscheduler(pid: pid_t, policy: c_int, from: *const sched_param) -> c_int |h| {
        h.reads(from, size_of::<sched_param>())
    }
    fn sched_rr_get_interval(pid: pid_t, to: *mut timespec) -> c_int |h| { h.one(to) }
    fn sched_setaffinity(pid: pid_t, n: usize, mask: *const c_void) -> c_int |h| { h.reads(mask, n) }
    fn sched_getaffinity(pid: pid_t, n: usize, mask: *mut c_void) -> c_int |h| { h.writes(mask, n) }
    fn pthread_setaffinity_np(thread: pthread_t, n: usize, mask: *const c_void) -> c_int |h| if always { h.reads(mask, n) }
    fn pthread_getaffinity_np(thread: pthread_t, n: usize, mask: *mut c_void) -> c_int |h| if always { h.writes(mask, n) }
    fn pthread_setschedparam(thread: pthread_t, policy: c_int, from: *const sched_param) -> c_int |h| if always {
        h.reads(from, size_of::<sched_param>())
    }
    fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int |h| if always { h.text(name) }
    fn pthread_getname_np(thread: pthread_t, to: *mut c_char, n: usize) -> c_int |h| if always { h.writes(to, n) }
}

/// What prctl(2) reads or writes: most of what it can be asked for is no more than a few words, and not all have all arguments.
pub fn of_prctl(h: &mut Holds, what: c_int, a: [usize; 4]) {
    const PR_SET_VMA: c_int = 0x5356_4d41;
    const PR_SCHED_CORE: c_int = 62;
    let at = core::ptr::with_exposed_provenance::<u8>;
    match what {
        libc::PR_SET_NAME => h.reads(at(a[0]), 16),
        libc::PR_GET_NAME => h.writes(at(a[0]), 16),
        PR_SET_VMA => h.text(at(a[3]).cast()),
        libc::PR_SET_SECCOMP => of_filter(h, at(a[1]).cast()),
        libc::PR_SET_MM => h.writes(at(a[1]), 128),
        PR_SCHED_CORE => h.writes(at(a[3]), 8),
        _ => h.writes(at(a[0]), 64),
    }
}

/// What ptrace(2) reads or writes of this process's: a few registers mostly, or a word.
pub fn of_ptrace(h: &mut Holds, what: c_int, at: *const c_void, data: *const c_void) {
    const SIGNALS: c_uint = 0x4209; // PTRACE_PEEKSIGINFO: from where, how, how many
    match what as c_uint {
        // SAFETY: a vector or NULL, by the program's promise.
        libc::PTRACE_GETREGSET | libc::PTRACE_SETREGSET => unsafe {
            h.writes(data, size_of::<libc::iovec>());
            h.vectors(data.cast(), 1, true);
        },
        SIGNALS => {
            h.reads(at, 16);
            let count = given::read(at.cast::<[i32; 4]>()).map_or(0, |of| of[3].max(0) as usize);
            h.writes(data, count.saturating_mul(size_of::<siginfo_t>()));
        }
        _ => h.writes(data, 512),
    }
}

/// The filter of a sandbox.
pub fn of_filter(h: &mut Holds, program: *const libc::sock_fprog) {
    h.reads(program, size_of::<libc::sock_fprog>());
    if let Some(program) = (!program.is_null()).then(|| given::read(program)).flatten() {
        h.reads(program.filter, program.len as usize * size_of::<libc::sock_filter>());
    }
}

/// What sched_setattr(2) takes: a struct that says its size.
pub fn of_attributes(at: *const c_uint) -> usize {
    const MOST: usize = 4096;
    let size = if at.is_null() { None } else { given::read(at) };
    size.map_or(0, |size| (size as usize).clamp(48, MOST))
}
