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
    /// A block for the bytes `range`, with no chunk linked yet. Signals are blocked: who waits for a handler's touch may need the list.
    pub(crate) fn take(range: ByteRange) -> &'static Block {
        let block = UNUSED.lock().pop().unwrap_or_else(|| Box::leak(Box::default()));
        block.start.store(range.start, Release);
        block.end.store(range.end, Release);
        block
    }

    /// Lets it end later, in the chunk that it ends in. With that chunk locked.
    pub(crate) fn extend(&self, end: usize) {
        self.end.store(end, Release);
    }

    /// Gives a block back whose chunks are all unlinked. Signals are blocked.
    pub(crate) fn put(block: &'static Block) {
        debug_assert!(block.summary.chunks() == 0 && !block.summary.is_joined());
        UNUSED.lock().push(block);
    }

    /// The end of the chunks that count in it, which lie one behind the other: of an adopted range the last part of a chunk,
    /// and what may share that chunk with it, do not. Of use to who knows that none comes or goes.
    pub(crate) fn counted_end(&self) -> usize {
        self.range().start.next_multiple_of(CHUNK) + self.summary.chunks() as usize * CHUNK
    }

    /// The bytes it describes.
    pub(crate) fn range(&self) -> ByteRange {
        ByteRange { start: self.start.load(Acquire), end: self.end.load(Acquire) }
    }
}

impl core::ops::Deref for Block {
    type Target = Summary;
    fn deref(&self) -> &Summary {
        &self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of `chunks` chunks, all on device 0.
    fn joined(start: usize, chunks: usize) -> &'static Block {
        let block = Block::take(ByteRange { start, end: start + chunks * CHUNK });
        (0..chunks).for_each(|_| come(block));
        block.join();
        block
    }

    fn come(block: &Block) {
        block.add_chunk();
        block.count(0, 1);
    }

    fn part(block: &Block) {
        block.part();
        while block.chunks() > 0 {
            block.count(1, 0);
            block.remove_chunk();
        }
    }

    /// The windows are too narrow for a race test to hit; `models/` goes through all orders.
    #[test]
    fn it_says_nothing_while_chunks_come_and_go() {
        let end = |b: &Block| b.if_ready(0, false, || Some(b.counted_end()));
        let block = joined(CHUNK, 3);
        assert_eq!(end(block), Some(4 * CHUNK));
        assert_eq!(block.if_ready(0, true, || Some(())), None, "not the device's alone");
        assert_eq!(block.if_ready(0, false, || None::<()>), None);
        let left = block.if_ready(0, false, || {
            part(block);
            Some(())
        });
        assert_eq!(left, None, "all chunks left while it was asked");
        assert_eq!(end(block), None, "0 of 0 are ready");
        come(block);
        assert_eq!(end(block), None, "1 of 1, and more are to come");
        block.join();
        let again = block.if_ready(0, false, || {
            part(block);
            come(block);
            block.join();
            Some(())
        });
        assert_eq!(again, None, "other chunks than when it was asked");
        assert_eq!(end(block), Some(2 * CHUNK));
        part(block);
        Block::put(block);
    }

    #[test]
    fn only_what_counts_in_it_is_vouched_for() {
        let block = Block::take(ByteRange { start: CHUNK / 2, end: 3 * CHUNK + CHUNK / 2 });
        (0..2).for_each(|_| come(block));
        block.join();
        assert_eq!(block.counted_end(), 3 * CHUNK);
        part(block);
        Block::put(block);
    }
}
