//! Calls in progress that use devices, or send memory to them. Shutdown closes the gate and waits until they have ended: what a
//! call uses is there as long as it runs, and nothing leaves the host behind shutdown's back. Some counts, so that threads
//! seldom meet. API context; `is_closed` is signal-safe.

use crate::sys::thread;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

/// On a cache line of its own, and its neighbour's.
#[repr(align(128))]
struct Count(AtomicUsize);

const COUNTS: usize = 16;
static IN_PROGRESS: [Count; COUNTS] = [const { Count(AtomicUsize::new(0)) }; COUNTS];
static CLOSED: AtomicBool = AtomicBool::new(false);

/// A call in progress, until this is dropped.
pub(crate) struct Call(&'static AtomicUsize);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A call begins, unless the gate is closed.
#[inline]
pub(crate) fn enter() -> Option<Call> {
    let count = &IN_PROGRESS[(thread::id() >> 12) % COUNTS].0;
    count.fetch_add(1, SeqCst);
    let call = Call(count);
    // One of the two sees the other: this call the gate, or who closes it this call.
    (!CLOSED.load(SeqCst)).then_some(call)
}

/// Whether the gate is closed. Who looks with a chunk's lock held, and sends it, does so before shutdown looks at it.
#[inline]
pub(crate) fn is_closed() -> bool {
    CLOSED.load(SeqCst)
}

/// The gate is closed, until this is dropped.
pub(crate) struct Closed(());

impl Drop for Closed {
    fn drop(&mut self) {
        CLOSED.store(false, SeqCst);
    }
}

/// Closes the gate. By one thread at a time.
pub(crate) fn close() -> Closed {
    CLOSED.store(true, SeqCst);
    Closed(())
}

impl Closed {
    /// Waits for the calls in progress, `patience` at most. Whether they have all ended.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(20);
        while IN_PROGRESS.iter().any(|count| count.0.load(SeqCst) != 0) {
            if begun.elapsed() > patience {
                return false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
        }
        true
    }
}
