//! `slab::free` looks at the chunk without its lock, and leaves cleaning up if nothing has changed; whoever sends pages away
//! looks at `managed` with the lock held. A copy of the two orders of steps (`slab::free`, `Guard::lock`), with the fences of
//! the machines that need them: one of the two sees the other, so no block is free with pages on a device.

use crate::explore;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::*, fence};
use loom::thread;

/// The lock is a copy, too: `is_held` must not order more than a load does.
struct Chunk {
    lock: AtomicU32,
    changed: AtomicU32,
    managed: AtomicU32,
    away: AtomicU32,
}

impl Chunk {
    /// `Guard::lock`.
    fn guard(&self) {
        while self.lock.compare_exchange(0, 1, SeqCst, Relaxed).is_err() {
            thread::yield_now();
        }
        fence(SeqCst);
        self.changed.store(1, Relaxed);
    }

    /// A prefetch.
    fn send(&self) {
        self.guard();
        if self.managed.load(Relaxed) == 1 {
            self.away.store(1, Relaxed);
        }
        self.lock.swap(0, SeqCst);
    }

    /// `slab::free`.
    fn free(&self) {
        self.managed.store(0, Relaxed); // `remove_span_and_fence`
        fence(SeqCst);
        let unchanged = self.lock.load(SeqCst) == 0 && self.changed.load(Relaxed) == 0;
        if !unchanged {
            self.guard(); // `clean_up`
            self.away.store(0, Relaxed);
            self.lock.swap(0, SeqCst);
        }
    }
}

#[test]
fn no_block_is_free_with_pages_away() {
    explore(3, || {
        let word = AtomicU32::new;
        let chunk = Arc::new(Chunk { lock: word(0), changed: word(0), managed: word(1), away: word(0) });
        let other = {
            let chunk = chunk.clone();
            thread::spawn(move || chunk.send())
        };
        chunk.free();
        other.join().unwrap();
        assert_eq!(chunk.away.load(Relaxed), 0, "a free block has pages on a device");
    });
}
