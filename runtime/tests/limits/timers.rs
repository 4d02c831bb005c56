//! Signals at every point: timers of 10 kHz on every thread, whose handlers touch managed memory that is away and call what a
//! handler may call, while the threads fault, move, launch, allocate and free. Not restarted: every wait of the runtime's
//! that signals reach is interrupted again and again.

use crate::common::{self, Block, kernels};
use crate::room::{WAYS, child, on_gpu, passes};
use crate::touch::install;
use crate::work::{MORE, STEPS, Work};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, LaunchArg, LaunchConfig, StreamId};
use std::cell::Cell;
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

pub const THREADS: usize = 3;
/// Each thread's handler has a page of its own here, whose words it adds to.
pub static PAGES: AtomicUsize = AtomicUsize::new(0);
pub static SIGNALS: [AtomicU64; THREADS] = [const { AtomicU64::new(0) }; THREADS];
static WRITTEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

pub extern "C" fn on_tick(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let number = NUMBER.get();
    if number >= THREADS {
        return; // a timer of the whole process met another thread
    }
    let round = SIGNALS[number].fetch_add(1, Relaxed);
    // SAFETY: words of a live block that this thread's handler alone uses; calls that are safe in handlers.
    unsafe {
        let errno = *libc::__errno_location();
        let page = std::ptr::with_exposed_provenance::<AtomicU64>(PAGES.load(Relaxed) + number * 4096);
        (*page.add(round as usize % 512)).fetch_add(1, Relaxed);
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGUSR2);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        if round.is_multiple_of(64) {
            WRITTEN.fetch_add((libc::write(-1, page.cast(), 8) == -1) as u64, Relaxed);
            libc::getppid();
            libc::poll(std::ptr::null_mut(), 0, 0);
        }
        *libc::__errno_location() = errno;
    }
}

/// A timer for the calling thread.
pub struct Ticks(libc::timer_t);

impl Ticks {
    /// Every `ns`, for thread `number` of those that have a page.
    pub fn every(ns: i64, number: usize) -> Ticks {
        NUMBER.set(number);
        // SAFETY: a zeroed event is filled in; the thread is the calling one.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGPROF;
            event.sigev_notify_thread_id = libc::syscall(libc::SYS_gettid) as i32;
            let mut timer = std::ptr::null_mut();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
            let every = libc::timespec { tv_sec: 0, tv_nsec: ns };
            let setting = libc::itimerspec { it_interval: every, it_value: every };
            assert_eq!(libc::timer_settime(timer, 0, &setting, std::ptr::null_mut()), 0);
            Ticks(timer)
        }
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        // SAFETY: a live timer.
        unsafe { libc::timer_delete(self.0) };
        NUMBER.set(usize::MAX);
    }
}

/// What a thread does, with every word known.
fn work(rounds: u64, add: hmmrt::KernelId) {
    let stream = raw::stream_create(0).unwrap();
    let b = Block::new((2 << 20) + 12_000);
    let small = Block::new(20_000);
    let check = |b: &Block, value: u64| {
        let wrong = (0..b.words()).step_by(61).find(|i| b.word(*i).load(Relaxed) != value + *i as u64);
        assert_eq!(wrong, None, "{:p} {value}", b.ptr);
    };
    for round in 0..rounds {
        for b in [&b, &small] {
            (0..b.words()).step_by(61).for_each(|i| b.word(i).store(round + i as u64, Relaxed));
        }
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::prefetch(small.ptr, small.len, 0, stream).unwrap();
        check(&b, round);
        // A kernel on one word, which the CPU then waits for.
        let word =
            [LaunchArg::Pointer { ptr: b.word(1).as_ptr().cast(), len: 8, mode: AccessMode::ReadWrite }];
        b.word(1).store(round, Relaxed);
        for _ in 0..3 {
            // SAFETY: the argument is the kernel's.
            unsafe { raw::launch(add, &LaunchConfig { stream, ..LaunchConfig::default() }, &word).unwrap() };
        }
        assert_eq!(b.word(1).load(Relaxed), round + 3);
        raw::stream_synchronize(stream).unwrap();
        check(&small, round);
        let all = [Access { ptr: b.ptr, len: b.len, mode: AccessMode::Read }];
        // SAFETY: nothing is written.
        unsafe { raw::acquire(0, stream, &all).unwrap() };
        raw::release(0, stream).unwrap();
        let other = Block::new(4096 * (1 + round as usize % 700));
        other.word(7).store(round, Relaxed);
        raw::migrate(other.ptr, other.len, 0).unwrap();
        assert_eq!(other.word(7).load(Relaxed), round);
        raw::migrate(other.ptr, other.len, 0).unwrap();
        drop(other); // away
        check(&b, round);
        // The handlers' pages go, too.
        let pages = std::ptr::with_exposed_provenance_mut::<u8>(PAGES.load(Relaxed));
        raw::migrate(pages, THREADS * 4096, if round % 5 == 4 { HMM_HOST } else { 0 }).unwrap();
    }
    raw::stream_destroy(stream).unwrap();
}

