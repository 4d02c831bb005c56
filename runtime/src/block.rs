//! The summary of a span of whole chunks (a large block, or the inside of an adopted range): how many of them are ready
//! on each device. It makes `hmm_acquire` of a resident range cost the same for 64 KiB and for 1 TiB. Changed by the
//! chunk guards; read without a lock by acquire. Never freed, only reused. Signal-safe, but for `take` and `put`.

use crate::addr::{ByteRange, CHUNK};
use crate::summary::Summary;
use crate::sys::futex::Locked;
use core::sync::atomic::{AtomicUsize, Ordering::*};

/// The summary.
#[derive(Default)]
pub(crate) struct Block {
    start: AtomicUsize,
    end: AtomicUsize,
    summary: Summary,
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
        debug_assert_eq!(block.summary.chunks(), 0);
        UNUSED.lock().push(block);
    }

    /// The end of the chunks that count in it, which lie one behind the other: of an adopted range the last part of a chunk,
    /// and what may share that chunk with it, do not. Of use to who knows that none comes or goes.
    pub(crate) fn counted_end(&self) -> usize {
        self.range().start.next_multiple_of(CHUNK) + self.summary.chunks() as usize * CHUNK
    }

    /// The bytes it describes.
    pub(crate) fn range(&self) -> ByteRange {
        ByteRange { start: self.start.load(Relaxed), end: self.end.load(Acquire) }
    }
}

impl core::ops::Deref for Block {
    type Target = Summary;
    fn deref(&self) -> &Summary {
        &self.summary
    }
}
