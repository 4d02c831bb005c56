//! `slab::free` looks at the chunk without its lock, and leaves cleaning up if nothing has changed; whoever sends pages away
//! looks at `managed` with the lock held. A copy of the two orders of steps (`slab::free`, `Guard::lock`), with the fences of
//! the machines that need them: one of the two sees the other, so no block is free with pages on a device.

use crate::atomic::{AtomicU32, Ordering::*};
use crate::explore;
use crate::sys::lock::FutexLock;
use loom::sync::Arc;
use loom::sync::atomic::fence;
use loom::thread;

struct Chunk {
    lock: FutexLock,
    changed: AtomicU32,
    managed: AtomicU32,
    away: AtomicU32,
}

impl Chunk {
    /// `Guard::lock`.
    fn guard(&self) {
        self.lock.lock();
        fence(SeqCst);
        self.changed.store(1, Relaxed);
    }

    /// A prefetch.
    fn send(&self) {
        self.guard();
        if self.managed.load(Relaxed) == 1 {
            self.away.store(1, Relaxed);
        }
        self.lock.unlock();
    }

    /// `slab::free`.
    fn free(&self) {
        self.managed.store(0, Relaxed); // `remove_span_and_fence`
        fence(SeqCst);
        let unchanged = !self.lock.is_held() && self.changed.load(Relaxed) == 0;
        if !unchanged {
            self.guard(); // `clean_up`
            self.away.store(0, Relaxed);
            self.lock.unlock();
        }
    }
}

#[test]
fn no_block_is_free_with_pages_away() {
    explore(3, || {
        let word = |v| AtomicU32::new(v);
        let chunk =
            Arc::new(Chunk { lock: FutexLock::new(), changed: word(0), managed: word(1), away: word(0) });
        let other = {
            let chunk = chunk.clone();
            thread::spawn(move || chunk.send())
        };
        chunk.free();
        other.join().unwrap();
        assert_eq!(chunk.away.load(SeqCst), 0, "a free block has pages on a device");
    });
}
