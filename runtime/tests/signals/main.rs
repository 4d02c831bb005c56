//! A real segfault stays one: same signal, address and code, whatever handler was there before or came after; and what
//! can't be brought home is SIGBUS with a message. Each case runs in a process of its own.

#[path = "../common/mod.rs"]
mod common;

mod asynchronous;
#[path = "../common/stack.rs"]
mod stack;
mod stacks;
mod strays;

use common::{Block, case, run_case};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Page, StreamId, inject};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering::*};

static SEEN: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// Where the handlers continue: the address that they make accessible, so that the program goes on.
static MEND: AtomicUsize = AtomicUsize::new(0);

fn note(sig: i32, info: *mut libc::siginfo_t) {
    // SAFETY: the kernel's or the runtime's siginfo.
    unsafe {
        SEEN[1].store((*info).si_addr() as usize, SeqCst);
        SEEN[2].store((*info).si_code as usize, SeqCst);
        SEEN[3].store(sig as usize, SeqCst);
        SEEN[0].fetch_add(1, SeqCst);
        let page = MEND.load(SeqCst);
        if page != 0 {
            libc::mprotect(page as *mut _, 4096, libc::PROT_READ | libc::PROT_WRITE);
        }
    }
}

extern "C" fn with_info(sig: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    note(sig, info);
}

extern "C" fn without_info(_: i32) {
    SEEN[0].fetch_add(1, SeqCst);
    // SAFETY: a page of the test's.
    unsafe { libc::mprotect(MEND.load(SeqCst) as *mut _, 4096, libc::PROT_READ | libc::PROT_WRITE) };
}

extern "C" fn inject_off(sig: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    note(sig, info);
    inject::arm("").unwrap();
}

fn install(sig: i32, handler: usize, flags: i32) {
    // SAFETY: a zeroed action is filled in.
    unsafe {
        let mut a: libc::sigaction = std::mem::zeroed();
        a.sa_sigaction = handler;
        a.sa_flags = flags;
        assert_eq!(libc::sigaction(sig, &a, std::ptr::null_mut()), 0);
    }
}

fn seen() -> (usize, usize, usize) {
    (SEEN[0].load(SeqCst), SEEN[1].load(SeqCst), SEEN[2].load(SeqCst))
}

/// A page of the test's own that can't be accessed.
fn forbidden() -> *mut u8 {
    // SAFETY: a new mapping.
    let p =
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, 0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    p.cast()
}

fn on_device(len: usize) -> Block {
    let b = Block::new(len);
    (0..b.words()).for_each(|i| b.word(i).store(i as u64 + 1, Relaxed));
    raw::migrate(b.ptr, b.len, 0).unwrap();
    b
}

fn works(b: &Block) {
    raw::migrate(b.ptr, b.len, 0).unwrap();
    assert!((0..b.words()).all(|i| b.word(i).load(Relaxed) == i as u64 + 1));
}

const INFO: i32 = libc::SA_SIGINFO;

/// A word of managed memory that handlers add to.
static WORD: AtomicUsize = AtomicUsize::new(0);

extern "C" fn touches(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    SEEN[0].fetch_add(1, SeqCst);
    let word = std::ptr::with_exposed_provenance_mut::<u64>(WORD.load(SeqCst));
    // SAFETY: a word of a live block that only the handlers use.
    unsafe { word.write_volatile(word.read_volatile() + 1) };
    let page = MEND.load(SeqCst);
    // SAFETY: a page of the test's, if any.
    unsafe { libc::mprotect(page as *mut _, 4096, libc::PROT_READ | libc::PROT_WRITE) };
}

extern "C" fn faults(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if SEEN[0].fetch_add(1, SeqCst) > 0 {
        // SAFETY: ends the process: the handler was called for its own fault.
        unsafe { libc::_exit(7) };
    }
    // SAFETY: dies.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(0x10).write_volatile(1) };
}

/// With every signal blocked meanwhile.
fn install_filled(sig: i32, handler: usize) {
    // SAFETY: a zeroed action is filled in.
    unsafe {
        let mut a: libc::sigaction = std::mem::zeroed();
        a.sa_sigaction = handler;
        a.sa_flags = INFO;
        libc::sigfillset(&mut a.sa_mask);
        assert_eq!(hmmrt::program_sigaction(sig, &a, std::ptr::null_mut()), 0);
    }
}

