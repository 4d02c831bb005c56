//! Shutdown beside calls of other threads: what they have sent away comes home, what a launch that was made has written is
//! there, and everything later is told so. Every word is known, and each thread has its own.

mod common;

use common::{Block, case, kernels, run_case};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Backend, Config, Error, LaunchArg, LaunchConfig, StreamId};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

static OVER: AtomicBool = AtomicBool::new(false);
/// Calls that were made, and those that were told of a shutdown.
static MADE: AtomicU32 = AtomicU32::new(0);
static TOLD: AtomicU32 = AtomicU32::new(0);

/// Whether a call was made; if not, there is or was a shutdown: a kernel of an earlier runtime is none of the next.
fn made<T>(what: &str, result: Result<T, Error>) -> bool {
    match result {
        Ok(_) => MADE.fetch_add(1, Relaxed),
        Err(Error::Shutdown { .. } | Error::BadHandle { .. }) => {
            TOLD.fetch_add(1, Relaxed);
            return false;
        }
        Err(e) => panic!("{what}: {e}"),
    };
    true
}

fn fill(b: &Block, value: u8) {
    (0..b.words()).for_each(|i| b.word(i).store(u64::from_ne_bytes([value; 8]), Relaxed));
}

fn check(b: &Block, value: u8, who: &str) {
    let right = u64::from_ne_bytes([value; 8]);
    let wrong = (0..b.words()).find(|i| b.word(*i).load(Relaxed) != right);
    let found = wrong.map(|i| b.word(i).load(Relaxed));
    assert_eq!(wrong, None, "{who}: {found:x?} in place of {right:x}");
}

/// Sends memory to the device and takes it back.
fn moves(b: Block) {
    let mut value = 0;
    while !OVER.load(Relaxed) {
        fill(&b, value);
        made("migrate", raw::migrate(b.ptr, b.len, 0));
        check(&b, value, "moves");
        made("prefetch", raw::prefetch(b.ptr, b.len, 0, StreamId::DEFAULT));
        made("host_ready", raw::host_ready(b.ptr, b.len, AccessMode::Write));
        check(&b, value, "moves");
        made("migrate", raw::migrate(b.ptr, b.len / 2, 0));
        made("migrate", raw::migrate(b.ptr, b.len, HMM_HOST));
        check(&b, value, "moves");
        value = value.wrapping_add(1);
    }
}

/// Launches, and knows how often that was possible.
fn launches(b: Block) {
    let mut value = 0;
    let (n, one) = (b.len as u64, 1_u8);
    fill(&b, value);
    while !OVER.load(Relaxed) {
        let Ok(kernel) = kernels::try_kernel(0, "test_add_bytes") else { continue };
        for _ in 0..50 {
            let args = [
                LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite },
                LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
                LaunchArg::Value { data: (&raw const one).cast(), size: 1 },
            ];
            // SAFETY: the arguments are the kernel's.
            let launched = unsafe { raw::launch(kernel, &LaunchConfig::linear(b.len / 16, 256), &args) };
            if !made("launch", launched) {
                break;
            }
            value = value.wrapping_add(1);
            if value % 8 == 0 {
                check(&b, value, "launches");
            }
        }
    }
    check(&b, value, "launches");
}

/// Acquires and releases.
fn acquires(b: Block) {
    let mut value = 0;
    while !OVER.load(Relaxed) {
        fill(&b, value);
        let all = [Access { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite }];
        // SAFETY: nothing is given up.
        if made("acquire", unsafe { raw::acquire(0, StreamId::DEFAULT, &all) }) {
            made("release", raw::release(0, StreamId::DEFAULT));
        }
        check(&b, value, "acquires");
        value = value.wrapping_add(1);
    }
}

