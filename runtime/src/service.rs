//! The service thread: resolves faults for devices whose driver must not be called from a signal handler. The faulting
//! thread posts a request in a fixed slot and waits, spinning first; `ask` is signal-safe.

use crate::addr::HostAddr;
use crate::chunk::Chunk;
use crate::fault::{self, Step};
use crate::sys::futex;
use crate::sys::segv::Verdict;
use crate::sys::thread;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*};

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const POSTED: u32 = 2;
const DONE: u32 = 3;

struct Request {
    state: AtomicU32,
    addr: AtomicUsize,
    chunk: AtomicPtr<Chunk>,
    write: AtomicBool,
    /// Written by the service thread before `DONE`, taken by the poster after it.
    answer: UnsafeCell<Option<Step>>,
}

// SAFETY: `answer` is handed over through `state` with release and acquire.
unsafe impl Sync for Request {}

const SLOTS: usize = 256;
static REQUESTS: [Request; SLOTS] = [const {
    Request {
        state: AtomicU32::new(FREE),
        addr: AtomicUsize::new(0),
        chunk: AtomicPtr::new(core::ptr::null_mut()),
        write: AtomicBool::new(false),
        answer: UnsafeCell::new(None),
    }
}; SLOTS];
static POSTS: AtomicU32 = AtomicU32::new(0);
static RUNNING: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
static THREAD: AtomicUsize = AtomicUsize::new(0);

/// Has the page at `addr` brought home by the service thread. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn ask(chunk: &'static Chunk, addr: HostAddr, write: bool) -> Step {
    if THREAD.load(SeqCst) == thread::id() {
        return Step::Done(Verdict::Bus("the runtime's own service thread touched it"));
    }
    if !RUNNING.load(SeqCst) {
        return fault::resolve(chunk, addr, write); // no device is open: nothing to call
    }
    let request = loop {
        let free = REQUESTS.iter().find(|r| r.state.compare_exchange(FREE, CLAIMED, SeqCst, Relaxed).is_ok());
        match free {
            Some(r) => break r,
            None => core::hint::spin_loop(),
        }
    };
    request.addr.store(addr.0, Relaxed);
    request.chunk.store(core::ptr::from_ref(chunk).cast_mut(), Relaxed);
    request.write.store(write, Relaxed);
    request.state.store(POSTED, SeqCst);
    POSTS.fetch_add(1, SeqCst);
    futex::wake(&POSTS, 1);
    let mut spins = 0;
    while request.state.load(SeqCst) != DONE {
        spins += 1;
        if spins < 20_000 {
            core::hint::spin_loop();
        } else {
            futex::wait(&request.state, POSTED, None);
        }
    }
    // SAFETY: DONE was read with acquire: the service thread is through with the slot.
    let answer = unsafe { (*request.answer.get()).take() };
    request.state.store(FREE, SeqCst);
    answer.unwrap_or(Step::Done(Verdict::Bus("the service thread gave no answer")))
}

/// The running thread.
pub(crate) struct Service {
    thread: std::thread::JoinHandle<()>,
}

impl Service {
    /// Starts it.
    pub(crate) fn start() -> std::io::Result<Service> {
        STOP.store(false, SeqCst);
        let thread = thread::spawn("hmmrt-service", run)?;
        RUNNING.store(true, SeqCst);
        Ok(Service { thread })
    }

    /// Ends it; posted requests are answered first.
    pub(crate) fn stop(self) {
        RUNNING.store(false, SeqCst);
        STOP.store(true, SeqCst);
        POSTS.fetch_add(1, SeqCst);
        futex::wake(&POSTS, 1);
        let _ = self.thread.join();
    }
}

fn run() {
    THREAD.store(thread::id(), SeqCst);
    loop {
        let seen = POSTS.load(SeqCst);
        let mut answered = 0;
        for r in REQUESTS.iter().filter(|r| r.state.load(SeqCst) == POSTED) {
            let chunk = r.chunk.load(Relaxed);
            // SAFETY: the poster put a table record there, and records are never freed.
            let chunk: &'static Chunk = unsafe { &*chunk };
            let answer = fault::resolve(chunk, HostAddr(r.addr.load(Relaxed)), r.write.load(Relaxed));
            // SAFETY: the poster does not touch the slot until DONE.
            unsafe { *r.answer.get() = Some(answer) };
            r.state.store(DONE, SeqCst);
            futex::wake(&r.state, 1);
            answered += 1;
        }
        if answered == 0 {
            if STOP.load(SeqCst) {
                break;
            }
            futex::wait(&POSTS, seen, None);
        }
    }
    THREAD.store(0, SeqCst);
}
