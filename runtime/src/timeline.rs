//! A stream's timeline: how far it has come, and who waits for that. Backends say what is reached; the fault path waits,
//! holding nothing. Signal-safe. `models/` explores this very file with loom.

use crate::atomic::{AtomicU32, AtomicU64, Ordering::*};
use crate::sys::futex;
use crate::trace::{self, What};

/// How far a stream has come: a number that only grows, and threads waiting for it.
#[derive(Default)]
pub(crate) struct Timeline {
    reached: AtomicU64,
    changes: AtomicU32,
    waiters: AtomicU32,
}

impl Timeline {
    crate::atomic::const_fn! {
        /// One that has come nowhere.
        pub(crate) fn new() -> Timeline {
            Timeline { reached: AtomicU64::new(0), changes: AtomicU32::new(0), waiters: AtomicU32::new(0) }
        }
    }
    /// The work up to `ticket` is done: called by the backend, in order. Signal-safe.
    pub(crate) fn reach(&self, ticket: u64) {
        trace::record(|| What::Reached { stream: self.number(), ticket });
        self.reached.fetch_max(ticket, SeqCst);
        self.changes.fetch_add(1, SeqCst);
        if self.waiters.load(SeqCst) != 0 {
            futex::wake(&self.changes, i32::MAX);
        }
    }
    /// Whether `ticket` is done. Signal-safe.
    pub(crate) fn has_reached(&self, ticket: u64) -> bool {
        self.reached.load(SeqCst) >= ticket
    }
    /// Waits until `ticket` is done: spins about 10 us, then sleeps. Signal-safe.
    pub(crate) fn wait(&self, ticket: u64) {
        for _ in 0..crate::atomic::spins(500) {
            if self.has_reached(ticket) {
                return;
            }
            core::hint::spin_loop();
        }
        self.waiters.fetch_add(1, SeqCst);
        loop {
            let seen = self.changes.load(SeqCst);
            if self.has_reached(ticket) {
                break;
            }
            futex::wait(&self.changes, seen, None);
        }
        self.waiters.fetch_sub(1, SeqCst);
    }
}
