//! Children of bare system calls, for which no handler runs.

use super::common::{self, Block};
use super::{child_of, fill, holds};
use hmmrt::Error;
use hmmrt::raw::{self, HMM_HOST};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// As `child`, of a system call that runs no handlers.
fn bare_child(f: impl FnOnce() -> bool) -> i32 {
    // SAFETY: fork's own flags; the memory is copied.
    child_of(|| unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32, f)
}

/// A child of a bare system call: no handler has made it ready, and a thread that is not there may hold any lock. What was home
/// is there; of the rest each touch finds what it should, or is SIGBUS: it never waits for ever. Calls know what it is.
pub fn children() {
    let rounds = (300.0 * common::scale()).max(40.0) as usize;
    let [home, moving, away] = [1 << 20, 16 << 20, 2 << 20].map(Block::new);
    [&home, &moving, &away].iter().for_each(|b| fill(b, 7));
    raw::migrate(away.ptr, away.len, 0).unwrap();
    let stop = AtomicBool::new(false);
    common::end_if_it_hangs();
    std::thread::scope(|s| {
        let (moving, stop) = (&moving, &stop);
        for _ in 0..2 {
            s.spawn(move || {
                while !stop.load(Relaxed) {
                    for to in [0, HMM_HOST] {
                        raw::migrate(moving.ptr, moving.len, to).unwrap();
                    }
                }
            });
        }
        let bus = |status: i32| libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS;
        let met = std::cell::Cell::new(0);
        // Until a fork has met what moves: there are machines on which threads have to wait for long.
        for round in (0..).take_while(|r| *r < rounds || met.get() == 0) {
            let status = bare_child(|| {
                // SAFETY: ends a child that waits for ever.
                unsafe { libc::alarm(120) };
                let refused = matches!(raw::migrate(home.ptr, home.len, 0), Err(Error::Forked { .. }));
                fill(&home, 8);
                refused && holds(&home, 8)
            });
            assert_eq!(status, 0, "round {round}");
            let status = bare_child(|| {
                // SAFETY: as above.
                unsafe { libc::alarm(120) };
                holds(moving, 7)
            });
            assert!(status == 0 || bus(status), "round {round}: {status:#x}");
            met.set(met.get() + usize::from(bus(status)));
        }
        assert!(bus(bare_child(|| holds(&away, 7))));
        stop.store(true, Relaxed);
    });
    assert!([&home, &moving, &away].iter().all(|b| holds(b, 7)));
}
