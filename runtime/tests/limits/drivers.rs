//! A driver's call that never returns, and threads of the runtime that have ended: whoever needs them gets SIGBUS with a
//! message after HMMRT_DRIVER_TIMEOUT, everybody else goes on; and when the driver answers after all, so does everything.
//!
//! On the host backend the device's memory is what does not answer: a page of it is taken away, and userfaultfd lets whoever
//! reads it wait until the test puts it back.

use crate::common::double::{self, Double};
use crate::common::{self, Block, filter, until};
use crate::room::{WAYS, child, dies, on_gpu, passes};
use crate::touch;
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

const TEST: &str = "drivers::that_do_not_answer";
const CHUNK: usize = 2 << 20;

fn fill(b: &Block) {
    (0..b.words()).for_each(|i| b.word(i).store(i as u64 + 1, Relaxed));
}

fn check(b: &Block) {
    let wrong = (0..b.words()).find(|i| b.word(*i).load(Relaxed) != *i as u64 + 1);
    assert_eq!(wrong, None, "{:p}", b.ptr);
}

fn away(len: usize) -> Block {
    let b = Block::new(len);
    fill(&b);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    b
}

/// A page whose readers wait.
struct Stuck {
    fd: i32,
    page: *mut u8,
    bytes: Vec<u8>,
}

impl Stuck {
    /// The page at `page`, which is the test's to take away.
    fn at(page: *mut u8) -> Stuck {
        const API: u64 = 0xC018_AA3F;
        const REGISTER: u64 = 0xC020_AA00;
        const USER_MODE_ONLY: i32 = 1;
        let (mut api, mut register) = ([0xAA_u64, 0, 0], [page as u64, 4096, 1, 0]);
        // SAFETY: plain requests; the page is mapped, and nobody reads it now.
        unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY) as i32;
            assert!(fd >= 0, "userfaultfd for one's own accesses: {}", std::io::Error::last_os_error());
            assert_eq!(libc::ioctl(fd, API, api.as_mut_ptr()), 0);
            let bytes = std::slice::from_raw_parts(page, 4096).to_vec();
            assert_eq!(libc::ioctl(fd, REGISTER, register.as_mut_ptr()), 0);
            assert_eq!(libc::madvise(page.cast(), 4096, libc::MADV_DONTNEED), 0);
            Stuck { fd, page, bytes }
        }
    }

    /// Puts it back: its readers go on.
    fn answer(self) {
        const COPY: u64 = 0xC028_AA03;
        let mut copy = [self.page as u64, self.bytes.as_ptr() as u64, 4096, 0, 0];
        // SAFETY: as above.
        unsafe {
            assert_eq!(libc::ioctl(self.fd, COPY, copy.as_mut_ptr()), 0);
            libc::close(self.fd);
        }
    }
}

/// How the device stops answering, and begins to again.
enum Silence {
    Page(Stuck),
    Driver(Double),
}

impl Silence {
    /// The next copy of `b` home does not end.
    fn begin(b: &Block) -> Silence {
        if std::env::var_os("HMMRT_CASE_LIBRARY").is_none() {
            return Silence::Page(Stuck::at(raw::device_ptr(b.ptr, 0).unwrap().cast()));
        }
        let double = Double::of_case();
        double.arm(&format!("{}:1+=stuck", double.name("cuMemcpyDtoHAsync", "hipMemcpyDtoHAsync")));
        Silence::Driver(double)
    }

    fn end(self) {
        match self {
            Silence::Page(stuck) => stuck.answer(),
            Silence::Driver(double) => double.arm(""),
        }
    }
}

/// A thread that reads a block, whatever it takes.
fn reader(b: &'static Block) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || check(b))
}

fn leaked(b: Block) -> &'static Block {
    Box::leak(Box::new(b))
}

/// The rest of the process goes on: what is at home, and all that needs no device.
fn others_go_on(home: &Block) {
    check(home);
    for round in 0..50 {
        let b = Block::new(5000 + round * 40_000);
        fill(&b);
        check(&b);
    }
    home.word(5).store(6, Relaxed);
}

/// A copy home that does not end, until it does.
fn stuck(answers: bool) {
    touch::take_bus(|| {});
    let [one, other] = [away(2 * CHUNK), away(CHUNK)].map(leaked);
    let home = leaked(Block::new(3 * CHUNK));
    fill(home);
    let silence = Silence::begin(one);
    let first = reader(one);
    until("SIGBUS", || touch::buses().0 > 0);
    let at = touch::buses().1;
    assert!((one.ptr as usize..one.ptr as usize + one.len).contains(&at), "{at:#x} is not in {:p}", one.ptr);
    others_go_on(home);
    // The one thread that could serve this touch may be the one that is stuck: then it is told so as well.
    let second = reader(other);
    let before = touch::buses().0;
    until("SIGBUS, or the bytes", || touch::buses().0 > before + 1 || second.is_finished());
    others_go_on(home);
    if !answers {
        eprintln!("  leaves while the driver is silent");
        return; // the process ends all the same
    }
    silence.end();
    first.join().unwrap();
    second.join().unwrap();
    for b in [one, other, home] {
        check(b);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        check(b);
    }
    raw::shutdown().unwrap();
    [one, other, home].into_iter().for_each(check);
    eprintln!("  {} times SIGBUS", touch::buses().0);
}

