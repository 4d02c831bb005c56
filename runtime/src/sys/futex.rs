//! Waiting on a word: futex(2). The fault path uses it: signal-safe. The lock built from it is `lock`.

use super::kernel;
pub(crate) use super::lock::{FutexLock, Locked, LockedGuard};
use core::sync::atomic::AtomicU32;

/// Sleeps while `*word == expected`, at most `timeout_ns` if given. May wake early. Signal-safe.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) {
    wait_as(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, word, expected, timeout_ns);
}

/// [`wait`], for a word whose change the kernel tells, or [`wake_shared`]. Signal-safe.
pub(crate) fn wait_shared(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) {
    wait_as(libc::FUTEX_WAIT, word, expected, timeout_ns);
}

fn wait_as(op: i32, word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) {
    let t = timeout_ns.map(|ns| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    });
    let t = t.as_ref().map_or(core::ptr::null(), |t| t as *const libc::timespec);
    // SAFETY: the word lives as long as the call and the timespec is valid or null.
    unsafe {
        kernel::raw(
            libc::SYS_futex,
            [word.as_ptr().expose_provenance(), op as usize, expected as usize, t.expose_provenance(), 0, 0],
        )
    };
}

/// Wakes up to `count` threads waiting on `word`. Signal-safe.
pub(crate) fn wake(word: &AtomicU32, count: i32) {
    wake_as(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, word, count);
}

/// Wakes all who wait for `word` by [`wait_shared`] or [`wait_any`]. Signal-safe.
pub(crate) fn wake_shared(word: &AtomicU32) {
    wake_as(libc::FUTEX_WAKE, word, i32::MAX);
}

fn wake_as(op: i32, word: &AtomicU32, count: i32) {
    // SAFETY: the kernel only uses the word's address.
    unsafe {
        kernel::raw(
            libc::SYS_futex,
            [word.as_ptr().expose_provenance(), op as usize, count as usize, 0, 0, 0],
        )
    };
}

/// The most words for [`wait_any`].
pub(crate) const MOST_WORDS: usize = 16;

/// Sleeps while `*word` is what is expected of it, and each of `others`, whose changes the kernel tells, is what is expected
/// of that. May wake early; where the kernel can't wait for several (before Linux 5.16), it does every tenth of a second.
pub(crate) fn wait_any(word: &AtomicU32, expected: u32, others: &[(&AtomicU32, u32)]) {
    /// `struct futex_waitv`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct One {
        value: u64,
        at: u64,
        flags: u32,
        reserved: u32,
    }
    const U32: u32 = 2; // FUTEX2_SIZE_U32
    const PRIVATE: u32 = libc::FUTEX_PRIVATE_FLAG as u32;
    let one = |word: &AtomicU32, value: u32, flags: u32| One {
        value: u64::from(value),
        at: word.as_ptr().expose_provenance() as u64,
        flags,
        reserved: 0,
    };
    let mut all = [one(word, expected, U32 | PRIVATE); MOST_WORDS];
    let count = 1 + others.len().min(MOST_WORDS - 1);
    for (to, (word, value)) in all[1..].iter_mut().zip(others) {
        *to = one(word, *value, U32);
    }
    let at = all.as_ptr().expose_provenance();
    // SAFETY: the words live as long as the call; no time.
    let answer = unsafe { kernel::raw(libc::SYS_futex_waitv, [at, count, 0, 0, 0, 0]) };
    if [-libc::ENOSYS, -libc::EPERM].contains(&(answer as i32)) {
        wait(word, expected, Some(100_000_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_exactly_under_contention() {
        const TIMES: u64 = if cfg!(miri) { 50 } else { 50_000 };
        static SUM: Locked<u64> = Locked::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..TIMES).for_each(|_| *SUM.lock() += 1));
            }
        });
        assert_eq!(*SUM.lock(), 4 * TIMES);
    }
}
