//! Test aid of the feature `inject`: calls to the operating system that fail when a test wants it, `NAME:N[+]=ERRNO`, several
//! with commas: the N-th call of that name (from 1; with `+` all from then on) answers ERRNO and does nothing. `any` counts
//! calls of all names, `FILE.rs:LINE` those that are made there. `mremap:N=gone` fails as the kernel can at its worst: out of
//! memory, with the target unmapped already. Who asks is known by `track_caller`, through the wrappers of `kernel`, `program`, `map`.
//! Asked by `kernel::call`, `program` and `thread` before the kernel is; without the feature neither this file nor the
//! question is compiled. Counters are process-wide atomics, so what signal handlers ask counts too. Signal-safe but for `arm`.

use super::kernel;
use core::ffi::{c_long, c_ulong};
use core::panic::Location;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering::SeqCst};

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
/// Where calls are made: a place of code, how many, and how many of them have failed. In the order in which they came.
struct Site {
    at: AtomicPtr<Location<'static>>,
    slot: AtomicU64,
    calls: AtomicU64,
    failed: AtomicU64,
}

const MOST_SITES: usize = 512;
static SITES: [Site; MOST_SITES] = [const {
    Site {
        at: AtomicPtr::new(core::ptr::null_mut()),
        slot: AtomicU64::new(0),
        calls: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    }
}; MOST_SITES];

/// The site whose calls are to fail: what its file's name ends with, kept for ever, and the line; and of its calls which.
static AT_FILE: AtomicPtr<String> = AtomicPtr::new(core::ptr::null_mut());
static AT_LINE: AtomicU64 = AtomicU64::new(0);
static AT_SITE: Rule = Rule { count: AtomicU64::new(0), at: AtomicU64::new(0), errno: AtomicI32::new(0) };

/// How many calls have failed.
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Counts a call; the error that it is to fail with. Signal-safe.
fn count(rule: &Rule) -> Option<i32> {
    let n = rule.count.fetch_add(1, SeqCst) + 1;
    let at = rule.at.load(SeqCst);
    let due = at != 0 && (n == at || at & FOREVER != 0 && n >= at & !FOREVER);
    due.then(|| rule.errno.load(SeqCst))
}

fn due(slot: usize, at: &'static Location<'static>) -> Option<i32> {
    let (any, own) = (count(&RULES[ANY]), count(&RULES[slot]));
    // SAFETY: null, or a text that is never freed.
    let file = unsafe { AT_FILE.load(SeqCst).as_ref() };
    let is_there =
        |file: &String| AT_LINE.load(SeqCst) == u64::from(at.line()) && at.file().ends_with(&**file);
    let here = if file.is_some_and(is_there) { count(&AT_SITE) } else { None };
    let errno = own.or(here).or(any);
    let site = site(at);
    site.slot.store(slot as u64, SeqCst);
    site.calls.fetch_add(1, SeqCst);
    site.failed.fetch_add(u64::from(errno.is_some()), SeqCst);
    errno.map(refuse)
}

/// The record of a place. Signal-safe.
fn site(at: &'static Location<'static>) -> &'static Site {
    let own = core::ptr::from_ref(at).cast_mut();
    let hash = own.addr() / align_of::<Location<'_>>();
    for i in 0..MOST_SITES {
        let site = &SITES[(hash + i) % MOST_SITES];
        let there = site.at.compare_exchange(core::ptr::null_mut(), own, SeqCst, SeqCst);
        if there.is_ok() || there == Err(own) {
            return site;
        }
    }
    super::stderr::fatal("the table of places is full", at.line() as usize)
}

/// A call fails. Of its own for a debugger to stop at.
#[inline(never)]
fn refuse(errno: i32) -> i32 {
    FAILED.fetch_add(1, SeqCst);
    errno
}

/// Whether the system call is to fail, and with what. Signal-safe.
#[track_caller]
pub(super) fn of_call(number: c_long, a: &[usize; 6]) -> Option<i32> {
    let request = || REQUESTS.iter().position(|r| *r as usize == a[1]).map(|i| CALLS.len() + i);
    let slot =
        if number == libc::SYS_ioctl { request() } else { CALLS.iter().position(|own| *own == number) }?;
    match due(slot, Location::caller())? {
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
#[track_caller]
pub(super) fn of_thread() -> Option<i32> {
    due(THREAD, Location::caller())
}

/// Sets what fails, and starts counting anew. An empty text: nothing. False, and nothing fails, if it is not understood.
pub fn arm(spec: &str) -> bool {
    for rule in RULES.iter().chain([&AT_SITE]) {
        rule.at.store(0, SeqCst);
        rule.count.store(0, SeqCst);
    }
    for site in &SITES {
        site.calls.store(0, SeqCst);
        site.failed.store(0, SeqCst);
    }
    FAILED.store(0, SeqCst);
    let rules: Option<Vec<_>> = spec.split(',').filter(|s| !s.is_empty()).map(parse).collect();
    for (rule, at, errno) in rules.iter().flatten() {
        rule.errno.store(*errno, SeqCst);
        rule.at.store(*at, SeqCst);
    }
    rules.is_some()
}

fn parse(item: &str) -> Option<(&'static Rule, u64, i32)> {
    let (call, errno) = item.split_once('=')?;
    let (name, n) = call.rsplit_once(':')?;
    let rule = match name.rsplit_once(':') {
        Some((file, line)) => {
            AT_LINE.store(line.parse().ok()?, SeqCst);
            AT_FILE.store(Box::into_raw(Box::new(format!("src/{file}"))), SeqCst);
            &AT_SITE
        }
        None => &RULES[NAMES.iter().position(|own| *own == name)?],
    };
    let (n, forever) = n.strip_suffix('+').map_or((n, 0), |n| (n, FOREVER));
    let n: u64 = n.parse().ok().filter(|n| (1..FOREVER).contains(n))?;
    Some((rule, n | forever, if errno == "gone" { GONE } else { errno.parse().ok()? }))
}

/// How many calls of `name` were made since the last [`arm`].
pub fn calls(name: &str) -> u64 {
    NAMES.iter().position(|own| *own == name).map_or(0, |slot| RULES[slot].count.load(SeqCst))
}

/// How many calls have failed since the last [`arm`].
pub fn failed() -> u64 {
    FAILED.load(SeqCst)
}

/// A place of the code that makes calls that can fail.
#[derive(Clone, Debug)]
pub struct Place {
    /// `FILE.rs:LINE`, in the folder of the sources.
    pub at: String,
    /// What it calls: one of [`NAMES`].
    pub name: &'static str,
    /// How many calls it has made since the last [`arm`].
    pub calls: u64,
    /// How many of them have failed.
    pub failed: u64,
}

/// The places that have made calls since the last [`arm`].
pub fn places() -> Vec<Place> {
    let told = |site: &Site| {
        // SAFETY: null, or a place of the code's.
        let at = unsafe { site.at.load(SeqCst).as_ref() }?;
        let file = at.file().rsplit_once("src/").map_or(at.file(), |(_, file)| file);
        let [slot, calls, failed] = [&site.slot, &site.calls, &site.failed].map(|n| n.load(SeqCst));
        (calls > 0).then(|| Place {
            at: format!("{file}:{}", at.line()),
            name: NAMES[slot as usize],
            calls,
            failed,
        })
    };
    SITES.iter().filter_map(told).collect()
}
