//! Signals on their way: a thread that faulted may have lost the processor before its handler was called, and the kernel looks up the
//! handler only when it goes on. API context.

use super::clock;
use core::ffi::c_int;
use std::fs;
use std::time::Duration;

const fn bit(signum: c_int) -> u64 {
    1 << (signum - 1)
}

/// Waits until no thread has a SIGSEGV or SIGBUS on its way, a second at most: whoever gives these signals back to the program has
/// opened everything before, so that none comes after.
pub(crate) fn wait_for_faults() {
    const MOST_NS: u64 = 1_000_000_000;
    let begun = clock::now_ns();
    while any_has(bit(libc::SIGSEGV) | bit(libc::SIGBUS)) && clock::now_ns() - begun < MOST_NS {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Whether one of `signals` is on its way to a thread that has not blocked it. Where nothing can be found out some time passes.
fn any_has(signals: u64) -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        std::thread::sleep(Duration::from_millis(20));
        return false;
    };
    let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).ok();
    threads.flatten().filter_map(status).any(|text| on_their_way(&text) & signals != 0)
}

/// A thread's own pending signals, but for those that it has blocked: of its file `status`.
fn on_their_way(status: &str) -> u64 {
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
    };
    set("SigPnd:") & !set("SigBlk:")
}

#[cfg(all(test, not(hmmrt_standin)))] // a real process
mod tests {
    use super::*;

    #[test]
    fn what_is_blocked_is_not_on_its_way() {
        let of = |pending: &str, blocked: &str| {
            on_their_way(&format!(
                "Threads:\t1\nSigPnd:\t{pending}\nShdPnd:\t00000000000004ff\nSigBlk:\t{blocked}\n"
            ))
        };
        assert_eq!(of("0000000000000440", "0000000000000000"), bit(libc::SIGSEGV) | bit(libc::SIGBUS));
        assert_eq!(of("0000000000000440", "0000000000000400"), bit(libc::SIGBUS));
        assert_eq!(of("0000000000000000", "0000000000000000"), 0);
    }

    /// A thread that does not run has its signal pending.
    #[test]
    fn a_thread_that_was_sent_one_is_seen() {
        let usr2 = bit(libc::SIGUSR2);
        assert!(!any_has(usr2));
        let text = std::thread::spawn(|| {
            // SAFETY: this thread's mask, and a signal for it.
            unsafe {
                let mut set = core::mem::zeroed();
                libc::sigaddset(&mut set, libc::SIGUSR2);
                libc::pthread_sigmask(libc::SIG_BLOCK, &set, core::ptr::null_mut());
                libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2);
            }
            fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let text = text.join().unwrap();
        assert_eq!(on_their_way(&text) & usr2, 0, "it is blocked");
        let open: String =
            text.lines().filter(|l| !l.starts_with("SigBlk")).map(|l| format!("{l}\n")).collect();
        assert_eq!(on_their_way(&open) & usr2, usr2);
    }
}
