//! How many chunks of a block are ready on each device, counted: see `block`. Changed by the chunk guards; read without a lock by
//! acquire. Signal-safe. `models/` explores this very file with loom.

use crate::atomic::{AtomicU32, Ordering::*};
use crate::device::MAX_DEVICES;

/// The counts.
#[derive(Default)]
pub(crate) struct Summary {
    chunks: AtomicU32,
    changing: AtomicU32,
    /// Odd: the chunks that are to count in it all do, and none comes or goes until it changes.
    links: AtomicU32,
    to_look_at: AtomicU32,
    ready: [AtomicU32; MAX_DEVICES],
    owned: [AtomicU32; MAX_DEVICES],
}

impl Summary {
    /// How many chunks count in it.
    pub(crate) fn chunks(&self) -> u32 {
        self.chunks.load(SeqCst)
    }
    /// All chunks that are to count in it do, and stay until [`Summary::part`].
    pub(crate) fn join(&self) {
        debug_assert!(!self.is_joined());
        self.links.fetch_add(1, SeqCst);
    }
    /// Chunks are about to leave it: from here on, whatever the counts are meanwhile and whose they are next, nothing is ready.
    pub(crate) fn part(&self) {
        debug_assert!(self.is_joined());
        self.links.fetch_add(1, SeqCst);
    }
    /// Whether it is between [`Summary::join`] and [`Summary::part`].
    pub(crate) fn is_joined(&self) -> bool {
        self.links.load(SeqCst) & 1 != 0
    }
    pub(crate) fn begin_change(&self) {
        self.changing.fetch_add(1, SeqCst);
    }
    pub(crate) fn end_change(&self) {
        self.changing.fetch_sub(1, SeqCst);
    }
    pub(crate) fn add_chunk(&self) {
        self.chunks.fetch_add(1, SeqCst);
    }
    pub(crate) fn remove_chunk(&self) {
        self.chunks.fetch_sub(1, SeqCst);
    }

    /// Counts a chunk's change from the summary bits `before` to `now`.
    pub(crate) fn count(&self, before: u32, now: u32) {
        let changed = before ^ now;
        if changed == 0 {
            return;
        }
        let step = |counter: &AtomicU32, bit: usize| {
            if changed >> bit & 1 != 0 {
                let up = now >> bit & 1 != 0;
                if up {
                    counter.fetch_add(1, SeqCst)
                } else {
                    counter.fetch_sub(1, SeqCst)
                };
            }
        };
        for d in 0..MAX_DEVICES {
            step(&self.ready[d], d);
            step(&self.owned[d], 8 + d);
        }
        step(&self.to_look_at, 16);
    }

    /// What `found` says, if all of it can be used by device `device` as it is, and nothing is changing. The caller has
    /// published its use before (see `inflight`). No chunk has come or gone while `found` looked, nor while this did.
    pub(crate) fn if_ready<T>(
        &self,
        device: usize,
        write: bool,
        found: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let links = self.links.load(SeqCst);
        let count = if write { &self.owned[device] } else { &self.ready[device] };
        let ready = links & 1 != 0
            && self.changing.load(SeqCst) == 0
            && self.to_look_at.load(SeqCst) == 0
            && count.load(SeqCst) == self.chunks.load(SeqCst)
            && self.changing.load(SeqCst) == 0;
        let found = if ready { found() } else { None };
        found.filter(|_| self.links.load(SeqCst) == links)
    }
}