/// Reallocates what is on the device.
fn grows(_: Block) {
    let mut value = 0;
    while !OVER.load(Relaxed) {
        // What the heap does not give now is no failure.
        let Ok(ptr) = raw::malloc(4 << 20) else { continue };
        let small = Block { ptr, len: 4 << 20 };
        fill(&small, value);
        made("migrate", raw::migrate(ptr, small.len, 0));
        // SAFETY: the block is used by its new name only.
        let grown = unsafe { raw::realloc(ptr, 9 << 20) };
        let b = match grown {
            Ok(ptr) => {
                std::mem::forget(small);
                Block { ptr, len: 9 << 20 }
            }
            Err(_) => small,
        };
        let part = std::mem::ManuallyDrop::new(Block { ptr: b.ptr, len: 4 << 20 });
        check(&part, value, "grows");
        value = value.wrapping_add(1);
    }
}

/// Has the threads end, also when this one panics.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        OVER.store(true, Relaxed);
    }
}

fn child() {
    common::end_if_it_hangs();
    raw::init(None).unwrap();
    std::thread::scope(|s| {
        let _over = Over;
        // Blocks from before the first shutdown, whenever the threads begin.
        let threads = [(moves as fn(Block), 6 << 20), (launches, 3 << 20), (acquires, 5 << 20), (grows, 1)];
        let threads = threads.map(|(f, len)| (f, Block::new(len))).map(|(f, b)| s.spawn(move || f(b)));
        let least = (40.0 * common::scale()).ceil() as u64;
        let met = || MADE.load(Relaxed) > 100 && TOLD.load(Relaxed) > 10;
        for round in (0..).take_while(|round| *round < least || !met()) {
            // Long enough for each to be somewhere else.
            std::thread::sleep(std::time::Duration::from_millis(3 + round % 7));
            let down = raw::shutdown();
            assert!(matches!(down, Ok(()) | Err(Error::Busy { .. })), "{down:?}");
            std::thread::yield_now();
            assert!(threads.iter().all(|t| !t.is_finished()), "a thread has ended");
            if down.is_ok() {
                raw::init(None).unwrap();
            }
        }
    });
    let (made, told) = (MADE.load(Relaxed), TOLD.load(Relaxed));
    eprintln!("{made} calls were made, {told} were told of a shutdown");
}

/// How many TiB of addresses the process has taken.
fn taken() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|l| l.strip_prefix("VmSize:")).unwrap();
    size.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 30
}

/// Catches: device addresses that are kept at shutdown, a terabyte each time, until no more can be had.
#[test]
fn addresses_are_given_back() {
    if case().is_none() {
        let out = run_case("addresses_are_given_back", "addresses", &[]);
        assert!(out.status.success(), "{:?}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
        return;
    }
    let mut before = 0;
    for round in 0..12 {
        raw::init(None).unwrap();
        let b = Block::new(3 << 20);
        fill(&b, round);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::shutdown().unwrap();
        check(&b, round, "addresses");
        before = if round == 1 { taken() } else { before };
    }
    assert!(taken() <= before + 2, "{} TiB are taken, and {before} were after two rounds", taken());
}

/// Catches: a shutdown that does not wait for calls in progress, and one that lets memory leave behind its back.
#[test]
fn calls_meet_shutdown() {
    if case().is_some() {
        return child();
    }
    let out = run_case("calls_meet_shutdown", "calls", &[]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{:?}\n{err}", out.status);
}

/// Catches: a call that came before a shutdown, and opens devices after it, with settings that nobody asked for.
#[test]
fn who_is_late_opens_nothing() {
    if case().is_none() {
        let out = run_case("who_is_late_opens_nothing", "late", &[]);
        assert!(out.status.success(), "{:?}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
        return;
    }
    common::end_if_it_hangs();
    let config = || Config { backend: Backend::Host, host_devices: 3, ..Config::from_env().unwrap() };
    raw::init(Some(config())).unwrap();
    let calls = || {
        while !OVER.load(Relaxed) {
            made("device_count", raw::device_count());
        }
    };
    std::thread::scope(|s| {
        let threads = [(); 3].map(|()| s.spawn(calls));
        for round in 0..(2000.0 * common::scale()) as u32 {
            raw::shutdown().unwrap();
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            raw::init(Some(config())).unwrap();
            assert_eq!(raw::device_count(), Ok(3), "round {round}");
            assert!(threads.iter().all(|t| !t.is_finished()), "a thread has ended");
        }
        OVER.store(true, Relaxed);
    });
}
