//! No more address space, no more data: at every step of the script, with no room left and with a little. And memory that the
//! kernel itself moves meanwhile, to make room for huge pages.

use crate::common::{self, Block};
use crate::room::{WAYS, child, lift, limit, on_gpu, passes, used};
use crate::touch;
use crate::work::{STEPS, Work};
use hmmrt::Error;
use hmmrt::raw;
use std::sync::atomic::Ordering::Relaxed;

/// What is left in each round.
const LEFT: [u64; 2] = [0, 3 << 20];

fn lift_both() {
    lift(libc::RLIMIT_AS);
    lift(libc::RLIMIT_DATA);
}

fn start() {
    raw::init(Some(common::config())).unwrap();
    raw::device_count().unwrap();
}

fn is_shortage(e: &Error) -> bool {
    matches!(
        e,
        Error::NoMemory { .. } | Error::DeviceMemory { .. } | Error::System { .. } | Error::Busy { .. }
    ) || on_gpu() && matches!(e, Error::Device { .. })
}

/// The script, with one step short of room.
fn steps(which: crate::room::Limit) {
    touch::take_bus(lift_both);
    start();
    let (mut refused, mut runs) = (0, 0);
    // A little room, where the script runs on many engines and backends.
    let rounds = if common::scale() < 0.1 { &LEFT[1..] } else { &LEFT[..] };
    for &left in rounds {
        for (short, (called, _)) in STEPS.iter().enumerate() {
            let mut work = Work::new();
            for (i, (name, step)) in STEPS.iter().enumerate() {
                if i != short {
                    step(&mut work).unwrap_or_else(|e| panic!("{name} after {called}: {e}"));
                    continue;
                }
                // Again, if something has left in the background meanwhile: then there is more room.
                common::until("a limit that is felt", || {
                    limit(which, used(which) + left);
                    !has_room(left as usize + (1 << 20))
                });
                let outcome = step(&mut work);
                lift_both();
                work.check(name);
                runs += 1;
                if let Err(e) = outcome {
                    assert!(is_shortage(&e), "{name} with {left} left: {e}");
                    assert_ne!(*name, "free", "{e}");
                    refused += 1;
                }
            }
            work.end();
        }
    }
    raw::shutdown().unwrap();
    eprintln!("  {runs} steps were short of room: {refused} were refused, {} touches", touch::buses().0);
}

/// Whether that much writable memory can be mapped.
fn has_room(len: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping of the test's, which goes at once.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        at != libc::MAP_FAILED && libc::munmap(at, len) == 0
    }
}

/// The devices are opened without room, which may fail; then with room, which may not.
fn opening(which: crate::room::Limit) {
    let mut failed = 0;
    for left in [0, 1 << 20, 8 << 20, 64 << 20, 192 << 20, 512 << 20, 4 << 30, 64 << 30] {
        raw::init(Some(common::config())).unwrap();
        let mine = raw::malloc(3 << 20).unwrap();
        limit(which, used(which) + left);
        let opened = raw::device_count();
        let moved = raw::migrate(mine, 3 << 20, 0);
        lift_both();
        failed += usize::from(opened.is_err());
        for e in [opened.err(), moved.err()].into_iter().flatten() {
            assert!(
                is_shortage(&e) || matches!(e, Error::NoDevice { .. } | Error::Unsupported { .. }),
                "{left}: {e}"
            );
        }
        // SAFETY: a block of the test's.
        unsafe { raw::free(mine).unwrap() };
        let mut work = Work::new();
        for (name, step) in STEPS {
            step(&mut work).unwrap_or_else(|e| panic!("{name} after opening with {left}: {e}"));
        }
        work.end();
        raw::shutdown().unwrap();
    }
    eprintln!("  {failed} openings failed");
    assert!(failed > 0, "the limits must have been felt");
}

#[test]
fn address_space_and_data() {
    match common::case().as_deref() {
        Some("steps as") => return steps(libc::RLIMIT_AS),
        Some("steps data") => return steps(libc::RLIMIT_DATA),
        Some("opening as") => return opening(libc::RLIMIT_AS),
        Some("opening data") => return opening(libc::RLIMIT_DATA),
        _ => {}
    }
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    for way in ways {
        for case in ["steps as", "steps data", "opening as", "opening data"] {
            eprintln!("{case} {way:?}");
            passes(child("memory::address_space_and_data", case, way));
        }
    }
}

/// Has the kernel compact all memory; whether this process may.
fn compact() -> bool {
    std::fs::write("/proc/sys/vm/compact_memory", "1").is_ok()
}

/// Threads whose blocks go and come while the kernel moves their pages.
fn compacted() {
    start();
    const THREADS: usize = 8;
    let rounds = (200.0 * common::scale()) as u64 + 20;
    let mut times = 0;
    std::thread::scope(|s| {
        let workers = [(); THREADS].map(|()| {
            s.spawn(|| {
                let b = Block::new((1 << 20) + 12_000);
                for round in 0..rounds {
                    (0..b.words()).step_by(100).for_each(|i| b.word(i).store(round + i as u64, Relaxed));
                    raw::migrate(b.ptr, b.len, 0).unwrap();
                    let is_wrong = |i: &usize| b.word(*i).load(Relaxed) != round + *i as u64;
                    let wrong = (0..b.words()).step_by(100).find(is_wrong);
                    assert_eq!(wrong, None, "{:p} {round}", b.ptr);
                }
            })
        });
        while workers.iter().any(|w| !w.is_finished()) {
            times += u64::from(compact());
        }
    });
    raw::shutdown().unwrap();
    eprintln!("  {rounds} rounds, compacted {times} times");
}

/// Catches: the kernel's pages move says less than it has done then (`uffd::place`).
#[test]
fn what_the_kernel_moves() {
    if common::case().is_some() {
        return compacted();
    }
    if !compact() {
        return eprintln!("SKIPPED: only root can have the kernel compact memory");
    }
    passes(child("memory::what_the_kernel_moves", "compacted", &[]));
}
