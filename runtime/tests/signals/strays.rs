//! Touches of adopted memory that ceases to be managed at that moment, and of such that has: the former are nobody's fault, the
//! latter the program's.

use super::common::Rng;
use super::{INFO, install, seen, with_info};
use hmmrt::Advice;
use hmmrt::raw::{self, HMM_HOST, mapping};
use std::sync::atomic::{AtomicUsize, Ordering::*};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
const LEN: usize = 8 * MIB;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

fn word(at: usize) -> *mut u64 {
    std::ptr::with_exposed_provenance_mut(at)
}

fn fill(at: usize) {
    // SAFETY: mapped, writable.
    (0..LEN).step_by(PAGE).for_each(|i| unsafe { word(at + i).write_volatile(i as u64 + 1) });
}

/// Adopted memory, each page with a word of its own, all of it on a device.
fn away() -> usize {
    // SAFETY: a mapping of our own.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), LEN, RW, ANON, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    let at = at.expose_provenance();
    mapping::prepare().unwrap();
    // SAFETY: a new mapping.
    assert!(unsafe { mapping::adopt(at, LEN, RW) });
    fill(at);
    raw::migrate(word(at).cast(), LEN, 0).unwrap();
    at
}

/// A thread reads from the last page to the first, one by one, what `end` ends from the first to the last.
fn beside(rounds: usize, allowed: fn(u64, usize) -> bool, end: impl Fn(usize)) {
    const OVER: usize = 1;
    static AT: AtomicUsize = AtomicUsize::new(0);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    // By default a touch whose page is there when it is made again would go on.
    [libc::SIGSEGV, libc::SIGBUS].iter().for_each(|sig| install(*sig, with_info as *const () as usize, INFO));
    std::thread::scope(|s| {
        s.spawn(|| {
            loop {
                match AT.load(Acquire) {
                    OVER => return,
                    0 => std::thread::yield_now(),
                    at => {
                        for i in (0..LEN).step_by(PAGE).rev() {
                            // SAFETY: mapped until the other thread sees the zero.
                            let value = unsafe { word(at + i).read_volatile() };
                            assert!(allowed(value, i), "{value} in page {}", i / PAGE);
                            SEEN.fetch_add(1, Relaxed);
                        }
                        AT.store(0, Release);
                    }
                }
            }
        });
        let mut rng = Rng(0xF00D);
        for _ in 0..rounds {
            let at = away();
            raw::advise(word(at).cast(), LEN, Advice::Random, HMM_HOST).unwrap();
            let (seen, some) = (SEEN.load(Relaxed), rng.below(LEN / PAGE / 2));
            AT.store(at, Release);
            while SEEN.load(Relaxed) - seen < some {
                std::hint::spin_loop();
            }
            end(at);
            while AT.load(Acquire) != 0 {
                std::thread::yield_now();
            }
            // SAFETY: memory of the test's, not used any more.
            unsafe { mapping::unmap(at, LEN).unwrap() };
        }
        AT.store(OVER, Release);
    });
    assert_eq!(seen().0, 0, "the program was told of a touch");
}

/// Catches: who touches a page that comes home because it is not to be managed any more gets a segfault.
pub fn leaving() {
    let same = |value: u64, i: usize| value == i as u64 + 1;
    beside(60, same, |at| {
        // SAFETY: advice.
        unsafe { mapping::advise(at, LEN, libc::MADV_DONTFORK).unwrap() };
    });
}

/// Catches: who touches a page while another mapping is put there finds neither.
pub fn replaced() {
    let either = |value: u64, i: usize| value == 0 || value == i as u64 + 1;
    beside(40, either, |at| {
        // SAFETY: memory of the test's.
        unsafe { mapping::map_fixed(at, LEN, RW, ANON | libc::MAP_FIXED, -1, 0, true).unwrap() };
    });
}

const GUARD_INSTALL: i32 = 102;

extern "C" fn opens(sig: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    with_info(sig, info, context);
    // SAFETY: the page that was touched, of the test's.
    unsafe {
        let page = (*info).si_addr().map_addr(|a| a & !(PAGE - 1));
        if (*info).si_code == 1 {
            libc::mmap(page, PAGE, RW, ANON | libc::MAP_FIXED, -1, 0);
        } else {
            libc::mprotect(page, PAGE, RW);
        }
    }
}

/// Catches: segfaults of the program's that are taken for touches of before, told twice, or with another address or code.
pub fn left() {
    install(libc::SIGSEGV, opens as *const () as usize, INFO);
    let at = away();
    // SAFETY: memory of the test's.
    unsafe { mapping::advise(at, 4 * MIB, libc::MADV_DONTFORK).unwrap() };
    let mut count = 0;
    let mut faults = |offset: usize, code: usize| {
        // SAFETY: faults, and the handler sees to it that it can go on.
        unsafe { word(at + offset).write_volatile(7) };
        count += 1;
        assert_eq!(seen(), (count, at + offset, code), "at {offset:#x}");
    };
    // SAFETY: pages of the test's.
    unsafe {
        for _ in 0..3 {
            for page in [5, 6, 700] {
                libc::mprotect(word(at + page * PAGE).cast(), PAGE, libc::PROT_READ);
                faults(page * PAGE + 24, 2);
                libc::mprotect(word(at + page * PAGE).cast(), PAGE, 0);
                faults(page * PAGE + 8, 2);
            }
        }
        if libc::madvise(word(at + 9 * PAGE).cast(), PAGE, GUARD_INSTALL) == 0 {
            faults(9 * PAGE, 1); // its mapping says that it is open
        }
        if mapping::advise(at + 4 * MIB, 2 * PAGE, GUARD_INSTALL).is_ok() {
            faults(4 * MIB, 1);
            faults(4 * MIB + PAGE + 16, 1);
        }
        mapping::unmap(at + 5 * MIB, MIB).unwrap();
        faults(5 * MIB + 8, 1);
        faults(6 * MIB - 8, 1);
        assert_eq!(word(at + 7 * MIB).read_volatile(), 7 * MIB as u64 + 1);
        // Some are at other memory's expense, whose end is no reason to ask again and again.
        for _ in 0..3 {
            libc::mprotect(word(at + 5 * PAGE).cast(), PAGE, libc::PROT_READ);
            mapping::unmap(away(), LEN).unwrap();
            faults(5 * PAGE + 24, 2);
        }
    }
}