/// Handlers touch memory that is away while every signal is blocked, as far as the program knows.
fn masks() {
    let handler = touches as *const () as usize;
    install_filled(libc::SIGUSR1, handler); // before the runtime has anything to do with signals
    let b = on_device(2 << 20);
    WORD.store(b.ptr as usize, SeqCst);
    install_filled(libc::SIGUSR2, handler);
    install_filled(libc::SIGSEGV, handler);
    let page = forbidden();
    MEND.store(page as usize, SeqCst);
    for round in 0..100_u64 {
        raw::migrate(b.ptr, b.len, 0).unwrap();
        // SAFETY: signals to oneself, and a fault that the handler mends.
        unsafe {
            match round % 4 {
                0 => libc::raise(libc::SIGUSR1),
                1 => libc::raise(libc::SIGUSR2),
                2 => libc::raise(libc::SIGSEGV),
                _ => {
                    libc::mprotect(page.cast(), 4096, 0);
                    page.write_volatile(1);
                    0
                }
            };
        }
        assert_eq!(b.word(0).load(Relaxed), round + 2);
    }
    assert_eq!(seen().0, 100);
    for sig in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGSEGV] {
        // SAFETY: zeroed is overwritten; the sets are valid.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            assert_eq!(hmmrt::program_sigaction(sig, std::ptr::null(), &mut now), 0);
            assert_eq!(now.sa_sigaction, handler);
            for blocked in [libc::SIGSEGV, libc::SIGBUS, libc::SIGTERM] {
                assert_eq!(libc::sigismember(&now.sa_mask, blocked), 1, "{sig}: {blocked}");
            }
        }
    }
    works_but_first(&b, 101);
}

fn works_but_first(b: &Block, first: u64) {
    assert_eq!(b.word(0).swap(1, Relaxed), first);
    works(b);
}

fn child(name: &str) {
    let handler = with_info as *const () as usize;
    match name {
        "before" | "before_onstack" | "no_info" | "after" => {
            let flags = if name == "before_onstack" { INFO | libc::SA_ONSTACK } else { INFO };
            let (handler, flags) =
                if name == "no_info" { (without_info as *const () as usize, 0) } else { (handler, flags) };
            if name == "after" {
                let b = on_device(4 << 20);
                install(libc::SIGSEGV, handler, flags);
                works(&b); // the next move puts our handler in front again
            } else {
                install(libc::SIGSEGV, handler, flags);
            }
            let b = on_device(4 << 20);
            works(&b);
            assert_eq!(seen().0, 0, "our faults are not the program's");
            let page = forbidden();
            MEND.store(page as usize, SeqCst);
            // SAFETY: faults; the handler makes the page accessible.
            unsafe { page.add(24).write_volatile(1) };
            assert_eq!(seen().0, 1);
            if name != "no_info" {
                assert_eq!(seen(), (1, page as usize + 24, 2));
            }
            works(&b);
        }
        "no_action" => {
            // An action that is not there is the program's fault, and is told to the action of before.
            install(libc::SIGSEGV, handler, INFO);
            let b = on_device(2 << 20);
            let page = forbidden();
            MEND.store(page as usize, SeqCst);
            // SAFETY: the handler makes the page accessible: an action of zeros.
            let answer =
                unsafe { hmmrt::program_sigaction(libc::SIGSEGV, page.cast(), std::ptr::null_mut()) };
            assert_eq!((answer, seen()), (0, (1, page as usize, 2)));
            works(&b);
        }
        "reset" => {
            install(libc::SIGSEGV, handler, INFO | libc::SA_RESETHAND);
            let b = on_device(2 << 20);
            works(&b);
            let page = forbidden();
            MEND.store(page as usize, SeqCst);
            // SAFETY: the first fault is mended, the second kills.
            unsafe {
                page.write_volatile(1);
                assert_eq!(seen().0, 1);
                works(&b);
                libc::mprotect(page.cast(), 4096, 0);
                page.write_volatile(1);
            }
        }
        "default" | "ignored" => {
            install(libc::SIGSEGV, if name == "default" { libc::SIG_DFL } else { libc::SIG_IGN }, 0);
            let _b = on_device(2 << 20);
            // SAFETY: dies.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(0x10).write_volatile(1) };
        }
        "kill_default" | "kill_ignored" | "kill_handler" => {
            let action = match name {
                "kill_default" => libc::SIG_DFL,
                "kill_ignored" => libc::SIG_IGN,
                _ => handler,
            };
            install(libc::SIGSEGV, action, INFO);
            let b = on_device(2 << 20);
            // SAFETY: a signal to oneself.
            unsafe { libc::kill(libc::getpid(), libc::SIGSEGV) };
            if name == "kill_handler" {
                // Any thread may get it, at any moment.
                common::until("the handler", || seen().0 > 0);
                assert_eq!((seen().0, seen().2 as i32), (1, libc::SI_USER));
            }
            works(&b);
        }
        "own_protection" => {
            install(libc::SIGSEGV, handler, INFO);
            let b = on_device(4 << 20);
            raw::migrate(b.ptr, b.len, HMM_HOST).unwrap();
            // SAFETY: a page of the block.
            let page = unsafe { b.ptr.add(5 * 4096) };
            // SAFETY: as above; faults, and the handler mends it.
            unsafe {
                libc::mprotect(page.cast(), 4096, libc::PROT_READ);
                MEND.store(page as usize, SeqCst);
                page.add(8).write_volatile(1);
            }
            assert_eq!(seen(), (1, page as usize + 8, 2));
            // SAFETY: as above.
            unsafe { libc::mprotect(page.cast(), 4096, libc::PROT_READ) };
            raw::migrate(b.ptr, b.len, 0).unwrap(); // learns it
            assert_eq!(b.word(5 * 512).load(Relaxed), 5 * 512 + 1);
            let mut flags = [Page::default()];
            raw::query(page, 1, &mut flags).unwrap();
            assert_eq!(flags[0].flags & (Page::READ | Page::WRITE), Page::READ);
            // SAFETY: as above.
            unsafe { page.add(8).write_volatile(2) };
            assert_eq!(seen().0, 2, "the program's own protection survives a round trip");
        }
        "bus_default" | "bus_handler" => {
            let b = on_device(4 << 20);
            if name == "bus_handler" {
                install(libc::SIGBUS, inject_off as *const () as usize, INFO);
                raw::migrate(b.ptr, 1, 0).unwrap(); // puts our handler in front again, if touches come as SIGBUS
            }
            inject::arm("copy_out:1+").unwrap();
            // SAFETY: inside the block. Gets SIGBUS; the handler lets the copies work again.
            let v = unsafe { b.ptr.add(3 << 20).cast::<u64>().read_volatile() };
            assert_eq!(seen(), (1, b.ptr as usize + (3 << 20), 2));
            assert_eq!(v, (3 << 17) + 1);
            works(&b);
        }
        "own_acquire" => {
            let b = on_device(2 << 20);
            let all = [Access { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite }];
            // SAFETY: nothing is written.
            unsafe { raw::acquire(0, StreamId::DEFAULT, &all).unwrap() };
            b.word(0).load(Relaxed);
        }
        "alternate_stack" => {
            let b = on_device(8 << 20);
            std::thread::scope(|s| {
                s.spawn(|| {
                    let mut stack = vec![0u8; 64 << 10];
                    let alt =
                        libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
                    // SAFETY: the stack outlives the thread's use of it.
                    unsafe { libc::sigaltstack(&alt, std::ptr::null_mut()) };
                    works(&b);
                    let off = libc::stack_t { ss_flags: libc::SS_DISABLE, ..alt };
                    // SAFETY: as above.
                    unsafe { libc::sigaltstack(&off, std::ptr::null_mut()) };
                    assert_eq!(
                        stack.iter().any(|b| *b != 0),
                        !common::is_messaged(),
                        "the handler runs there"
                    );
                });
            });
        }
        "stack_use" => stacks::stack_use(),
        "overflow" => {
            let b = on_device(2 << 20);
            works(&b);
            stacks::overflow();
        }
        "overflow_plain" => stacks::overflow(),
        "masks" => masks(),
        "fault_in_handler" => {
            raw::preload::watch_faults(); // as the preload library, which takes the mark out when it is asked to
            let b = on_device(2 << 20);
            install_filled(libc::SIGSEGV, faults as *const () as usize);
            works(&b);
            // SAFETY: dies in the handler.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(0x10).write_volatile(1) };
        }
        "leaving" => strays::leaving(),
        "replaced" => strays::replaced(),
        "left" => strays::left(),
        "timer" => asynchronous::timer(),
        "launches" => asynchronous::launches(),
        "fork" => asynchronous::fork(),
        "restarts" => asynchronous::restarts(),
        "interrupts" => asynchronous::interrupts(),
        other => panic!("{other}"),
    }
}

