//! The thread that keeps the descriptor: a program may close descriptors that it does not know (a daemon closes all), and
//! with the last one the kernel forgets what is away, and gives zeros for it. This thread's descriptors are its own, so that
//! there is always one; who finds that theirs is gone has it make the request. It also watches the handlers, and
//! replaces them (`handler::Watch`). If a program ends this thread, too, the next call starts another. `make` is signal-safe.

use super::handler::Watch;
use crate::sys::futex::{self, Locked};
use crate::sys::life::Life;
use crate::sys::signal::Blocked;
use crate::sys::uffd::Request;
use crate::sys::{own_file, thread};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use std::sync::Mutex;

const NONE: u32 = 0;
const POSTED: u32 = 1;
const DONE: u32 = 2;
const STOP: u32 = 3;
/// The thread is not there (yet, or any more).
const ABSENT: u32 = 4;

static STATE: AtomicU32 = AtomicU32::new(ABSENT);
static REQUEST: AtomicPtr<Request> = AtomicPtr::new(core::ptr::null_mut());
static ANSWER: AtomicU32 = AtomicU32::new(0);
/// One asks at a time.
static ASKING: Locked<()> = Locked::new(());
static LIFE: Life = Life::new();
static THREAD: Mutex<Option<thread::Thread>> = Mutex::new(None);
/// How long is waited for the thread without a look whether it is there.
const LOOK_NS: u64 = 10_000_000;

fn running() -> std::sync::MutexGuard<'static, Option<thread::Thread>> {
    THREAD.lock().unwrap_or_else(|e| e.into_inner())
}

/// Starts it, and waits until it has its descriptors; `watching`: it is to watch handlers.
pub(super) fn start(watching: bool) -> std::io::Result<()> {
    start_as(&mut running(), watching)
}

fn start_as(running: &mut Option<thread::Thread>, watching: bool) -> std::io::Result<()> {
    {
        let _blocked = Blocked::new();
        let _asking = ASKING.lock(); // who waits for the last one has seen that it is gone
        STATE.store(ABSENT, SeqCst);
        LIFE.reset();
    }
    // Where there is no room for it the next call tries again.
    *running = Some(thread::spawn("hmmrt-uffd", move || run(watching)).inspect_err(|_| LIFE.give_up())?);
    while STATE.load(SeqCst) == ABSENT && !LIFE.has_died() {
        futex::wait(&STATE, ABSENT, Some(LOOK_NS));
    }
    Ok(())
}

/// Ends it, and with it the last descriptor.
pub(super) fn stop() {
    let mut running = running();
    {
        let _blocked = Blocked::new();
        let _asking = ASKING.lock();
        STATE.store(STOP, SeqCst);
        futex::wake(&STATE, i32::MAX);
    }
    running.take().into_iter().for_each(thread::Thread::join);
    STATE.store(ABSENT, SeqCst);
}

/// Whether the program has ended it. Signal-safe.
pub(super) fn has_died() -> bool {
    LIFE.has_died()
}

/// Starts another in its place.
#[cold]
pub(super) fn replace() {
    let _blocked = Blocked::new(); // a handler may be waiting for who comes here next
    let mut running = running();
    if LIFE.has_died() {
        running.take().into_iter().for_each(thread::Thread::join);
        let _ = start_as(&mut running, true);
        super::wake_all(); // what it had put aside is sent again
    }
}

fn run(watching: bool) {
    thread::leave_files();
    let fd = own_file::number();
    let mut watch = watching.then(|| Watch::new(fd));
    if !LIFE.begin() {
        return;
    }
    STATE.store(NONE, SeqCst);
    futex::wake(&STATE, i32::MAX);
    loop {
        match STATE.load(SeqCst) {
            STOP => break,
            POSTED => {
                // SAFETY: whoever posted it waits for the answer.
                let request = unsafe { &mut *REQUEST.load(Acquire) };
                ANSWER.store(request.make(fd) as u32, Release);
                STATE.store(DONE, SeqCst);
                futex::wake(&STATE, i32::MAX);
            }
            other => match &mut watch {
                Some(watch) => watch.wait(&STATE, other),
                None => futex::wait(&STATE, other, None),
            },
        }
    }
    LIFE.end();
    // Its descriptors end with it.
}

/// Has the keeper make a request: the error, or `None` if there is no keeper. Signals are blocked, or this is a handler.
pub(super) fn make(request: &mut Request) -> Option<i32> {
    if LIFE.is_mine() {
        return None; // it has just tried
    }
    let _asking = ASKING.lock();
    if STATE.compare_exchange(NONE, NONE, SeqCst, SeqCst).is_err() {
        return None;
    }
    REQUEST.store(request, Release);
    STATE.store(POSTED, SeqCst);
    futex::wake(&STATE, i32::MAX);
    while STATE.load(SeqCst) == POSTED {
        if LIFE.has_died() {
            return None;
        }
        futex::wait(&STATE, POSTED, Some(LOOK_NS));
    }
    STATE.store(NONE, SeqCst);
    Some(ANSWER.load(Acquire) as i32)
}