fn ticking() {
    // Never freed: a last signal may come late.
    let pages = std::mem::ManuallyDrop::new(Block::new(THREADS * 4096));
    PAGES.store(pages.ptr.expose_provenance(), Relaxed);
    install(libc::SIGPROF, on_tick as *const () as usize, libc::SA_SIGINFO);
    let add = kernels::kernel(0, "test_add_word");
    let rounds = ((if on_gpu() { 150.0 } else { 700.0 }) * common::scale()) as u64 + 20;
    let every = libc::timeval { tv_sec: 0, tv_usec: 100 };
    let profile = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: a valid timer.
    unsafe { libc::setitimer(libc::ITIMER_PROF, &profile, std::ptr::null_mut()) };
    std::thread::scope(|s| {
        for (number, signals) in SIGNALS.iter().enumerate() {
            s.spawn(move || {
                let ticks = Ticks::every(100_000, number);
                work(rounds, add);
                // Until the timers have run: there are machines on which threads have to wait for long.
                common::until("signals", || {
                    work(1, add);
                    signals.load(Relaxed) > 300
                });
                drop(ticks);
            });
        }
    });
    // SAFETY: zero is no timer.
    unsafe { libc::setitimer(libc::ITIMER_PROF, &std::mem::zeroed(), std::ptr::null_mut()) };
    let mut all = 0;
    for (number, signals) in SIGNALS.iter().enumerate() {
        let signals = signals.load(Relaxed);
        let counted: u64 = (0..512).map(|i| pages.word(number * 512 + i).load(Relaxed)).sum();
        assert_eq!(counted, signals, "thread {number}: what handlers wrote");
        all += signals;
    }
    eprintln!("  {rounds} rounds of {THREADS} threads, {all} signals");
}

/// So many signals come in each step of the script.
const IN_EACH: u64 = 5;

