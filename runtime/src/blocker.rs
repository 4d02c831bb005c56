//! What somebody has to wait for who wants pages elsewhere: a stream that has not come to a kernel's end, a kernel that
//! nobody has released, a system call. `inflight` and `holds` say which; the fault path waits by itself, API calls with
//! [`wait_or_busy`]. Nobody waits with a lock. Signal-safe, but for that.

use crate::error::{Error, Result};
use crate::stream::Stream;
use crate::sys::thread;
use crate::trace::{self, What};
use crate::{gate, heap, holds, inflight};

/// A use that something has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocker {
    /// What a stream has been given, and has not reached yet.
    Queued { stream: u16, ticket: u64 },
    /// What nobody has released yet.
    Open { stream: u16, owner: usize },
    /// A system call.
    Call(holds::Blocker),
    /// A fork, for which nothing may leave the host.
    Fork,
    /// Who has the heap: in a signal handler it may be waiting for what the caller is acquiring.
    Heap,
}

impl Blocker {
    /// Whether waiting for it would never end: it is open and the calling thread opened it. Signal-safe.
    pub(crate) fn is_own(&self) -> bool {
        match self {
            Blocker::Queued { .. } | Blocker::Fork | Blocker::Heap => false,
            Blocker::Open { owner, .. } => *owner == thread::id(),
            Blocker::Call(call) => call.is_own(),
        }
    }
    /// The thread that can end it, if it is one.
    pub(crate) fn owner(&self) -> Option<usize> {
        match self {
            Blocker::Queued { .. } | Blocker::Fork | Blocker::Heap => None,
            Blocker::Open { owner, .. } => Some(*owner),
            Blocker::Call(call) => Some(call.owner()),
        }
    }
    /// Whether it is not known that it will end.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self, Blocker::Queued { .. } | Blocker::Fork)
    }
    /// Waits for it, or for some change that makes it worth looking again. Holds no lock. Signal-safe.
    pub(crate) fn wait(&self) {
        crate::stats::STATS.waits.add(1);
        let begun = trace::now();
        self.wait_untraced();
        trace::record(|| {
            let stream = match *self {
                Blocker::Queued { stream, .. } | Blocker::Open { stream, .. } => Some(stream),
                Blocker::Call(_) | Blocker::Fork | Blocker::Heap => None,
            };
            What::Wait { stream, took: trace::since(begun) }
        });
    }
    fn wait_untraced(&self) {
        match *self {
            Blocker::Queued { stream, ticket } => Stream::slot(stream).timeline.wait(ticket),
            Blocker::Call(call) => call.wait(),
            Blocker::Fork => gate::wait(),
            Blocker::Heap => drop(heap::lock_within(HEAP_NS)),
            Blocker::Open { stream, owner } => inflight::wait_for_release(stream, owner),
        }
    }
}

/// How long the heap is waited for without a look at how long that has been.
const HEAP_NS: u64 = 100_000_000;
/// How long an API call waits for something that nobody releases.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Whether what an API call tries again and again has been tried for long enough. `since` remembers when that began (0: not yet).
pub(crate) fn is_tired(since: &mut u64) -> bool {
    let now = crate::sys::clock::now_ns();
    if *since == 0 {
        *since = now;
    }
    now - *since > PATIENCE_NS
}

/// Waits for what stands in the way of an API call. `since` remembers when the waiting for open entries began (0: not
/// yet); after about 10 s of it the call fails.
pub(crate) fn wait_or_busy(blocker: Blocker, arg: &'static str, addr: usize, since: &mut u64) -> Result<()> {
    if blocker.is_own() {
        let why = match blocker {
            Blocker::Call(_) => "a system call of this thread uses it",
            _ => "this thread acquired it and has not released it",
        };
        return Err(Error::Busy { arg, addr, why });
    }
    if blocker.is_open() && is_tired(since) {
        let why = match blocker {
            Blocker::Call(_) => "a system call of another thread uses it, and does not end",
            Blocker::Heap => "another thread is inside of an allocation, and does not get out of it",
            _ => "another thread acquired it and does not release it",
        };
        return Err(Error::Busy { arg, addr, why });
    }
    let _blocked = crate::sys::signal::Blocked::new();
    blocker.wait();
    Ok(())
}
