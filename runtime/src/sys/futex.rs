//! Waiting on a word: futex(2). The fault path uses it: signal-safe. The lock built from it is `lock`.

use super::kernel;
pub(crate) use super::lock::{FutexLock, Locked, LockedGuard};
use core::sync::atomic::AtomicU32;

/// Sleeps while `*word == expected`, at most `timeout_ns` if given. May wake early. Signal-safe.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) {
    let t = timeout_ns.map(|ns| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    });
    let t = t.as_ref().map_or(core::ptr::null(), |t| t as *const libc::timespec);
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
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
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel only uses the word's address.
    unsafe {
        kernel::raw(
            libc::SYS_futex,
            [word.as_ptr().expose_provenance(), op as usize, count as usize, 0, 0, 0],
        )
    };
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
