//! Streams that several threads launch on, make and end, and what is launched twice: on the host backend and the doubles. Each case
//! has a process of its own, which ends if it hangs.

mod common;

use common::double::{self, Double};
use common::{Block, kernels};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Error, KernelId, LaunchArg, LaunchConfig, StreamId};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

const CHUNK: usize = 2 << 20;

fn value<T>(data: &T) -> LaunchArg {
    LaunchArg::Value { data: std::ptr::from_ref(data).cast(), size: size_of::<T>() }
}

fn pointer(b: &Block, mode: AccessMode) -> LaunchArg {
    LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode }
}

/// Adds one to each byte.
fn add(kernel: KernelId, b: &Block, config: LaunchConfig) -> Result<(), Error> {
    let n = b.len as u64;
    let args = [pointer(b, AccessMode::ReadWrite), value(&n), value(&1_u8)];
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(kernel, &config, &args) }
}

fn linear(b: &Block, stream: StreamId) -> LaunchConfig {
    LaunchConfig { stream, ..LaunchConfig::linear(b.len / 16, 256) }
}

/// A kernel reads what was acquired on its stream; the CPU writes that, and a launch on the same stream reads it anew: the first has
/// the bytes that it was launched with.
fn launched_again() {
    raw::device_count().unwrap();
    let (x, y, z) = (Block::new(4096), Block::new(4096), Block::new(4096));
    let copy = kernels::kernel(0, "test_slow_copy");
    let fill = |v: u64| (0..x.words()).for_each(|i| x.word(i).store(v, Relaxed));
    let s = raw::stream_create(0).unwrap();
    fill(1);
    let read = [Access { ptr: x.ptr, len: x.len, mode: AccessMode::Read }];
    // SAFETY: the kernel that is queued below reads it.
    unsafe { raw::acquire(0, s, &read).unwrap() };
    let at = raw::device_ptr(x.ptr, 0).unwrap() as u64;
    let run = |to: &Block, from: LaunchArg, ns: u64| {
        let args = [pointer(to, AccessMode::Write), from, value(&1024_u64), value(&ns)];
        let config = LaunchConfig { stream: s, ..LaunchConfig::linear(1024, 256) };
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(copy, &config, &args).unwrap() }
    };
    run(&y, value(&at), 300_000_000);
    fill(2);
    run(&z, pointer(&x, AccessMode::Read), 0);
    raw::release(0, s).unwrap();
    raw::stream_synchronize(s).unwrap();
    assert_eq!((y.word(0).load(Relaxed), z.word(0).load(Relaxed)), (1, 2));
}

/// Shutdown beside threads that make and end streams.
fn ended() {
    static OVER: AtomicBool = AtomicBool::new(false);
    raw::init(None).unwrap();
    let work = || {
        while !OVER.load(Relaxed) {
            if let Ok(s) = raw::stream_create(0) {
                let _ = raw::stream_destroy(s);
            }
        }
    };
    let mut wrong = Vec::new();
    std::thread::scope(|s| {
        let threads = [(); 3].map(|()| s.spawn(work));
        for round in 0..(2000.0 * common::scale()) as u64 + 200 {
            std::thread::sleep(Duration::from_micros(500 + round % 700));
            match raw::shutdown() {
                Ok(()) => raw::init(None).unwrap(),
                Err(Error::Busy { .. }) => {}
                Err(e) => wrong.push(e.to_string()),
            }
            assert!(threads.iter().all(|t| !t.is_finished()));
        }
        OVER.store(true, Relaxed);
    });
    assert!(wrong.is_empty(), "{} times {:?}", wrong.len(), wrong[0]);
}

/// Ended by two threads at a time: one of them does it, and nobody's successor is ended.
fn ended_twice() {
    raw::device_count().unwrap();
    let (kept, b) = (raw::stream_create(0).unwrap(), Block::new(4096));
    let add_bytes = kernels::kernel(0, "test_add_bytes");
    for _ in 0..(2000.0 * common::scale()) as usize + 100 {
        let s = raw::stream_create(0).unwrap();
        let both = std::thread::scope(|scope| {
            let other = scope.spawn(move || raw::stream_destroy(s));
            let own = raw::stream_destroy(s);
            let next = raw::stream_create(0).unwrap();
            let other = other.join().unwrap();
            add(add_bytes, &b, linear(&b, next)).unwrap();
            raw::stream_destroy(next).unwrap();
            [own, other]
        });
        assert_eq!(both.iter().filter(|r| r.is_ok()).count(), 1, "{both:?}");
        assert!(both.iter().all(|r| matches!(r, Ok(()) | Err(Error::BadHandle { .. }))), "{both:?}");
    }
    raw::stream_destroy(kept).unwrap();
}

