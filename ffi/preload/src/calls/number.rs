//! System calls by number, as syscall(2) makes them, and every one of a program under `HMMRT_SYSCALLS=trap`: which of the
//! arguments are buffers, and what is to be done around the calls that use them later. Any context: signal-safe but for
//! what io_uring and io_submit need.

use super::{action, aio, arrive, fork, lent, mask, ring};
use crate::holds::{self, Holds};
use crate::{cancel, given, names};
use core::ffi::{c_int, c_long, c_uint, c_ulong};
use hmmrt_core::raw::mapping;
use libc::{EFAULT, iovec};

/// What the kernel has on both architectures and the `libc` crate only on x86-64, or on neither: there, and on aarch64.
const fn either(x86_64: c_long, aarch64: c_long) -> c_long {
    if cfg!(target_arch = "x86_64") { x86_64 } else { aarch64 }
}
/// io_pgetevents(2).
pub const IO_PGETEVENTS: c_long = either(333, 292);
/// renameat(2).
pub const RENAMEAT: c_long = either(264, 38);
/// getrlimit(2).
pub const GETRLIMIT: c_long = either(97, 163);
/// setrlimit(2).
pub const SETRLIMIT: c_long = either(160, 164);

fn at<T>(address: usize) -> *const T {
    core::ptr::with_exposed_provenance(address)
}

/// Whether what the call takes, sends or sets is so when it fails because it can't write its answer: it can't be made once more, and
/// what it uses is held always.
pub fn is_made_once(number: c_long) -> bool {
    matches!(
        number,
        libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_preadv2
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_sendmmsg
            | libc::SYS_sendfile
            | libc::SYS_splice
            | libc::SYS_copy_file_range
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_getsockopt
            | libc::SYS_ioctl
            | libc::SYS_wait4
            | libc::SYS_waitid
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_msgrcv
            | libc::SYS_mq_timedreceive
            | libc::SYS_mq_getsetattr
            | libc::SYS_setitimer
            | libc::SYS_timer_settime
            | libc::SYS_timerfd_settime
            | libc::SYS_prlimit64
            | libc::SYS_syslog
    )
}

/// Whether it puts the program into a sandbox, with that first argument.
fn confines(number: c_long, what: usize) -> bool {
    match number {
        libc::SYS_prctl => what == libc::PR_SET_SECCOMP as usize,
        libc::SYS_seccomp => {
            matches!(what as c_uint, libc::SECCOMP_SET_MODE_STRICT | libc::SECCOMP_SET_MODE_FILTER)
        }
        _ => false,
    }
}