/// Threads of the process with this name, in the order in which they were started.
fn threads(name: &str) -> Vec<i32> {
    let has_it = |id: &i32| {
        let its = std::fs::read_to_string(format!("/proc/self/task/{id}/comm"));
        its.is_ok_and(|its| its.trim() == name)
    };
    let mut all: Vec<i32> = common::threads().into_iter().filter(has_it).collect();
    all.sort_unstable();
    all
}

/// All threads that answer messages: the first keeps the descriptor. They give themselves their name.
fn handlers() -> Vec<i32> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let all = || threads("hmmrt-uffd");
    until("all handlers", || all().len() == cores.clamp(2, 8) + 1);
    all()
}

/// Ends threads of the runtime, as no program should: by a signal that they can't have blocked.
fn end(ids: &[i32], name: &str) {
    extern "C" fn leave(_: i32) {
        // SAFETY: ends the thread, nothing else.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    touch::install(libc::SIGILL, leave as *const () as usize, 0);
    common::others_sleep(); // what they had to do for us is done
    for id in ids {
        // SAFETY: a thread of this process.
        assert_eq!(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), *id, libc::SIGILL) }, 0);
    }
    until("the threads' end", || threads(name).iter().all(|id| !ids.contains(id)));
}

/// No service thread is left: a touch of what is away is SIGBUS, and the rest goes on.
fn no_service() {
    static GO_ON: AtomicBool = AtomicBool::new(false);
    let b = leaked(away(2 * CHUNK));
    let home = leaked(Block::new(CHUNK));
    fill(home);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    until("all service threads", || threads("hmmrt-service").len() == (cores / 4).clamp(1, 4));
    end(&threads("hmmrt-service"), "hmmrt-service");
    others_go_on(home);
    raw::migrate(home.ptr, home.len, 0).unwrap();
    raw::migrate(home.ptr, home.len, HMM_HOST).unwrap(); // calls do their work themselves
    others_go_on(home);
    GO_ON.store(true, Relaxed);
    if std::env::var_os("HMMRT_CASE_CALLS").is_some() {
        raw::migrate(b.ptr, b.len, HMM_HOST).unwrap();
        check(b);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::shutdown().unwrap();
        check(b);
        return;
    }
    eprintln!("reading {:p}", b.ptr);
    b.word(0).load(Relaxed);
}

/// All but one of the threads that answer messages have ended: that one answers, and others come in their place.
fn one_handler() {
    let b = away(4 * CHUNK);
    let all = handlers();
    end(&all[2..], "hmmrt-uffd");
    until("others in their place", || threads("hmmrt-uffd").len() == all.len());
    for _ in 0..20 {
        check(&b);
        raw::migrate(b.ptr, b.len, 0).unwrap();
    }
    check(&b);
}

/// None of the threads that answer messages is left; nor, with `keeper`, the one that stands in for them, until a call starts
/// another.
fn no_handler(keeper: bool) {
    let [b, used] = [away(4 * CHUNK), away(CHUNK)].map(leaked);
    let all = handlers();
    let stream = raw::stream_create(0).unwrap();
    let access = Access { ptr: used.ptr, len: used.len, mode: AccessMode::ReadWrite };
    // SAFETY: no kernel runs.
    unsafe { raw::acquire(0, stream, &[access]).unwrap() };
    let aside = reader(used);
    until("a touch that a handler puts aside", || raw::stats().waits > 0);
    end(if keeper { &all } else { &all[1..] }, "hmmrt-uffd");
    let touch = reader(b);
    raw::release(0, stream).unwrap();
    raw::stream_synchronize(stream).unwrap(); // a call
    for (what, thread) in [("a touch after their end", touch), ("one that was put aside", aside)] {
        until(what, || thread.is_finished());
        thread.join().unwrap();
    }
    for _ in 0..20 {
        raw::migrate(b.ptr, b.len, 0).unwrap();
        check(b);
    }
    until("others in their place", || threads("hmmrt-uffd").len() == all.len());
    all_is_home_after_shutdown(&[b, used]);
}

/// No thread can be made any more: as where RLIMIT_NPROC is reached.
fn forbid_threads() {
    filter::install(&mut [
        filter::load_number(),
        filter::step(0x15, 1, 0, libc::SYS_clone as u32),
        filter::step(0x15, 0, 1, libc::SYS_clone3 as u32),
        filter::refuse(libc::EAGAIN),
        filter::allow(),
    ]);
    assert!(std::thread::Builder::new().spawn(|| {}).is_err());
}

