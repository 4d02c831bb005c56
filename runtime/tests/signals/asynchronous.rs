//! What comes at any moment: a profiling timer, fork, and the end of the runtime.

use super::common::{self, Block, kernels};
use super::{INFO, forbidden, install, on_device, works};
use hmmrt::raw;
use hmmrt::{Access, AccessMode, Error, LaunchArg, LaunchConfig, StreamId};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

static COUNTER: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_timer(_: i32) {
    let word = COUNTER.load(SeqCst);
    // SAFETY: a word of a live managed block.
    unsafe { (*std::ptr::with_exposed_provenance::<AtomicU64>(word)).fetch_add(1, Relaxed) };
}

/// How often the timer's handler is to have run at least.
const TIMES: u64 = 20;

/// Gives the timer's handler something to come between, until it has. How often that was.
fn repeat(b: &Block, mut f: impl FnMut(u64)) -> u64 {
    let least = ((6000.0 * common::scale()) as u64).clamp(800, 6000);
    let has_run = || b.word(1 << 17).load(Relaxed) > TIMES;
    let mut i = 0;
    while i < least || !has_run() {
        f(i);
        i += 1;
    }
    i
}

/// A profiling timer whose handler touches the memory that this thread is moving.
pub fn timer() {
    // Never freed: a last signal may arrive when the timer is off.
    let b = std::mem::ManuallyDrop::new(Block::new(4 << 20));
    let all = [Access { ptr: b.ptr, len: b.len, mode: AccessMode::Read }];
    with_timer((libc::ITIMER_PROF, libc::SIGPROF), &b, || {
        repeat(&b, |i| {
            b.word(3).store(i, Relaxed);
            raw::migrate(b.ptr, b.len, 0).unwrap();
            // SAFETY: only read.
            unsafe { raw::acquire(0, StreamId::DEFAULT, &all).unwrap() };
            raw::release(0, StreamId::DEFAULT).unwrap();
            assert_eq!(b.word(3).load(Relaxed), i);
        });
    });
}

/// A timer whose handler touches the memory that this thread launches kernels on. Catches: signals that are let in
/// while a launch has its memory open, which the handler's touch would wait for.
pub fn launches() {
    let b = std::mem::ManuallyDrop::new(Block::new(4 << 20));
    let kernel = kernels::kernel(0, "test_add_bytes");
    let (n, one) = (64_u64, 1_u8);
    let args = [
        LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const one).cast(), size: 1 },
    ];
    // Ends what hangs: the alarm is taken.
    std::thread::spawn(|| {
        std::thread::sleep(std::time::Duration::from_secs(600));
        std::process::abort();
    });
    let mut rounds = 0;
    with_timer((libc::ITIMER_REAL, libc::SIGALRM), &b, || {
        rounds = repeat(&b, |_| {
            // SAFETY: the arguments are the kernel's.
            unsafe { raw::launch(kernel, &LaunchConfig::default(), &args).unwrap() };
        });
    });
    let right = u64::from_ne_bytes([(rounds % 256) as u8; 8]);
    assert!((0..8).all(|i| b.word(i).load(Relaxed) == right));
}

/// Runs `body` while a timer's handler touches memory every 100 us, if the kernel's clock is so fine.
fn with_timer((timer, signal): (i32, i32), b: &Block, body: impl FnOnce()) {
    COUNTER.store(b.ptr as usize + (1 << 20), SeqCst);
    install(signal, on_timer as *const () as usize, libc::SA_RESTART);
    let every = libc::timeval { tv_sec: 0, tv_usec: 100 };
    let t = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: a valid timer.
    unsafe { libc::setitimer(timer, &t, std::ptr::null_mut()) };
    body(); // until it has run, see `repeat`
    let off = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let off = libc::itimerval { it_interval: off, it_value: off };
    // SAFETY: as above.
    unsafe { libc::setitimer(timer, &off, std::ptr::null_mut()) };
}

/// A forked child: calls say so; what was on the host is there, and what was on the device only.
pub fn fork() {
    let home = Block::new(2 << 20);
    home.word(7).store(77, Relaxed);
    let away = on_device(2 << 20);
    let both = on_device(2 << 20);
    assert_eq!(both.word(0).load(Relaxed), 1);
    let run = |f: &dyn Fn() -> i32| -> i32 {
        // SAFETY: the child only runs `f` and exits.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(f());
            }
            let mut status = 0;
            libc::waitpid(pid, &mut status, 0);
            status
        }
    };
    let code = |ok: bool| if ok { 0 } else { 1 };
    assert_eq!(run(&|| code(matches!(raw::malloc(1), Err(Error::Forked { .. })))), 0);
    assert_eq!(run(&|| code(matches!(raw::migrate(home.ptr, 1, 0), Err(Error::Forked { .. })))), 0);
    assert_eq!(run(&|| code(matches!(raw::init(None), Err(Error::Forked { .. })))), 0);
    assert_eq!(run(&|| code(home.word(7).fetch_add(1, Relaxed) == 77)), 0);
    assert_eq!(
        run(&|| code(both.word(9).fetch_add(5, Relaxed) == 10 && both.word(9).load(Relaxed) == 15)),
        0
    );
    assert_eq!(
        run(&|| code((0..away.words()).step_by(512).all(|i| away.word(i).load(Relaxed) == i as u64 + 1))),
        0
    );
    assert_eq!(run(&|| code(away.word(3).fetch_add(1, Relaxed) == 4 && away.word(3).load(Relaxed) == 5)), 0);
    works(&away);
    works(&both);
    assert_eq!(home.word(7).load(Relaxed), 77);
}

