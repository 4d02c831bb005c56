//! Waiting for a stream's ticket (`timeline.rs`, the file itself): who waits is woken, and sees what was done before.

use crate::explore;
use crate::timeline::Timeline;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Stream {
    timeline: Timeline,
    written: UnsafeCell<u32>,
}

// SAFETY: written before the ticket is reached, read after it; whether that is enough is what the model looks at.
unsafe impl Sync for Stream {}
// SAFETY: as above.
unsafe impl Send for Stream {}

fn waiters(count: usize) {
    explore(3, move || {
        let stream = Arc::new(Stream { timeline: Timeline::new(), written: UnsafeCell::new(0) });
        let others: Vec<_> = (0..count)
            .map(|_| {
                let stream = stream.clone();
                thread::spawn(move || {
                    stream.timeline.wait(2);
                    // SAFETY: the kernel has ended.
                    stream.written.with(|w| assert_eq!(unsafe { *w }, 7));
                })
            })
            .collect();
        stream.timeline.reach(1);
        // SAFETY: nobody reads before ticket 2.
        stream.written.with_mut(|w| unsafe { *w = 7 });
        stream.timeline.reach(2);
        others.into_iter().for_each(|t| t.join().unwrap());
    });
}

#[test]
fn one_waiter() {
    waiters(1);
}

#[test]
fn two_waiters() {
    waiters(2);
}