/// Two threads, each of which launches on 10 of the 16 chunks that fit.
fn room() {
    raw::init(None).unwrap();
    let wrong = Mutex::new(Vec::new());
    let rounds = (30.0 * common::scale()) as usize + 10;
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let b = Block::new(10 * CHUNK);
                let k = kernels::kernel(0, "test_add_bytes");
                let stream = raw::stream_create(0).unwrap();
                for _ in 0..rounds {
                    if let Err(e) = add(k, &b, linear(&b, stream)) {
                        wrong.lock().unwrap().push(e.to_string());
                    }
                    raw::stream_synchronize(stream).unwrap();
                }
                let (all, own) = (0x0101_0101_0101_0101, rounds as u64 % 256);
                if wrong.lock().unwrap().is_empty() {
                    assert!((0..b.words()).step_by(512).all(|i| b.word(i).load(Relaxed) == all * own));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} launches that fit: {}", wrong.len(), 2 * rounds, wrong[0]);
}

/// One kernel from two threads with different amounts of shared memory, both more than the usual.
fn shared() {
    raw::init(None).unwrap();
    let k = kernels::kernel(0, "test_add_bytes");
    std::thread::scope(|s| {
        for kib in [64, 100] {
            s.spawn(move || {
                let b = Block::new(4096);
                let stream = raw::stream_create(0).unwrap();
                for _ in 0..(20_000.0 * common::scale()) as usize + 2000 {
                    add(k, &b, LaunchConfig { shared_bytes: kib << 10, ..linear(&b, stream) }).unwrap();
                }
                raw::stream_synchronize(stream).unwrap();
            });
        }
    });
}

/// A driver that answers each call with an error that need not be for good, for good: nobody waits for ever.
fn dead() {
    let double = Double::of_case();
    raw::init(None).unwrap();
    let (b, other) = (Block::new(4 << 20), Block::new(4 << 20));
    let k = kernels::kernel(0, "test_add_bytes");
    add(k, &b, linear(&b, StreamId::DEFAULT)).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    raw::migrate(other.ptr, other.len, 0).unwrap();
    double.arm("any:1+");
    // The device counts as lost from the first of these on.
    assert!(raw::migrate(other.ptr, other.len, HMM_HOST).is_err());
    assert!(add(k, &b, linear(&b, StreamId::DEFAULT)).is_err());
    let _ = raw::stream_synchronize(StreamId::DEFAULT); // there may be another device, which is not lost yet
    assert!(matches!(raw::migrate(b.ptr, b.len, HMM_HOST), Err(Error::Device { .. })));
    drop((b, other));
    double.arm("");
    raw::shutdown().unwrap();
}

/// A prefetch whose block is freed before the stream gets there, without virtual memory management: whoever has the addresses next
/// gets device addresses for himself.
fn freed_before() {
    raw::init(None).unwrap();
    let slow = kernels::kernel(0, "test_slow_increment");
    let k = kernels::kernel(0, "test_add_bytes");
    let busy = Block::new(4096);
    let stream = raw::stream_create(0).unwrap();
    let args = [pointer(&busy, AccessMode::ReadWrite), value(&1_u64), value(&500_000_000_u64)];
    let config = LaunchConfig { stream, ..LaunchConfig::linear(1, 1) };
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(slow, &config, &args).unwrap() };
    let old = Block::new(6 * CHUNK);
    let at = old.ptr.addr();
    raw::prefetch(old.ptr, old.len, 0, stream).unwrap();
    drop(old);
    // Two blocks over it: the second begins inside of the old one's addresses, and ends behind them.
    let (first, second) = (Block::new(4 * CHUNK), Block::new(6 * CHUNK));
    let old = at..at + 6 * CHUNK;
    assert!(old.contains(&second.ptr.addr()) && !old.contains(&(second.ptr.addr() + second.len - 1)));
    for b in [&first, &second] {
        (0..b.words()).for_each(|i| b.word(i).store(1, Relaxed));
    }
    raw::stream_synchronize(stream).unwrap();
    for b in [&first, &second] {
        add(k, b, linear(b, StreamId::DEFAULT)).unwrap();
    }
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
}

static TOUCH: AtomicUsize = AtomicUsize::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);
static HAS_BEGUN: AtomicBool = AtomicBool::new(false);

extern "C" fn touch(_: i32) {
    HAS_BEGUN.store(true, SeqCst);
    // SAFETY: a live word.
    let word = unsafe { std::ptr::with_exposed_provenance::<u64>(TOUCH.load(SeqCst)).read_volatile() };
    SEEN.store(word, SeqCst);
}

/// While `f` is in a call of the driver's that does not return, a handler of its thread touches what is away: it is served, now or
/// behind the call.
fn interrupted(double: &Double, stuck: &'static str, away: usize, f: impl FnOnce() + Send) {
    static THREAD: AtomicU64 = AtomicU64::new(0);
    let handler: extern "C" fn(i32) = touch;
    // SAFETY: a handler that reads a live word.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as usize) };
    TOUCH.store(away, SeqCst);
    double.arm(&format!("{stuck}:1=stuck"));
    std::thread::scope(|s| {
        s.spawn(|| {
            // SAFETY: no arguments.
            THREAD.store(unsafe { libc::pthread_self() }, SeqCst);
            f();
        });
        common::until("the call", || double.calls(stuck, stuck) > 0);
        // SAFETY: the thread is in the call.
        unsafe { libc::pthread_kill(THREAD.load(SeqCst), libc::SIGUSR1) };
        let end = Instant::now() + Duration::from_millis(200); // it may have to wait for the call's end
        while !HAS_BEGUN.load(SeqCst) && Instant::now() < end {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(50));
        double.arm("");
    });
    assert_eq!(SEEN.load(SeqCst), 7);
}

