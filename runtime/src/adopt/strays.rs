//! Touches of memory that is just ceasing to be managed: away when it was touched, it is the program's own again, or another
//! mapping, when the fault path looks. The kernel would have had the touch wait for the call that does it; so the touch is
//! made again after that. Only once by each thread, for as long as nothing else ceases to be managed: what faults there
//! again is the program's. `begin` and `end` are called under the lock of the adopted ranges; `may_be` by the fault path,
//! with no lock: signal-safe.

use crate::addr::{HostAddr, PAGE};
use crate::sys::{futex, thread};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*, fence};

/// How often adopted pages have begun to be unmanaged, and how often that was over: odd in between.
static CHANGES: AtomicU32 = AtomicU32::new(0);

/// So many touches are remembered: one that is driven out is made again once more, after as many others.
const MOST: usize = 128;
/// Who touched which page at which count, in one word.
static AGAIN: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// How long at a time, and how many times, a touch waits for a change to be over: more than a second, and who makes the change
/// waits for the toucher.
const WAIT_NS: u64 = 100_000;
const WAITS: usize = 10_000;

/// Adopted pages are going to be unmanaged.
pub(super) fn begin() {
    let now = CHANGES.load(Relaxed);
    if now.is_multiple_of(2) {
        CHANGES.store(now.wrapping_add(1), Relaxed);
    }
    fence(SeqCst); // who finds a page unmanaged finds this
}

/// What there was to do with them is done.
pub(super) fn end() {
    let now = CHANGES.load(Relaxed);
    if !now.is_multiple_of(2) {
        CHANGES.store(now.wrapping_add(1), Release);
    }
}

fn word(thread: usize, addr: HostAddr, count: u32) -> u64 {
    let mix = |h: u64, x: usize| (h ^ x as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    [addr.0 / PAGE, count as usize].into_iter().fold(mix(0, thread), mix) | 1
}

/// Whether the touch of a page that is not managed may have met it managed, and is to be made again. Signal-safe.
pub(crate) fn may_be(addr: HostAddr) -> bool {
    fence(SeqCst);
    let now = CHANGES.load(Acquire);
    let touch = word(thread::id(), addr, now);
    if AGAIN.iter().any(|w| w.load(Relaxed) == touch) {
        return false;
    }
    AGAIN[NEXT.fetch_add(1, Relaxed) % MOST].store(touch, Relaxed);
    if !now.is_multiple_of(2) && !super::is_locked_by_me() && !thread::forked() {
        let mut waits = 0;
        while CHANGES.load(Acquire) == now && waits < WAITS {
            futex::wait(&CHANGES, now, Some(WAIT_NS)); // nobody wakes: few wait, and not for long
            waits += 1;
        }
    }
    true
}
