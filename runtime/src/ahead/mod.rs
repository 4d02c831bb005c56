//! What moves before it is asked for: threads that bring home what a reader is about to touch, while it works on what it has.
//! The fault path says how far (`policy`), by writing into a queue that it only tries to lock; the threads (`worker`) do it by
//! the ordinary moves, chunk by chunk under the chunk's lock, and leave alone what anybody uses. All of it is a hint: dropped
//! when there is no room, and never waited for.
//!
//! There are three, for a copy keeps its thread and the bus goes both ways: one looks for what comes home first, one for what goes
//! out, and one helps that while it is at work. They are there while devices are open, under a policy that predicts, and quiet while the process forks or shuts down
//! ([`pause`]); a forked child has none: nothing there posts.

mod awaited;
mod launches;
mod queue;
mod worker;

pub(crate) use awaited::Awaited;
pub(crate) use launches::{launched, not_released, released, touched, written_behind};
pub(crate) use worker::{Ahead, Paused, pause};

use crate::addr::{ByteRange, HostAddr};
use crate::sys::futex::{self, Locked};
use crate::sys::signal::Blocked;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use queue::{Queue, THREADS, Way};

/// Holders touch no managed memory, and have signals blocked or are the signal handler, which only tries.
static QUEUE: Locked<Queue> = Locked::new(Queue::new());
/// How many ranges are in it, for who looks without the lock.
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// Whether there are threads.
static RUNNING: AtomicBool = AtomicBool::new(false);
/// Changes when there is something to do: for each thread.
static POSTS: [AtomicU32; THREADS] = [const { AtomicU32::new(0) }; THREADS];
/// Whether the thread sleeps, so that it costs nothing to tell one that does not.
static ASLEEP: [AtomicBool; THREADS] = [const { AtomicBool::new(false) }; THREADS];

/// Changes the queue, if it is free at this moment. Signal-safe.
fn try_change<T>(f: impl FnOnce(&mut Queue) -> T) -> Option<T> {
    // Whoever has it needs some nanoseconds.
    let mut queue = (0..100).find_map(|_| {
        core::hint::spin_loop();
        QUEUE.try_lock()
    })?;
    let answer = f(&mut queue);
    LENGTH.store(queue.len(), Release);
    Some(answer)
}

/// Changes the queue. Not for the fault path. Signals are blocked for as long as it takes.
fn change<T>(f: impl FnOnce(&mut Queue) -> T) -> T {
    let _blocked = Blocked::new();
    let mut queue = QUEUE.lock();
    let answer = f(&mut queue);
    LENGTH.store(queue.len(), Release);
    answer
}

/// Tells the thread of that way, and if it is at work the one that helps it; one that is awake helps the other way. Signal-safe.
fn post(way: Way) {
    if !tell(way) && way == Way::Out {
        tell(Way::More);
    }
}

/// Tells one thread; whether it was asleep.
fn tell(way: Way) -> bool {
    let i = way as usize;
    POSTS[i].fetch_add(1, SeqCst);
    let asleep = ASLEEP[i].load(SeqCst);
    if asleep {
        futex::wake(&POSTS[i], 1);
    }
    asleep
}

/// `count` chunks from `at` on should come home: the reader of the allocation `key` is expected there. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn read_ahead(key: u64, at: HostAddr, count: u32, write: bool) {
    if RUNNING.load(Relaxed) && try_change(|q| q.read_ahead(key, at, count as usize, write)).is_some() {
        post(Way::Home);
    }
}

/// Whether the chunk at `at` was to come home ahead of the reader of `key`, who is there already. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn awaits(key: u64, at: HostAddr) -> bool {
    LENGTH.load(Relaxed) != 0 && QUEUE.try_lock().is_some_and(|q| q.awaits(key, at))
}

/// The program itself says where `range` is to be: nothing of it moves on a guess that was made before. No lock is held.
pub(crate) fn withdraw(range: ByteRange) {
    if RUNNING.load(Relaxed) {
        if LENGTH.load(Acquire) != 0 {
            change(|q| q.withdraw(range));
        }
        worker::finish_step();
    }
}

/// A device is to use the allocation `key`: nothing more of it comes home ahead of anybody. Signals are blocked.
pub(crate) fn end_of_reader(key: u64) {
    if LENGTH.load(Relaxed) != 0 {
        try_change(|q| q.end_of_reader(key));
    }
}