/// Makes the call, with what it needs held on the host. `call` makes it and answers as the kernel does, and so does this.
///
/// # Safety
/// As the system call.
pub unsafe fn perform(number: c_long, a: [usize; 6], call: impl Fn([usize; 6]) -> isize) -> isize {
    let call = |a: [usize; 6]| {
        let answer = call(a);
        if confines(number, a[0]) && answer >= 0 {
            holds::confine();
        }
        answer
    };
    let held = |a: [usize; 6]| {
        // SAFETY: the caller's promise.
        let hold = |h: &mut Holds| unsafe { super::table::hold(h, number, a) };
        holds::around(is_made_once(number), hold, || call(a), |answer| *answer == -(EFAULT as isize))
    };
    // SAFETY: the caller's promise, for each as its manual page has it.
    unsafe {
        match number {
            libc::SYS_io_uring_setup | libc::SYS_io_uring_enter | libc::SYS_io_uring_register => {
                ring::call(number, a, || held(a))
            }
            libc::SYS_vmsplice | libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg => {
                lent::call(number, a, held).unwrap_or_else(|| held(a))
            }
            libc::SYS_io_submit => {
                aio::submitting(a[1], a[2]);
                let answer = held(a);
                aio::submitted(answer, a[1], a[2]);
                answer
            }
            libc::SYS_io_getevents | IO_PGETEVENTS if number == libc::SYS_io_getevents || a[5] == 0 => {
                let answer = held(a);
                aio::reaped(answer, a[3]);
                answer
            }
            libc::SYS_rt_sigprocmask if a[3] == 8 => change_mask(a, mask::change),
            libc::SYS_rt_sigaction => action::by_number(a, call),
            libc::SYS_sigaltstack => mask::alternate_stack(a, call),
            libc::SYS_rt_sigsuspend => with_mask(a, 0, held),
            libc::SYS_ppoll => with_mask(a, 3, held),
            libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => with_mask(a, 4, held),
            libc::SYS_pselect6 | IO_PGETEVENTS if a[5] != 0 => {
                let Some(given) = given::read(at::<[usize; 2]>(a[5])) else { return held(a) };
                let mut inner = a;
                inner[4] = given[0];
                with_mask(inner, 4, |inner| {
                    let pair = [inner[4], given[1]];
                    let answer = held([a[0], a[1], a[2], a[3], a[4], pair.as_ptr().expose_provenance()]);
                    if number == IO_PGETEVENTS {
                        aio::reaped(answer, a[3]);
                    }
                    answer
                })
            }
            _ if fork::copies_memory(number, a) => {
                let hold = |h: &mut Holds| super::table::hold(h, number, a);
                holds::around(
                    false,
                    hold,
                    || fork::forking(fork::shares_files(number, a), || call(a)),
                    |answer| *answer == -(EFAULT as isize),
                )
            }
            libc::SYS_read | libc::SYS_recvfrom | libc::SYS_accept | libc::SYS_accept4 => {
                arrive::by_number(number, a, call).unwrap_or_else(|| held(a))
            }
            _ => mapping_call(number, a).unwrap_or_else(|| held(a)),
        }
    }
}

/// A call about managed memory's mapping, which the runtime makes.
///
/// # Safety
/// As the system call.
unsafe fn mapping_call(number: c_long, a: [usize; 6]) -> Option<isize> {
    let touches = |at: usize, len: usize| mapping::touches(at, len);
    let (flags, fixed) = (a[3] as c_int, libc::MREMAP_FIXED as usize);
    // SAFETY: the caller's promise.
    let answer = unsafe {
        match number {
            libc::SYS_mmap if flags & libc::MAP_FIXED != 0 && touches(a[0], a[1]) => {
                mapping::map_fixed(a[0], a[1], a[2] as c_int, flags, a[4] as c_int, a[5] as i64, false)
            }
            libc::SYS_munmap if touches(a[0], a[1]) => mapping::unmap(a[0], a[1]),
            libc::SYS_mremap if touches(a[0], a[1]) || a[3] & fixed != 0 && touches(a[4], a[2]) => {
                mapping::remap(a[0], a[1], a[2], flags, a[4])
            }
            libc::SYS_mprotect if touches(a[0], a[1]) => mapping::protect(a[0], a[1], a[2] as c_int, None),
            libc::SYS_pkey_mprotect if touches(a[0], a[1]) => {
                mapping::protect(a[0], a[1], a[2] as c_int, Some(flags))
            }
            libc::SYS_madvise if touches(a[0], a[1]) => mapping::advise(a[0], a[1], a[2] as c_int),
            libc::SYS_mlock if touches(a[0], a[1]) => mapping::lock(a[0], a[1], 0),
            libc::SYS_mlock2 if touches(a[0], a[1]) => mapping::lock(a[0], a[1], a[2] as u32),
            libc::SYS_munlock if touches(a[0], a[1]) => mapping::unlock(a[0], a[1]),
            _ => return None,
        }
    };
    Some(answer.map_or_else(|error| -(error as isize), |n| n as isize))
}

/// Makes a call with a mask among its arguments without SIGSEGV and SIGBUS.
///
/// # Safety
/// The argument is NULL or a set of the kernel's.
unsafe fn with_mask(mut a: [usize; 6], which: usize, call: impl FnOnce([usize; 6]) -> isize) -> isize {
    if a[which] == 0 {
        return call(a);
    }
    let Some(set) = given::read(at::<u64>(a[which])) else { return call(a) };
    let set = mask::without_faults(set);
    a[which] = (&raw const set).expose_provenance();
    call(a)
}

