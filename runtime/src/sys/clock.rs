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
            let t = sleep_before(left);
            // SAFETY: a valid timespec; being interrupted early is fine, the loop goes on.
            unsafe { libc::nanosleep(&t, core::ptr::null_mut()) };
        } else {
            core::hint::spin_loop();
        }
    }
}

/// How long to sleep of the `left` nanoseconds: the rest is spun. Not for longer than an hour at a time.
fn sleep_before(left: u64) -> libc::timespec {
    let sleep = (left - 100_000).min(3_600_000_000_000);
    libc::timespec { tv_sec: (sleep / 1_000_000_000) as i64, tv_nsec: (sleep % 1_000_000_000) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_sleeps_too_long() {
        let slept = |left| {
            let t = sleep_before(left);
            t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
        };
        for left in [200_001, 999_999_999, 1_000_000_000, 1_000_050_000, 1_000_100_000, 7_000_000_001] {
            assert_eq!(slept(left), left - 100_000);
        }
        assert_eq!(slept(u64::MAX), 3_600_000_000_000);
    }
}
