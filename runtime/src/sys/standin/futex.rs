//! futex(2) for the stand-in: the comparison and the queueing are one step, as under the kernel's lock of the bucket.

use super::{memory, pointer};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::Duration;

static WAITING: Mutex<Vec<(usize, Thread)>> = Mutex::new(Vec::new());

fn waiting() -> MutexGuard<'static, Vec<(usize, Thread)>> {
    WAITING.lock().unwrap_or_else(|e| e.into_inner())
}

/// FUTEX_WAIT and FUTEX_WAKE, and FUTEX_WAKE_OP that adds nothing.
///
/// # Safety
/// `word` is a word, and `time` a duration or null, unless another word is meant.
pub(super) unsafe fn call(word: usize, op: i32, value: u32, time: usize, other: usize) -> Result<usize, i32> {
    let op = op & !libc::FUTEX_PRIVATE_FLAG;
    match op {
        // As it is made here: to find out whether the other word can be written.
        libc::FUTEX_WAKE_OP => {
            if memory::forbids(other, true) {
                Err(libc::EFAULT)
            } else {
                Ok(0)
            }
        }
        libc::FUTEX_WAIT if memory::forbids(word, false) => Err(libc::EFAULT),
        libc::FUTEX_WAIT => {
            // SAFETY: the caller's promise.
            let (now, time) = unsafe {
                let time = pointer::<libc::timespec>(time).as_ref();
                (AtomicU32::from_ptr(pointer(word)), time)
            };
            {
                let mut all = waiting();
                if now.load(SeqCst) != value {
                    return Err(libc::EAGAIN);
                }
                all.push((word, thread::current()));
            }
            match time {
                None => thread::park(),
                Some(t) => thread::park_timeout(Duration::new(t.tv_sec as u64, t.tv_nsec as u32)),
            }
            // Woken early, or too late: it waits no more.
            let me = thread::current().id();
            waiting().retain(|(at, thread)| *at != word || thread.id() != me);
            Ok(0)
        }
        libc::FUTEX_WAKE => {
            let mut all = waiting();
            let mut woken = 0;
            while woken < value as usize {
                let Some(i) = all.iter().position(|(at, _)| *at == word) else { break };
                all.remove(i).1.unpark();
                woken += 1;
            }
            Ok(woken)
        }
        _ => Err(libc::ENOSYS),
    }
}