/// rt_sigprocmask(2) as the C library makes it.
///
/// # Safety
/// As the system call.
pub unsafe fn change_mask_for_the_c_library(a: [usize; 6]) -> isize {
    // SAFETY: the caller's promise.
    unsafe { change_mask(a, mask::change_for_the_c_library) }
}

/// rt_sigprocmask(2).
///
/// # Safety
/// As the system call.
unsafe fn change_mask(a: [usize; 6], change: fn(c_int, Option<u64>) -> Result<u64, c_int>) -> isize {
    let set = match a[1] {
        0 => None,
        address => match given::read(at::<u64>(address)) {
            None => return -(EFAULT as isize),
            set => set,
        },
    };
    match change(a[0] as c_int, set) {
        Ok(before) if a[2] == 0 || given::write(core::ptr::with_exposed_provenance_mut(a[2]), before) => 0,
        Ok(_) => -(EFAULT as isize), // it is changed all the same, as the kernel does it
        Err(error) => -(error as isize),
    }
}

static SYSCALL: names::Real = names::Real::new(c"syscall");

/// Looks up what this file needs.
pub fn resolve() {
    SYSCALL.address();
}

/// syscall(2). It has variable arguments, which are passed as any others on x86-64 and aarch64.
///
/// # Safety
/// As the system call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let saved = names::errno();
    // SAFETY: the function of that name; the caller's promise. The C library's own call is made, not ours: others may
    // stand before it, too.
    let raw = cancel::deferred(|kind| unsafe {
        let real: unsafe extern "C-unwind" fn(c_long, usize, usize, usize, usize, usize, usize) -> isize =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(SYSCALL.address()));
        perform(number, [a, b, c, d, e, f], |a| {
            match cancel::as_it_was(kind, || real(number, a[0], a[1], a[2], a[3], a[4], a[5])) {
                -1 => -(names::errno() as isize),
                answer => answer,
            }
        })
    });
    names::set_errno(saved);
    names::answer(raw)
}

/// The call of a function that the C library does not have, and its answer.
///
/// # Safety
/// As the system call.
pub unsafe fn by_number(number: c_long, words: &[usize]) -> c_int {
    let mut a = [0; 6];
    a[..words.len()].copy_from_slice(words);
    // SAFETY: the caller's promise.
    let raw = unsafe { perform(number, a, |a| names::bare(number, a)) };
    names::answer(raw) as c_int
}

/// The bytes that an ioctl's argument has: newer requests say it themselves (asm-generic/ioctl.h), the older ones of
/// terminals and sockets have at most this.
pub fn size_of_ioctl(request: c_ulong) -> usize {
    match request >> 16 & 0x3fff {
        0 => 256,
        size => size as usize,
    }
}

/// The bytes of fcntl's argument, for the commands that have a struct.
pub fn of_fcntl(command: c_int) -> usize {
    const F_SETOWN_EX: c_int = 15;
    const F_GETOWNER_UIDS: c_int = 17;
    const F_GET_RW_HINT: c_int = 1035;
    const F_SET_FILE_RW_HINT: c_int = 1038;
    match command {
        libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW => size_of::<libc::flock>(),
        F_SETOWN_EX..=F_GETOWNER_UIDS | F_GET_RW_HINT..=F_SET_FILE_RW_HINT => 8,
        _ => 0,
    }
}

/// The far side of process_vm_*, where it is this process.
///
/// # Safety
/// `remote` is NULL or has `count` valid elements.
pub unsafe fn other_process(h: &mut Holds, pid: c_int, remote: *const iovec, count: usize, write: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if pid == names::process() {
            h.vectors(remote, count, write);
        } else {
            h.reads(remote, count.min(1024) * size_of::<iovec>());
        }
    }
}