#[test]
fn cases() {
    if let Some(name) = case() {
        return child(&name);
    }
    let run = |name: &str| run_case("cases", name, &[]);
    for name in [
        "before",
        "before_onstack",
        "no_info",
        "after",
        "no_action",
        "kill_ignored",
        "kill_handler",
        "own_protection",
        "alternate_stack",
        "masks",
        "leaving",
        "replaced",
        "left",
        "timer",
        "launches",
        "fork",
        "restarts",
        "interrupts",
        "stack_use",
    ] {
        let out = run(name);
        assert!(out.status.success(), "{name}: {:?}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    for name in ["default", "ignored", "kill_default", "reset", "fault_in_handler"] {
        let out = run(name);
        assert_eq!(
            out.status.signal(),
            Some(libc::SIGSEGV),
            "{name}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let mut bus = vec![("own_acquire", "has not released it")];
    // Copies that fail: the host backend's own injection. `driver` has the other backends' ways of failing.
    if !["cuda", "hip"].map(|b| Ok(b.into())).contains(&std::env::var("HMMRT_BACKEND")) {
        bus.push(("bus_default", "could not be brought home"));
        // With one arena, and no caches of threads, for all: a handler has often interrupted who has its lock.
        let one = [("MALLOC_ARENA_MAX", "1"), ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")];
        let out = run_case("cases", "launches", &one);
        assert!(out.status.success(), "{:?}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
        let out = run("bus_handler");
        assert!(
            out.status.success(),
            "bus_handler: {:?}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
    }
    for (name, text) in bus {
        let out = run(name);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.signal(), Some(libc::SIGBUS), "{name}: {err}");
        assert!(err.contains("SIGBUS at 0x7") && err.contains(text), "{name}: {err}");
    }
    let (with, plain) = (run("overflow"), run("overflow_plain"));
    assert_eq!(with.status.signal(), plain.status.signal());
    assert!(String::from_utf8_lossy(&with.stderr).contains("overflowed its stack"));
}
