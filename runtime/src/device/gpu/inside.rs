//! Which threads are inside a driver call of ours. A fault there must not wait for the service thread: that may need a
//! lock which the call holds. Lock-free, without thread-local storage; `is_inside` is signal-safe.

use crate::sys::thread;
use core::sync::atomic::{AtomicUsize, Ordering::*};

const SLOTS: usize = 64;
static THREADS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];

/// The calling thread is inside a driver call until this is dropped.
pub(crate) struct Inside(usize);

impl Inside {
    /// Notes the calling thread. With more than 64 at a time the rest go unnoticed: they would wait for the time limit.
    pub(crate) fn enter() -> Inside {
        let me = thread::id();
        let first = (me >> 12) % SLOTS;
        let slot = (0..SLOTS).map(|i| (first + i) % SLOTS).find(|&i| {
            THREADS[i].load(Relaxed) == 0 && THREADS[i].compare_exchange(0, me, Relaxed, Relaxed).is_ok()
        });
        Inside(slot.unwrap_or(SLOTS))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(slot) = THREADS.get(self.0) {
            slot.store(0, Relaxed);
        }
    }
}

/// Whether the calling thread is inside a driver call of ours. Signal-safe.
pub(crate) fn is_inside() -> bool {
    let me = thread::id();
    THREADS.iter().any(|t| t.load(Relaxed) == me)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_inside_as_long_as_it_says() {
        assert!(!is_inside());
        {
            let _outer = Inside::enter();
            let _inner = Inside::enter();
            assert!(is_inside());
            assert!(!std::thread::spawn(is_inside).join().unwrap());
        }
        assert!(!is_inside());
    }
}
