//! futex(2) for loom: the comparison and the queueing are one step, as under the kernel's lock of the bucket.

use crate::atomic::{AtomicU32, Ordering::SeqCst};
use loom::sync::Mutex;
use loom::thread::{self, Thread};

loom::lazy_static! {
    static ref WAITING: Mutex<Vec<(usize, Thread)>> = Mutex::new(Vec::new());
}

fn address(word: &AtomicU32) -> usize {
    core::ptr::from_ref(word).addr()
}

/// A nanosecond is over before anything happens; any other time never is.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) {
    if timeout_ns == Some(1) {
        return thread::yield_now();
    }
    {
        let mut waiting = WAITING.lock().unwrap();
        if word.load(SeqCst) != expected {
            return;
        }
        waiting.push((address(word), thread::current()));
    }
    thread::park();
}

pub(crate) fn wake(word: &AtomicU32, count: i32) {
    let mut waiting = WAITING.lock().unwrap();
    for _ in 0..count {
        let Some(i) = waiting.iter().position(|(at, _)| *at == address(word)) else { return };
        waiting.remove(i).1.unpark();
    }
}