/// No handler is left, and there is no room for others: the one that keeps the descriptor answers, and is still asked to make
/// requests.
fn no_room_for_handlers() {
    let b = away(4 * CHUNK);
    let all = handlers();
    forbid_threads();
    end(&all[1..], "hmmrt-uffd");
    for round in 0..20 {
        check(&b);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        if round == 10 {
            let name = |fd: &i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            let fds: Vec<i32> =
                (0..1100).filter(|fd| name(fd).ends_with("anon_inode:[userfaultfd]")).collect();
            assert_eq!(fds.len(), 1);
            // SAFETY: what a daemon does that closes all.
            unsafe { libc::close(fds[0]) };
        }
    }
    raw::shutdown().unwrap();
    check(&b);
}

/// Nobody is left, and no call starts anybody before shutdown. What waits then is woken.
fn no_thread_at_shutdown() {
    let b = leaked(away(2 * CHUNK));
    end(&handlers(), "hmmrt-uffd");
    let touch = reader(b);
    all_is_home_after_shutdown(&[b]);
    until("a touch", || touch.is_finished());
    touch.join().unwrap();
}

/// Shutdown ends, and so it does the next time.
fn all_is_home_after_shutdown(blocks: &[&'static Block]) {
    for _ in 0..2 {
        let ended = std::thread::spawn(|| raw::shutdown().unwrap());
        until("the end of shutdown", || ended.is_finished());
        ended.join().unwrap();
        blocks.iter().for_each(|b| check(b));
        until("the end of its threads", || threads("hmmrt-uffd").is_empty());
        raw::init(None).unwrap();
        for b in blocks {
            raw::migrate(b.ptr, b.len, 0).unwrap();
        }
    }
}

/// A handler thread of the messages is in a copy that does not end: the others answer.
fn one_handler_is_stuck() {
    let [one, other] = [away(CHUNK), away(2 * CHUNK)].map(leaked);
    let silence = Silence::begin(one);
    let first = reader(one);
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..20 {
        check(other);
        raw::migrate(other.ptr, other.len, 0).unwrap();
    }
    assert!(!first.is_finished(), "it waits for its page");
    silence.end();
    first.join().unwrap();
    check(one);
}

#[test]
fn that_do_not_answer() {
    match common::case().as_deref() {
        Some("stuck") => return stuck(true),
        Some("stuck for good") => return stuck(false),
        Some("no service") => return no_service(),
        Some("one handler") => return one_handler(),
        Some("no handler") => return no_handler(false),
        Some("no handler and no keeper") => return no_handler(true),
        Some("no room for handlers") => return no_room_for_handlers(),
        Some("no thread at shutdown") => return no_thread_at_shutdown(),
        Some("one handler is stuck") => return one_handler_is_stuck(),
        _ => {}
    }
    if on_gpu() {
        return eprintln!("it runs on the doubles by itself");
    }
    let way = [("HMMRT_HOST_DIRECT", "0"), ("HMMRT_DRIVER_TIMEOUT", "1")];
    let told = "did not answer in time";
    // On the host backend, and on the doubles.
    let backends: Vec<Option<&str>> = [None].into_iter().chain(double::KINDS.map(Some)).collect();
    let on = |kind: Option<&str>, case: &str| {
        let mut command = child(TEST, case, &way);
        if let Some(kind) = kind {
            let library = double::library(kind);
            command.env("HMMRT_BACKEND", kind).env(double::variable(kind), &library);
            command.env("HMMRT_CASE_LIBRARY", &library).env("HMMRT_CASE_KIND", kind);
        }
        command
    };
    for kind in backends {
        for case in ["stuck", "stuck for good"] {
            let mut command = on(kind, case);
            command.stdin(std::process::Stdio::null());
            assert!(passes(command).contains(told), "{kind:?} {case}");
        }
        let err = dies(on(kind, "no service"), libc::SIGBUS);
        let at = err.lines().find_map(|l| l.strip_prefix("reading ")).unwrap_or("?");
        assert!(err.contains(&format!("SIGBUS at {at}")) && err.contains(told), "{kind:?}: {err}");
        let mut command = on(kind, "no service");
        command.env("HMMRT_CASE_CALLS", "1");
        passes(command);
    }
    if common::is_messaged() {
        for case in ["one handler", "one handler is stuck"] {
            passes(child(TEST, case, &[]));
        }
        for way in WAYS {
            let cases =
                ["no handler", "no handler and no keeper", "no room for handlers", "no thread at shutdown"];
            for case in cases {
                passes(child(TEST, case, way));
            }
        }
    }
}
