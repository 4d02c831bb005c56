//! The summary of a span of whole chunks (a large block, or the inside of an adopted range): how many of them are ready
//! on each device. It makes `hmm_acquire` of a resident range cost the same for 64 KiB and for 1 TiB. Changed by the
//! chunk guards; read without a lock by acquire. Never freed, only reused. Signal-safe, but for `take` and `put`.

use crate::addr::ByteRange;
use crate::device::MAX_DEVICES;
use crate::sys::futex::Locked;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

/// The summary.
#[derive(Default)]
pub(crate) struct Block {
    start: AtomicUsize,
    end: AtomicUsize,
    chunks: AtomicU32,
    changing: AtomicU32,
    to_look_at: AtomicU32,
    ready: [AtomicU32; MAX_DEVICES],
    owned: [AtomicU32; MAX_DEVICES],
}

static UNUSED: Locked<Vec<&'static Block>> = Locked::new(Vec::new());

/// Whether this thread holds the list of unused blocks: it can't allocate managed memory now.
pub(crate) fn is_locked_by_me() -> bool {
    UNUSED.held_by_me()
}

impl Block {
    /// A block for the bytes `range`, with no chunk linked yet.
    pub(crate) fn take(range: ByteRange) -> &'static Block {
        let block = UNUSED.lock().pop().unwrap_or_else(|| Box::leak(Box::default()));
        block.start.store(range.start, Relaxed);
        block.end.store(range.end, Release);
        block
    }

    /// Lets it end later, in the chunk that it ends in. With that chunk locked.
    pub(crate) fn extend(&self, end: usize) {
        self.end.store(end, Release);
    }

    /// Gives a block back whose chunks are all unlinked.
    pub(crate) fn put(block: &'static Block) {
        debug_assert_eq!(block.chunks.load(Relaxed), 0);
        UNUSED.lock().push(block);
    }

    /// The bytes it describes.
    pub(crate) fn range(&self) -> ByteRange {
        ByteRange { start: self.start.load(Relaxed), end: self.end.load(Acquire) }
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

    /// Whether all of it can be used by device `device` as it is, and nothing is changing. The caller has published its
    /// use before (see `inflight`).
    pub(crate) fn is_ready(&self, device: usize, write: bool) -> bool {
        let count = if write { &self.owned[device] } else { &self.ready[device] };
        self.changing.load(SeqCst) == 0
            && self.to_look_at.load(SeqCst) == 0
            && count.load(SeqCst) == self.chunks.load(SeqCst)
            && self.changing.load(SeqCst) == 0
    }
}