/// The script, and what is beside it, again and again until signals have come in all of its steps.
fn ticking_script() {
    let pages = std::mem::ManuallyDrop::new(Block::new(THREADS * 4096));
    PAGES.store(pages.ptr.expose_provenance(), Relaxed);
    install(libc::SIGPROF, on_tick as *const () as usize, libc::SA_SIGINFO);
    let steps: Vec<_> = [&STEPS[..], &MORE].concat();
    let end = steps.iter().position(|(name, _)| *name == "disown").unwrap();
    let in_order = || (0..end).chain(STEPS.len()..steps.len()).chain(end..STEPS.len());
    let mut ticks = vec![0; steps.len()];
    let mut rounds = 0;
    let timer = Ticks::every(100_000, 0); // all the time: a step may be shorter than its first tick would take
    common::until("signals in every step", || {
        let mut work = Work::new();
        for i in in_order() {
            let (name, step) = steps[i];
            raw::migrate(pages.ptr, pages.len, 0).unwrap(); // the handler's, too
            let before = SIGNALS[0].load(Relaxed);
            step(&mut work).unwrap_or_else(|e| panic!("{name}: {e}"));
            ticks[i] += SIGNALS[0].load(Relaxed) - before;
            if rounds == 0 {
                work.check(name);
            }
        }
        work.end_but(pages.len);
        rounds += 1;
        ticks.iter().all(|n| *n >= IN_EACH)
    });
    drop(timer);
    let counted: u64 = (0..512).map(|i| pages.word(i).load(Relaxed)).sum();
    assert_eq!(counted, SIGNALS[0].load(Relaxed), "what handlers wrote");
    let told: Vec<String> = steps.iter().zip(&ticks).map(|((name, _), n)| format!("{name} {n}")).collect();
    eprintln!("  {rounds} rounds, signals: {}", told.join(", "));
}

/// As [`child`], with as many arenas as the C library likes: a handler has often interrupted malloc, and a driver's copy, which the
/// service thread makes for it, may allocate. (The host backend's does not: `signals` has it with one arena.)
pub fn ticked(test: &str, case: &str, way: &[(&str, &str)]) -> Command {
    let mut command = child(test, case, way);
    command.env_remove("MALLOC_ARENA_MAX");
    command
}

#[test]
fn in_every_step() {
    if common::case().is_some() {
        return ticking_script();
    }
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    ways.iter().for_each(|way| drop(passes(ticked("timers::in_every_step", "ticking", way))));
}

/// The end of the engine's threads, which are told one by one, is interrupted again and again.
#[test]
fn while_the_runtime_ends() {
    if common::case().is_none() {
        return drop(passes(ticked("timers::while_the_runtime_ends", "ends", &[])));
    }
    install(libc::SIGPROF, on_tick as *const () as usize, libc::SA_SIGINFO);
    let ticks = Ticks::every(20_000, THREADS); // whose handler touches nothing
    for round in 0..20 + (180.0 * common::scale()) as u64 {
        let b = Block::new(8192);
        b.word(0).store(round, Relaxed);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::shutdown().unwrap();
        assert_eq!(b.word(0).load(Relaxed), round);
        raw::init(Some(common::config())).unwrap();
    }
    drop(ticks);
}

/// One thread is interrupted while it has the heap; its handler waits for what another is acquiring, which has to make room first.
fn ticking_beside_who_makes_room() {
    const MIB: usize = 1 << 20;
    let pages = std::mem::ManuallyDrop::new(Block::new(THREADS * 4096));
    PAGES.store(pages.ptr.expose_provenance(), Relaxed);
    install(libc::SIGPROF, on_tick as *const () as usize, libc::SA_SIGINFO);
    let read = [Block::new(4 * MIB), Block::new(4 * MIB)];
    read.iter().for_each(|b| (0..b.words()).step_by(512).for_each(|i| b.word(i).store(1, Relaxed)));
    let rounds = (6_000.0 * common::scale()) as usize + 200;
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            let stream = raw::stream_create(0).unwrap();
            let before = raw::stats().evictions;
            let mut round = 0;
            while round < rounds || SIGNALS[0].load(Relaxed) < 300 {
                let b = &read[round % 2];
                round += 1;
                let all = [
                    Access { ptr: pages.ptr, len: pages.len, mode: AccessMode::ReadWrite },
                    Access { ptr: b.ptr, len: b.len, mode: AccessMode::Read },
                ];
                // SAFETY: no kernel uses it.
                unsafe { raw::acquire(0, stream, &all).unwrap() };
                raw::release(0, stream).unwrap();
            }
            assert!(raw::stats().evictions - before > round as u64 / 2, "the device is too small");
        });
        s.spawn(move || {
            let ticks = Ticks::every(100_000, 0);
            let mut round = 0;
            while !reader.is_finished() {
                round += 1;
                let b = Block::new([4096, 12_000, 3 * MIB, 16 * MIB][round % 4]);
                (0..b.words()).step_by(5 * 512).for_each(|i| b.word(i).store(1, Relaxed));
            }
            drop(ticks);
        });
    });
    let signals = SIGNALS[0].load(Relaxed);
    let counted: u64 = (0..512).map(|i| pages.word(i).load(Relaxed)).sum();
    assert_eq!(counted, signals, "what handlers wrote");
    eprintln!("  {rounds} rounds, {signals} signals");
}

