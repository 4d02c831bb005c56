//! The service threads: they resolve faults for devices whose driver must not be called from a signal handler. The
//! faulting thread posts a request in a fixed slot and waits, spinning first; `ask` is signal-safe. A request that gets no
//! answer in time is given up: the program may have faulted inside a driver call that holds a lock which the service
//! thread needs.

use crate::addr::HostAddr;
use crate::chunk::{Chunk, Guard};
use crate::device::gpu;
use crate::fault::{self, Step};
use crate::sys::segv::{Cause, Verdict};
use crate::sys::{clock, futex, thread};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const POSTED: u32 = 2;
const TAKEN: u32 = 3;
const DONE: u32 = 4;
const GIVEN_UP: u32 = 5;

struct Request {
    state: AtomicU32,
    addr: AtomicUsize,
    chunk: AtomicPtr<Chunk>,
    write: AtomicBool,
    absence: AtomicBool,
    /// How long the chunk is waited for at most, in nanoseconds, or [`PATIENT`].
    patience: AtomicU64,
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
        absence: AtomicBool::new(false),
        patience: AtomicU64::new(0),
        answer: UnsafeCell::new(None),
    }
}; SLOTS];
static POSTS: AtomicU32 = AtomicU32::new(0);
static RUNNING: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
/// How long a request waits, in nanoseconds; 0: for ever.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// The most service threads.
const MOST: usize = 4;
static THREADS: [AtomicUsize; MOST] = [const { AtomicUsize::new(0) }; MOST];

/// A thread that has served looks for more this long before it sleeps: waking it costs more than a copy.
const LINGER_NS: u64 = 50_000;

/// Who asks waits until the chunk can be had.
const PATIENT: u64 = u64::MAX;
/// How long a service thread waits for a chunk before it looks at the other requests: whoever has it may wait for one of them.
const CHUNK_NS: u64 = 100_000;

/// Has the page at `addr` brought home by a service thread. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn ask(chunk: &'static Chunk, addr: HostAddr, write: bool, cause: Cause) -> Step {
    let no_answer = || Step::Done(Verdict::Bus("the service thread gave no answer"));
    ask_within(chunk, addr, write, cause, PATIENT).unwrap_or_else(no_answer)
}

/// As [`ask`]; `None`: somebody has had the chunk for longer than `patience` nanoseconds.
pub(crate) fn ask_within(
    chunk: &'static Chunk,
    addr: HostAddr,
    write: bool,
    cause: Cause,
    patience: u64,
) -> Option<Step> {
    let me = thread::id();
    if THREADS.iter().any(|t| t.load(SeqCst) == me) {
        return Some(Step::Done(Verdict::Bus("the runtime's own service thread touched it")));
    }
    if gpu::is_inside() {
        return Some(Step::Done(Verdict::Bus("a GPU driver touched it, in a call of the runtime's")));
    }
    if !RUNNING.load(SeqCst) {
        return resolve(chunk, addr, write, cause, patience); // no device is open: nothing to call
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
    request.absence.store(cause == Cause::Absence, Relaxed);
    request.patience.store(patience, Relaxed);
    request.state.store(POSTED, SeqCst);
    POSTS.fetch_add(1, SeqCst);
    futex::wake(&POSTS, 1);
    match wait(request) {
        Waited::Answered => {}
        Waited::NobodyThere => return resolve(chunk, addr, write, cause, patience),
        Waited::TooLong => {
            return Some(Step::Done(Verdict::Bus(
                "the GPU's driver did not answer in time (HMMRT_DRIVER_TIMEOUT); was managed memory given to a call of \
                 the driver's?",
            )));
        }
    }
    // SAFETY: DONE was read with acquire: the service thread is through with the slot.
    let answer = unsafe { (*request.answer.get()).take() };
    request.state.store(FREE, SeqCst);
    answer
}

/// Where no service thread is needed.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn resolve(chunk: &'static Chunk, addr: HostAddr, write: bool, cause: Cause, patience: u64) -> Option<Step> {
    if patience == PATIENT {
        return Some(fault::resolve(chunk, addr, write, cause));
    }
    let g = Guard::lock_within(chunk, addr.chunk_start(), patience)?;
    Some(fault::resolve_locked(g, addr, write, cause))
}

/// How waiting ended.
enum Waited {
    /// With an answer.
    Answered,
    /// The service threads have ended meanwhile (shutdown: all is home). The slot is not ours any more.
    NobodyThere,
    /// Given up. The slot is not ours any more.
    TooLong,
}

