//! Who runs: thread identity without thread-local storage, and the list of the runtime's own threads, which must never
//! wait for a kernel in the fault handler. Signal-safe.

use super::process::start;
pub(crate) use super::process::{Thread, at_fork, thread_pointer as id};
use super::{clock, kernel, mark, own_file};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::*};

/// The kernel's number of the calling thread. Signal-safe.
pub(crate) fn number() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { kernel::raw(libc::SYS_gettid, [0; 6]) as u32 }
}

const SLOTS: usize = 256;
static OWN: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
/// Their numbers.
static OWN_NUMBERS: [AtomicU32; SLOTS] = [const { AtomicU32::new(0) }; SLOTS];
/// So many slots have been in use: what is asked for each block need not look at the others.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Marks the calling thread as the runtime's own until the value is dropped.
pub(crate) struct OwnThread(usize);

impl OwnThread {
    /// Registers the calling thread.
    pub(crate) fn register() -> OwnThread {
        let me = id();
        let slot = OWN.iter().position(|s| s.compare_exchange(0, me, SeqCst, Relaxed).is_ok());
        let slot = slot.unwrap_or(SLOTS);
        if let Some(its) = OWN_NUMBERS.get(slot) {
            its.store(number(), SeqCst);
        }
        USED.fetch_max(slot + 1, SeqCst);
        OwnThread(slot)
    }
}
impl Drop for OwnThread {
    fn drop(&mut self) {
        if let Some(slot) = OWN.get(self.0) {
            OWN_NUMBERS[self.0].store(0, SeqCst);
            slot.store(0, SeqCst);
        }
    }
}

/// A thread of ours, which had this id, has ended, perhaps without a word: the next thread may have the same id.
#[cfg_attr(hmmrt_standin, expect(dead_code, reason = "its caller is `process`, which is another there"))]
pub(crate) fn forget(id: usize) {
    for (own, number) in OWN.iter().zip(&OWN_NUMBERS) {
        let its = number.load(SeqCst);
        // SAFETY: asks whether there is such a thread; no signal is sent.
        let is_there = || unsafe {
            kernel::raw(libc::SYS_tgkill, [libc::getpid() as usize, its as usize, 0, 0, 0, 0]) == 0
        };
        if own.load(SeqCst) != id || its == 0 {
            continue;
        }
        // Who has been waited for is still there for a moment; who stays has the same id, and has come since.
        let mut patience = 200;
        while is_there() && patience > 0 {
            std::thread::sleep(core::time::Duration::from_micros(50));
            patience -= 1;
        }
        // The number first: whoever has the place next sets its own. A thread of the program's may get it again, too.
        if !is_there() && number.compare_exchange(its, 0, SeqCst, Relaxed).is_ok() {
            let _ = own.compare_exchange(id, 0, SeqCst, Relaxed);
        }
    }
}

/// Whether the calling thread is one of the runtime's own. Signal-safe.
pub(crate) fn is_own() -> bool {
    let me = id();
    OWN.iter().take(USED.load(Relaxed)).any(|s| s.load(Relaxed) == me)
}

/// Whether the thread with the kernel's number `number` is one of the runtime's own. Signal-safe.
pub(crate) fn is_own_number(number: u32) -> bool {
    number != 0 && OWN_NUMBERS.iter().any(|n| n.load(Relaxed) == number)
}

/// Whether helpers have descriptors of their own: they call no driver, which would need its own.
static PRIVATE_FILES: AtomicBool = AtomicBool::new(false);

/// Sets whether helpers that are started from now on have descriptors of their own. A program closes one and expects its
/// number to be the next that is given out: what a thread of ours opens for a moment would take it.
pub(crate) fn set_private_files(on: bool) {
    PRIVATE_FILES.store(on, Relaxed);
}

/// Starts a thread of the runtime that runs nothing of the program's: as [`spawn`], with descriptors of its own where it can.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn spawn_helper(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<Thread> {
    spawn(name, || {
        if PRIVATE_FILES.load(Relaxed) {
            leave_files();
        }
        body();
    })
}

/// Gives the calling thread descriptors of its own, none at first but our own. Without effect before Linux 5.9.
pub(crate) fn leave_files() {
    const UNSHARE: usize = 2;
    let close = |first: usize, last: usize| {
        // SAFETY: no memory is involved; the descriptors of other threads stay as they are.
        unsafe { kernel::raw(libc::SYS_close_range, [first, last, UNSHARE, 0, 0, 0]) };
    };
    match usize::try_from(own_file::number()) {
        Ok(kept) => {
            close(kept + 1, u32::MAX as usize);
            if kept > 0 {
                close(0, kept - 1);
            }
            if !own_file::is(kept as i32) {
                close(kept, kept); // the program's own by now, which would stay open for its other side
            }
        }
        Err(_) => close(0, u32::MAX as usize),
    }
}

