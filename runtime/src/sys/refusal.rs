//! Test aid of the feature `inject`: calls to the operating system that fail when a test wants it, `NAME:N[+]=ERRNO`, several
//! with commas: the N-th call of that name (from 1; with `+` all from then on) answers ERRNO and does nothing. `any` counts
//! calls of all names. `mremap:N=gone` fails as the kernel can at its worst: out of memory, with the target unmapped already.
//! Asked by `kernel::call`, `program` and `thread` before the kernel is; without the feature neither this file nor the
//! question is compiled. Counters are process-wide atomics, so what signal handlers ask counts too. Signal-safe but for `arm`.

use super::kernel;
use core::ffi::{c_long, c_ulong};
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

/// The calls that can fail. Requests of ioctl(2) count by what they ask for; `thread` is the start of one.
pub const NAMES: [&str; 23] = [
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "openat",
    "pread64",
    "pwrite64",
    "userfaultfd",
    "fcntl",
    "mlock",
    "PAGEMAP_SCAN",
    "PROCMAP_QUERY",
    "UFFDIO_API",
    "UFFDIO_REGISTER",
    "UFFDIO_UNREGISTER",
    "UFFDIO_COPY",
    "UFFDIO_ZEROPAGE",
    "UFFDIO_MOVE",
    "UFFDIO_WRITEPROTECT",
    "USERFAULTFD_IOC_NEW",
    "thread",
    "any",
];
const ANY: usize = NAMES.len() - 1;

/// System calls by number, in the order of their names.
const CALLS: [c_long; 11] = [
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_userfaultfd,
    libc::SYS_fcntl,
    libc::SYS_mlock,
];
/// Requests of ioctl(2), in the order of the names that follow.
const REQUESTS: [c_ulong; 10] = [
    0xC060_6610,
    0xC068_6611,
    0xC018_AA3F,
    0xC020_AA00,
    0x8010_AA01,
    0xC028_AA03,
    0xC020_AA04,
    0xC028_AA05,
    0xC018_AA06,
    0xAA00,
];
const THREAD: usize = CALLS.len() + REQUESTS.len();
const MREMAP: usize = 3;

const FOREVER: u64 = 1 << 63;
/// Stands for `gone`.
const GONE: i32 = i32::MAX;

struct Rule {
    count: AtomicU64,
    /// 0: never; n: the n-th; n with the top bit: from the n-th on.
    at: AtomicU64,
    errno: AtomicI32,
}

static RULES: [Rule; NAMES.len()] =
    [const { Rule { count: AtomicU64::new(0), at: AtomicU64::new(0), errno: AtomicI32::new(0) } };
        NAMES.len()];
/// How many calls have failed.
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Counts a call; the error that it is to fail with. Signal-safe.
fn count(slot: usize) -> Option<i32> {
    let rule = &RULES[slot];
    let n = rule.count.fetch_add(1, SeqCst) + 1;
    let at = rule.at.load(SeqCst);
    let due = at != 0 && (n == at || at & FOREVER != 0 && n >= at & !FOREVER);
    due.then(|| rule.errno.load(SeqCst))
}

fn due(slot: usize) -> Option<i32> {
    let (any, own) = (count(ANY), count(slot));
    own.or(any).map(refuse)
}

/// A call fails. Of its own for a debugger to stop at.
#[inline(never)]
fn refuse(errno: i32) -> i32 {
    FAILED.fetch_add(1, SeqCst);
    errno
}

/// Whether the system call is to fail, and with what. Signal-safe.
pub(super) fn of_call(number: c_long, a: &[usize; 6]) -> Option<i32> {
    let request = || REQUESTS.iter().position(|r| *r as usize == a[1]).map(|i| CALLS.len() + i);
    let slot =
        if number == libc::SYS_ioctl { request() } else { CALLS.iter().position(|own| *own == number) }?;
    match due(slot)? {
        GONE if slot == MREMAP => {
            // SAFETY: what is there was to be replaced.
            unsafe { kernel::raw(libc::SYS_munmap, [a[4], a[2], 0, 0, 0, 0]) };
            Some(libc::ENOMEM)
        }
        GONE => Some(libc::ENOMEM),
        errno => Some(errno),
    }
}

/// Whether a thread is not to start.
pub(super) fn of_thread() -> Option<i32> {
    due(THREAD)
}

/// Sets what fails, and starts counting anew. An empty text: nothing. False, and nothing fails, if it is not understood.
pub fn arm(spec: &str) -> bool {
    for rule in &RULES {
        rule.at.store(0, SeqCst);
        rule.count.store(0, SeqCst);
    }
    FAILED.store(0, SeqCst);
    let rules: Option<Vec<_>> = spec.split(',').filter(|s| !s.is_empty()).map(parse).collect();
    for (slot, at, errno) in rules.iter().flatten() {
        RULES[*slot].errno.store(*errno, SeqCst);
        RULES[*slot].at.store(*at, SeqCst);
    }
    rules.is_some()
}

fn parse(item: &str) -> Option<(usize, u64, i32)> {
    let (call, errno) = item.split_once('=')?;
    let (name, n) = call.split_once(':')?;
    let slot = NAMES.iter().position(|own| *own == name)?;
    let (n, forever) = n.strip_suffix('+').map_or((n, 0), |n| (n, FOREVER));
    let n: u64 = n.parse().ok().filter(|n| (1..FOREVER).contains(n))?;
    Some((slot, n | forever, if errno == "gone" { GONE } else { errno.parse().ok()? }))
}

/// How many calls of `name` were made since the last [`arm`].
pub fn calls(name: &str) -> u64 {
    NAMES.iter().position(|own| *own == name).map_or(0, |slot| RULES[slot].count.load(SeqCst))
}

/// How many calls have failed since the last [`arm`].
pub fn failed() -> u64 {
    FAILED.load(SeqCst)
}
