//! The gate that a fork closes against what would leave the host: from the time on at which all is copied home, until the
//! child is there. Whoever sends looks with the chunk's lock held, and waits without it ([`Blocker::Fork`](crate::blocker)).
//! Several threads may fork at once; none waits for itself, and nobody for ever. Signal-safe.

use crate::sys::{clock, futex, thread};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

/// A thread that forks.
struct Closer {
    thread: AtomicUsize,
    /// Until when others wait: a handler of the program's that takes longer may wait for one of them.
    until: AtomicU64,
}

/// More threads than these do not fork at once; what they would is copied home late, or missed by their children.
const MOST: usize = 16;
static CLOSERS: [Closer; MOST] =
    [const { Closer { thread: AtomicUsize::new(0), until: AtomicU64::new(u64::MAX) } }; MOST];
/// How many have closed it, or are about to: each launch looks here.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// How often it was opened.
static OPENED: AtomicU32 = AtomicU32::new(0);

const SLICE_NS: u64 = 20_000_000;

/// Closes it, until this thread opens it. Whether there was room to remember that.
pub(crate) fn close() -> bool {
    let me = thread::id();
    COUNT.fetch_add(1, SeqCst);
    let closed = CLOSERS.iter().any(|c| c.thread.compare_exchange(0, me, SeqCst, Relaxed).is_ok());
    if !closed {
        COUNT.fetch_sub(1, SeqCst);
    }
    closed
}

/// From now on others' handlers run, and those who wait here do so for `patience_ns` at most.
pub(crate) fn let_others_run(patience_ns: u64) {
    if let Some(c) = mine() {
        c.until.store(clock::now_ns() + patience_ns, SeqCst);
    }
}

/// Opens it again, as far as it was this thread that closed it.
pub(crate) fn open() {
    if let Some(c) = mine() {
        c.until.store(u64::MAX, SeqCst); // the next one's time has not begun
        c.thread.store(0, SeqCst);
        COUNT.fetch_sub(1, SeqCst);
        OPENED.fetch_add(1, SeqCst);
        futex::wake(&OPENED, i32::MAX);
    }
}

fn mine() -> Option<&'static Closer> {
    let me = thread::id();
    CLOSERS.iter().find(|c| c.thread.load(Relaxed) == me)
}

/// Whether this thread has closed it.
pub(crate) fn is_mine() -> bool {
    mine().is_some()
}

/// Whether it is closed for this thread. One of the two sees the other: this thread, which has the chunk's lock, the gate, or
/// who closes it that the lock is held.
pub(crate) fn is_closed() -> bool {
    if COUNT.load(SeqCst) == 0 || is_mine() {
        return false;
    }
    let now = clock::now_ns();
    CLOSERS.iter().any(|c| c.thread.load(SeqCst) != 0 && now < c.until.load(Relaxed))
}

/// Waits until somebody opens it, or a moment.
pub(crate) fn wait() {
    let seen = OPENED.load(SeqCst);
    if is_closed() {
        futex::wait(&OPENED, seen, Some(SLICE_NS));
    }
}