extern "C" fn opens(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    COUNTER.fetch_add(1, SeqCst);
    // SAFETY: a page of the test's.
    unsafe { libc::mprotect((*info).si_addr(), 4096, libc::PROT_READ | libc::PROT_WRITE) };
}

/// Threads fault of their own, and have a handler for it, while the runtime ends and starts again. Catches: a fault that meets
/// our handler on its way out finds no handler of the program's anywhere, and kills.
pub fn restarts() {
    install(libc::SIGSEGV, opens as *const () as usize, INFO);
    let over = AtomicBool::new(false);
    let faults = || {
        let (page, mut faults) = (forbidden(), 0);
        while !over.load(Relaxed) {
            // SAFETY: a page of this thread's; faults, and the handler opens it.
            unsafe {
                page.write_volatile(1);
                libc::mprotect(page.cast(), 4096, libc::PROT_NONE);
            }
            faults += 1;
        }
        faults
    };
    const ROUNDS: usize = 80;
    let all = std::thread::scope(|s| {
        let threads = [s.spawn(faults), s.spawn(faults)];
        // Until there were faults, too: there are machines on which threads have to wait for long.
        for _ in (0..).take_while(|round| *round < ROUNDS || COUNTER.load(SeqCst) <= ROUNDS) {
            let b = on_device(4096);
            raw::shutdown().unwrap();
            drop(b);
            raw::init(None).unwrap();
        }
        over.store(true, Relaxed);
        threads.map(|t| t.join().unwrap()).iter().sum::<usize>()
    });
    assert_eq!(COUNTER.load(SeqCst), all);
}

/// What a SIGSEGV that is sent makes of a read that waits: how many bytes, or the error.
fn read_with_signal(is_ignored: bool) -> Result<isize, i32> {
    let mut ends = [0; 2];
    let mut byte = 0_u8;
    // SAFETY: a pipe, a byte, and this thread, which waits for the other.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let (reader, id) = (libc::pthread_self(), libc::gettid());
        let has_returned = &AtomicBool::new(false);
        let waits = move || {
            let call = std::fs::read_to_string(format!("/proc/self/task/{id}/syscall"));
            common::sleeps(id) && call.is_ok_and(|c| c.starts_with(&format!("{} ", libc::SYS_read)))
        };
        std::thread::scope(|s| {
            s.spawn(move || {
                common::until("the read", waits);
                let seen = HANDLED.load(SeqCst);
                libc::pthread_kill(reader, libc::SIGSEGV);
                // It is interrupted, or waits again: with a handler when that has run.
                let is_over = || has_returned.load(SeqCst) || is_ignored || HANDLED.load(SeqCst) > seen;
                common::until("the signal", is_over);
                common::until("what comes of it", || has_returned.load(SeqCst) || waits());
                assert_eq!(libc::write(ends[1], c"x".as_ptr().cast(), 1), 1);
            });
            let got = libc::read(ends[0], (&raw mut byte).cast(), 1);
            let answer = if got < 0 { Err(*libc::__errno_location()) } else { Ok(got) };
            has_returned.store(true, SeqCst);
            answer
        })
    }
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn nothing(_: i32) {
    HANDLED.fetch_add(1, SeqCst);
}

/// Whether a signal that is sent interrupts a system call is as the program's own action has it.
pub fn interrupts() {
    let handler = nothing as *const () as usize;
    install(libc::SIGSEGV, handler, libc::SA_RESTART);
    let b = on_device(4096);
    works(&b);
    assert_eq!(read_with_signal(false), Ok(1), "restarts, from before");
    let set = |handler, flags| {
        // SAFETY: a zeroed action is filled in.
        unsafe {
            let mut a: libc::sigaction = std::mem::zeroed();
            (a.sa_sigaction, a.sa_flags) = (handler, flags);
            assert_eq!(hmmrt::program_sigaction(libc::SIGSEGV, &a, std::ptr::null_mut()), 0);
        }
    };
    for (handler, flags, expected) in [
        (handler, 0, Err(libc::EINTR)),
        (handler, libc::SA_RESTART, Ok(1)),
        (handler, 0, Err(libc::EINTR)),
        (libc::SIG_IGN, 0, Ok(1)),
    ] {
        set(handler, flags);
        works(&b);
        assert_eq!(read_with_signal(handler == libc::SIG_IGN), expected, "{handler:x} {flags:x}");
    }
}