/// Catches: who makes room waits for the heap, and who has that for it.
#[test]
fn beside_who_makes_room() {
    if common::case().is_some() {
        return ticking_beside_who_makes_room();
    }
    let small = [("HMMRT_HOST_MEMORY", "8M"), ("HMMRT_DOUBLE_MEMORY", "8M")];
    passes(ticked("timers::beside_who_makes_room", "room", &small));
}

#[test]
fn at_every_point() {
    if common::case().is_some() {
        return ticking();
    }
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    ways.iter().for_each(|way| drop(passes(ticked("timers::at_every_point", "ticking", way))));
}

#[test]
fn a_wait_for_a_kernel_is_not_cut_short() {
    if common::case().is_none() {
        let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
        let name = "timers::a_wait_for_a_kernel_is_not_cut_short";
        return ways.iter().for_each(|way| drop(passes(ticked(name, "waits", way))));
    }
    let pages = std::mem::ManuallyDrop::new(Block::new(THREADS * 4096));
    PAGES.store(pages.ptr.expose_provenance(), Relaxed);
    install(libc::SIGPROF, on_tick as *const () as usize, libc::SA_SIGINFO);
    let slow = kernels::kernel(0, "test_slow_increment");
    let b = Block::new(64 << 10);
    let (words, ns) = (b.len as u64 / 4, 40_000_000_u64);
    let value = |v: &u64| LaunchArg::Value { data: std::ptr::from_ref(v).cast(), size: 8 };
    let ticks = Ticks::every(100_000, 0);
    // Until the timer has run, too: there are machines on which threads have to wait for long.
    for round in (1..).take_while(|round| *round < 10 || SIGNALS[0].load(Relaxed) <= 20) {
        let pointer = LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite };
        // SAFETY: the arguments are the kernel's.
        unsafe {
            raw::launch(slow, &LaunchConfig::default(), &[pointer, value(&words), value(&ns)]).unwrap()
        };
        match round % 3 {
            0 => raw::stream_synchronize(StreamId::DEFAULT).unwrap(),
            1 => raw::host_ready(b.ptr, b.len, AccessMode::Read).unwrap(),
            _ => {}
        }
        let expected = round | round << 32;
        let wrong = (0..b.words()).find(|i| b.word(*i).load(Relaxed) != expected);
        assert_eq!(wrong, None, "round {round}");
    }
    if common::on_host_backend() {
        // What cannot be found out by touching memory, which would wait as well: a call returned, so the kernel has ended.
        // SAFETY: takes nothing, touches no managed memory.
        let late = unsafe { raw::kernel_from_function(0, late).unwrap() };
        for round in 1..10 {
            // SAFETY: as above.
            unsafe { raw::launch(late, &LaunchConfig::default(), &[]).unwrap() };
            raw::stream_synchronize(StreamId::DEFAULT).unwrap();
            assert_eq!(ENDED.load(SeqCst), round, "the stream was not waited for");
        }
    }
    drop(ticks);
}

static ENDED: AtomicU64 = AtomicU64::new(0);

/// # Safety
/// None: it looks at no argument. Unsafe as the type of kernels is.
unsafe extern "C" fn late(_: *const LaunchConfig, _: *const *mut std::ffi::c_void) {
    std::thread::sleep(std::time::Duration::from_millis(30));
    ENDED.fetch_add(1, SeqCst);
}