fn freed_with_handlers() {
    let double = Double::of_case();
    raw::init(None).unwrap();
    let (c, x) = (Block::new(CHUNK), Block::new(4 * CHUNK));
    c.word(0).store(7, Relaxed);
    raw::migrate(c.ptr, c.len, 0).unwrap();
    raw::migrate(x.ptr, x.len, 0).unwrap();
    raw::migrate(x.ptr, x.len, HMM_HOST).unwrap();
    interrupted(&double, "cuMemFree", c.ptr.expose_provenance(), move || drop(x));
}

fn allocated_with_handlers() {
    let double = Double::of_case();
    raw::init(None).unwrap();
    raw::device_count().unwrap();
    let (rw, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, and a word of it.
    let at = unsafe {
        let mapped = libc::mmap(std::ptr::null_mut(), 2 * CHUNK, rw, flags, -1, 0);
        let at = mapped.wrapping_add(mapped.align_offset(CHUNK));
        at.cast::<u64>().write(7);
        raw::adopt(at.cast(), CHUNK).unwrap();
        at
    };
    raw::migrate(at.cast(), CHUNK, 0).unwrap();
    interrupted(&double, "cuMemAddressReserve", at.expose_provenance(), || drop(Block::new(CHUNK)));
}

/// What means another stream in each thread has no place in an order of several.
fn each_threads_own() {
    raw::device_count().unwrap();
    // SAFETY: a handle that the driver knows.
    let refused = unsafe { raw::stream_from_native(0, std::ptr::without_provenance_mut(2)) };
    assert!(matches!(refused, Err(Error::InvalidArgument { arg: "native", .. })), "{refused:?}");
}

/// 2 to the 64th threads.
fn too_many_threads() {
    raw::init(None).unwrap();
    let (b, k) = (Block::new(4096), kernels::kernel(0, "test_add_bytes"));
    let got = add(k, &b, LaunchConfig { block: [1 << 22, 1 << 21, 1 << 21], ..LaunchConfig::linear(1, 1) });
    assert!(matches!(got, Err(Error::InvalidArgument { arg: "config", .. })), "{got:?}");
}

fn child(name: &str) {
    common::end_if_it_hangs();
    match name {
        "launched_again" => launched_again(),
        "ended" => ended(),
        "ended_twice" => ended_twice(),
        "room" => room(),
        "shared" => shared(),
        "dead" => dead(),
        "freed_before" => freed_before(),
        "freed_with_handlers" => freed_with_handlers(),
        "allocated_with_handlers" => allocated_with_handlers(),
        "each_threads_own" => each_threads_own(),
        "too_many_threads" => too_many_threads(),
        _ => panic!("no case {name}"),
    }
}

type Settings = &'static [(&'static str, &'static str)];

#[test]
fn cases() {
    if let Some(name) = common::case() {
        return child(&name);
    }
    let small: Settings =
        &[("HMMRT_DOUBLE_MEMORY", "32M"), ("HMMRT_DEVICE_GROUP", "2M"), ("HMMRT_DOUBLE_DEVICES", "1")];
    let no_vmm: Settings = &[("HMMRT_DOUBLE_VMM", "0")];
    let both = ["cuda", "hip"];
    for (name, kinds, settings) in [
        ("launched_again", both.as_slice(), [].as_slice()),
        ("ended", &both, &[]),
        ("ended_twice", &both, &[]),
        ("room", &both, small),
        ("shared", &["cuda"], &[]),
        ("dead", &both, &[]),
        ("freed_before", &both, no_vmm),
        ("freed_with_handlers", &["cuda"], no_vmm),
        ("allocated_with_handlers", &["cuda"], &[]),
        ("each_threads_own", &both, &[]),
    ] {
        for kind in kinds {
            let out = double::run_case(kind, &double::library(kind), name, settings);
            assert!(
                out.status.success(),
                "{kind} {name}: {:?}\n{}",
                out.status,
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }
    for (name, settings) in [
        ("launched_again", [].as_slice()),
        ("ended", &[]),
        ("ended_twice", &[]),
        ("room", &[("HMMRT_HOST_MEMORY", "32M")]),
        ("too_many_threads", &[]),
    ] {
        let mut command = double::case_command(name);
        let out = command.env("HMMRT_BACKEND", "host").envs(settings.iter().copied()).output().unwrap();
        assert!(
            out.status.success(),
            "host {name}: {:?}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