/// Starts a thread of the runtime: all signals blocked (but the synchronous ones), registered as our own.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
    #[cfg(feature = "inject")]
    if let Some(errno) = super::refusal::of_thread() {
        return Err(std::io::Error::from_raw_os_error(errno));
    }
    let _blocked = super::signal::Blocked::new();
    let body = move || {
        let _own = OwnThread::register();
        body();
    };
    start(name, 512 << 10, Box::new(body))
}

static OWNER_PID: AtomicI32 = AtomicI32::new(0);

/// Remembers this process as the runtime's, and arranges that a forked child knows it is not. Waits for nobody: a child forked
/// at any moment of it by another thread either knows so, or is as if nobody had been here.
pub(crate) fn claim_process() {
    static ARRANGED: AtomicBool = AtomicBool::new(false);
    if !ARRANGED.load(Acquire) {
        at_fork(None, None, Some(in_child)); // twice does no harm
        mark::set();
        ARRANGED.store(true, Release);
    }
    // SAFETY: getpid has no preconditions.
    let me = unsafe { libc::getpid() };
    // Not in a child: one of vfork would change its parent's.
    let _ = OWNER_PID.compare_exchange(0, me, SeqCst, Relaxed);
}

/// In a forked child: it is one, and the threads that had stacks in reserve are not there.
pub(crate) extern "C" fn in_child() {
    OWNER_PID.store(-1, SeqCst);
    super::reserve::in_child();
}

/// [`in_child`], if the parent was the runtime's process.
pub(crate) fn tell_child() {
    if OWNER_PID.load(Relaxed) != 0 {
        in_child();
    }
}

/// In a child that no handler has told so, one of a bare system call: does what the handlers would have. Whether this was the
/// first to notice. Signal-safe.
pub(crate) fn notice_child() -> bool {
    let owner = OWNER_PID.load(Relaxed);
    let first =
        owner > 0 && mark::is_wiped() && OWNER_PID.compare_exchange(owner, -1, SeqCst, Relaxed).is_ok();
    if first {
        super::reserve::in_child();
    }
    first
}

/// Whether this is the process that the runtime belongs to, asked of the kernel: right also in a forked child before its
/// handlers have run. Signal-safe.
pub(crate) fn is_owner() -> bool {
    // SAFETY: getpid has no preconditions.
    OWNER_PID.load(Relaxed) == unsafe { libc::getpid() }
}

/// Whether this process is a forked child of the one that started the runtime. Signal-safe.
pub(crate) fn forked() -> bool {
    OWNER_PID.load(Relaxed) == -1 || mark::is_wiped()
}

/// How long a forked child waits for a lock: its holder may be a thread of the parent's, and those that are there have none
/// for long.
const VAIN_NS: u64 = 1_000_000_000;

/// Waiting for a lock, which in a forked child has an end.
#[derive(Default)]
pub(crate) struct Waiting {
    since: u64,
}

impl Waiting {
    /// How long to sleep at most before asking again; `None`: for ever. Signal-safe.
    pub(crate) fn nap(&self) -> Option<u64> {
        forked().then_some(VAIN_NS / 20)
    }
    /// Whether it was too long by now: nobody is going to give the lock back. Signal-safe.
    pub(crate) fn is_in_vain(&mut self) -> bool {
        if !forked() {
            return false;
        }
        let now = clock::now_ns();
        if self.since == 0 {
            self.since = now;
        }
        now - self.since > VAIN_NS
    }
}

/// Whether `what` is so in a forked child, which is ended if it waits for ever.
#[cfg(all(test, not(hmmrt_standin)))]
pub(crate) fn is_so_in_child(what: fn() -> bool) -> bool {
    // SAFETY: the child does what any may, and leaves.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::alarm(120);
            libc::_exit(i32::from(!what()));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status == 0
    }
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself does
mod tests {
    use super::*;

    /// Who is ended without a word is not taken for one of ours later, nor whoever gets its number.
    #[test]
    fn who_has_ended_without_a_word_is_forgotten() {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let thread = spawn("test", || {
            NUMBER.store(number(), SeqCst);
            assert!(is_own() && is_own_number(number()));
            // SAFETY: ends the thread, and nothing of it is needed.
            unsafe { kernel::raw(libc::SYS_exit, [0; 6]) };
        });
        thread.unwrap().join();
        assert!(NUMBER.load(SeqCst) != 0 && !is_own_number(NUMBER.load(SeqCst)));
    }
}
