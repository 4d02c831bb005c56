//! The thread that keeps the descriptor: a program may close descriptors that it does not know (a daemon closes all), and
//! with the last one the kernel forgets what is away, and gives zeros for it. This thread's descriptors are its own, so that
//! there is always one; who finds that theirs is gone has it make the request. `make` is signal-safe.

use crate::sys::futex::{self, Locked};
use crate::sys::thread;
use crate::sys::uffd::Request;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};

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

/// The running thread.
pub(super) struct Keeper {
    thread: thread::Thread,
}

impl Keeper {
    /// Starts it, and waits until it has its descriptors.
    pub(super) fn start() -> std::io::Result<Keeper> {
        STATE.store(ABSENT, SeqCst);
        let thread = thread::spawn("hmmrt-uffd", run)?;
        while STATE.load(SeqCst) == ABSENT {
            futex::wait(&STATE, ABSENT, Some(10_000_000));
        }
        Ok(Keeper { thread })
    }

    /// Ends it, and with it the last descriptor.
    pub(super) fn stop(self) {
        {
            let _blocked = crate::sys::signal::Blocked::new();
            let _asking = ASKING.lock();
            STATE.store(STOP, SeqCst);
            futex::wake(&STATE, i32::MAX);
        }
        self.thread.join();
        STATE.store(ABSENT, SeqCst);
    }
}

fn run() {
    thread::leave_files();
    STATE.store(NONE, SeqCst);
    futex::wake(&STATE, i32::MAX);
    loop {
        match STATE.load(SeqCst) {
            STOP => break,
            POSTED => {
                // SAFETY: whoever posted it waits for the answer.
                let request = unsafe { &mut *REQUEST.load(Acquire) };
                ANSWER.store(request.make(super::FD.load(Relaxed)) as u32, Release);
                STATE.store(DONE, SeqCst);
                futex::wake(&STATE, i32::MAX);
            }
            other => futex::wait(&STATE, other, None),
        }
    }
    // Its descriptors end with it.
}

/// Has the keeper make a request: the error, or `None` if there is no keeper. Signals are blocked, or this is a handler.
pub(super) fn make(request: &mut Request) -> Option<i32> {
    let _asking = ASKING.lock();
    if STATE.compare_exchange(NONE, NONE, SeqCst, SeqCst).is_err() {
        return None;
    }
    REQUEST.store(request, Release);
    STATE.store(POSTED, SeqCst);
    futex::wake(&STATE, i32::MAX);
    while STATE.load(SeqCst) == POSTED {
        futex::wait(&STATE, POSTED, None);
    }
    STATE.store(NONE, SeqCst);
    Some(ANSWER.load(Acquire) as i32)
}
