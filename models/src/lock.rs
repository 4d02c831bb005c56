//! The chunk lock (`sys/lock.rs`, the file itself): nobody is in it beside another, what one has written the next sees, and
//! nobody sleeps for ever.

use crate::explore;
use crate::sys::lock::FutexLock;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Counter {
    lock: FutexLock,
    value: UnsafeCell<u32>,
}

// SAFETY: the value is used with the lock held; that this is enough is what the model looks at.
unsafe impl Sync for Counter {}
// SAFETY: as above.
unsafe impl Send for Counter {}

impl Counter {
    fn add(&self) {
        self.lock.lock();
        self.add_locked();
    }

    /// Whether it could, in about so many nanoseconds.
    fn add_within(&self, ns: u64) -> bool {
        let locked = self.lock.lock_within(ns);
        if locked {
            self.add_locked();
        }
        locked
    }

    fn add_locked(&self) {
        // SAFETY: with the lock held; loom tells if that does not order it.
        self.value.with_mut(|v| unsafe { *v += 1 });
        self.lock.unlock();
    }
}

fn threads(count: u32, each: u32) {
    explore(3, move || {
        let counter = Arc::new(Counter { lock: FutexLock::new(), value: UnsafeCell::new(0) });
        let others: Vec<_> = (1..count)
            .map(|_| {
                let counter = counter.clone();
                thread::spawn(move || (0..each).for_each(|_| counter.add()))
            })
            .collect();
        (0..each).for_each(|_| counter.add());
        others.into_iter().for_each(|t| t.join().unwrap());
        // SAFETY: all others have ended.
        counter.value.with(|v| assert_eq!(unsafe { *v }, count * each));
        assert!(!counter.lock.is_held());
    });
}

#[test]
fn two_threads_twice() {
    threads(2, 2);
}

#[test]
fn three_threads_once() {
    threads(3, 1);
}

/// One of three gives up after `ns`, or does not: what it leaves behind keeps the others from nothing.
fn with_one_that_gives_up(ns: u64) {
    explore(2, move || {
        let counter = Arc::new(Counter { lock: FutexLock::new(), value: UnsafeCell::new(0) });
        let impatient = {
            let counter = counter.clone();
            thread::spawn(move || u32::from(counter.add_within(ns)))
        };
        let other = {
            let counter = counter.clone();
            thread::spawn(move || counter.add())
        };
        counter.add();
        other.join().unwrap();
        let added = impatient.join().unwrap();
        // SAFETY: all others have ended.
        counter.value.with(|v| assert_eq!(unsafe { *v }, 2 + added));
        assert!(!counter.lock.is_held());
    });
}

#[test]
fn one_gives_up_at_once() {
    with_one_that_gives_up(0);
}

#[test]
fn one_gives_up_too_early() {
    with_one_that_gives_up(1);
}

#[test]
fn one_is_woken_in_time() {
    with_one_that_gives_up(2);
}
