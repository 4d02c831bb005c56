//! Time. Called by the host backend's simulated transfers and by logging; signal-safe.

/// Monotonic nanoseconds. Signal-safe (vDSO).
pub(crate) fn now_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec and the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Waits until `deadline` (of [`now_ns`]): sleeps the bulk, spins the rest. Signal-safe.
pub(crate) fn wait_until(deadline: u64) {
    loop {
        let now = now_ns();
        if now >= deadline {
            return;
        }
        let left = deadline - now;
        if left > 200_000 {
            let t = libc::timespec {
                tv_sec: (left / 1_000_000_000) as i64,
                tv_nsec: ((left - 100_000) % 1_000_000_000) as i64,
            };
            // SAFETY: a valid timespec; being interrupted early is fine, the loop goes on.
            unsafe { libc::nanosleep(&t, core::ptr::null_mut()) };
        } else {
            core::hint::spin_loop();
        }
    }
}