/// Waits for the answer: spins, then sleeps.
fn wait(request: &Request) -> Waited {
    for _ in 0..20_000 {
        if request.state.load(SeqCst) == DONE {
            return Waited::Answered;
        }
        core::hint::spin_loop();
    }
    // In slices, of which only what was slept counts: a process that was stopped has not waited.
    const SLICE: u64 = 100_000_000;
    let limit = LIMIT.load(Relaxed);
    let mut waited = 0;
    loop {
        let state = request.state.load(SeqCst);
        if state == DONE {
            return Waited::Answered;
        }
        if state == POSTED && !RUNNING.load(SeqCst) && give_up(request, state, FREE) {
            return Waited::NobodyThere;
        }
        if limit != 0 && waited >= limit {
            // Not begun yet: the slot is free again. Begun: whoever is at it frees it.
            if give_up(request, state, if state == POSTED { FREE } else { GIVEN_UP }) {
                return Waited::TooLong;
            }
            continue;
        }
        let start = clock::now_ns();
        futex::wait(&request.state, state, Some(SLICE));
        waited += clock::now_ns().saturating_sub(start).min(SLICE);
    }
}

/// Whether a service thread is in a driver's call still for which somebody has given up waiting: with a chunk locked.
pub(crate) fn is_stuck() -> bool {
    REQUESTS.iter().any(|r| r.state.load(SeqCst) == GIVEN_UP)
}

fn give_up(request: &Request, state: u32, next: u32) -> bool {
    request.state.compare_exchange(state, next, SeqCst, SeqCst).is_ok()
}

/// The running threads.
pub(crate) struct Service {
    threads: Vec<thread::Thread>,
}

impl Service {
    /// Starts them: one for every four cores. `timeout` is in seconds, 0 for none.
    pub(crate) fn start(timeout: u64) -> std::io::Result<Service> {
        STOP.store(false, SeqCst);
        LIMIT.store(timeout.saturating_mul(1_000_000_000), SeqCst);
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut service = Service { threads: Vec::new() };
        for number in 0..(cores / 4).clamp(1, MOST) {
            match thread::spawn_helper("hmmrt-service", move || run(number)) {
                Ok(thread) => service.threads.push(thread),
                Err(e) if number == 0 => return Err(e),
                Err(_) => break,
            }
        }
        RUNNING.store(true, SeqCst);
        Ok(service)
    }

    /// Ends them; posted requests are answered first.
    pub(crate) fn stop(self) {
        RUNNING.store(false, SeqCst);
        STOP.store(true, SeqCst);
        POSTS.fetch_add(1, SeqCst);
        futex::wake(&POSTS, i32::MAX);
        for thread in self.threads {
            thread.join();
        }
    }
}

fn run(number: usize) {
    THREADS[number].store(thread::id(), SeqCst);
    let mut linger_until = 0;
    loop {
        let seen = POSTS.load(SeqCst);
        if serve_posted() {
            linger_until = clock::now_ns() + LINGER_NS;
        } else if STOP.load(SeqCst) {
            break;
        } else if clock::now_ns() < linger_until {
            core::hint::spin_loop();
        } else {
            futex::wait(&POSTS, seen, None);
        }
    }
    THREADS[number].store(0, SeqCst);
}

/// Answers what is posted, or puts it back where the chunk can't be had now. Whether there was anything.
fn serve_posted() -> bool {
    let mut served = false;
    for r in &REQUESTS {
        if r.state.load(SeqCst) != POSTED || r.state.compare_exchange(POSTED, TAKEN, SeqCst, Relaxed).is_err()
        {
            continue;
        }
        let chunk = r.chunk.load(Relaxed);
        // SAFETY: the poster put a table record there, and records are never freed.
        let chunk: &'static Chunk = unsafe { &*chunk };
        let cause = if r.absence.load(Relaxed) { Cause::Absence } else { Cause::Protection };
        let (addr, patience) = (HostAddr(r.addr.load(Relaxed)), r.patience.load(Relaxed));
        served = true;
        let answer = match Guard::lock_within(chunk, addr.chunk_start(), patience.min(CHUNK_NS)) {
            Some(g) => Some(fault::resolve_locked(g, addr, r.write.load(Relaxed), cause)),
            None if patience == PATIENT => {
                if r.state.compare_exchange(TAKEN, POSTED, SeqCst, SeqCst).is_err() {
                    r.state.store(FREE, SeqCst); // given up meanwhile
                }
                continue;
            }
            None => None,
        };
        // SAFETY: the poster does not touch the slot until DONE.
        unsafe { *r.answer.get() = answer };
        if r.state.compare_exchange(TAKEN, DONE, SeqCst, SeqCst).is_ok() {
            futex::wake(&r.state, 1);
        } else {
            r.state.store(FREE, SeqCst); // given up meanwhile
        }
    }
    served
}
