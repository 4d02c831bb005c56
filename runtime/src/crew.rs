//! Threads that help to move many chunks: copies go through the CPU, and one core does not fill a GPU's bus. Whoever has
//! the work takes part in it, so it gets done without the crew, too. API context and the streams' threads; never the
//! signal handler.

use crate::sys::signal::Blocked;
use crate::sys::thread;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Fewer chunks than this are not worth waking anybody.
pub(crate) const WORTH_SHARING: usize = 8;

/// One thread's part: takes numbers until there are none left.
type Part<'a> = dyn Fn(&mut dyn FnMut() -> Option<usize>) + Sync + 'a;

struct Job {
    /// Valid until `closed`: the caller of [`share`] waits for all who have entered.
    part: *const Part<'static>,
    next: AtomicUsize,
    count: usize,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    inside: usize,
    closed: bool,
}

// SAFETY: `part` is Sync, and used only as `state` allows.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

/// Jobs that could use another helper; `None` ends a thread.
static QUEUE: Mutex<VecDeque<Option<Arc<Job>>>> = Mutex::new(VecDeque::new());
static POSTED: Condvar = Condvar::new();
static HELPERS: AtomicUsize = AtomicUsize::new(0);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shares the numbers `0..count` among the calling thread and the crew: `part` runs once in each thread that takes part,
/// and takes numbers until it has had enough or there are none. Done on return.
pub(crate) fn share(count: usize, part: &Part<'_>) {
    let helpers = HELPERS.load(Relaxed).min(count.saturating_sub(1));
    // SAFETY: only the lifetime changes; nobody uses the reference after this function has closed the job.
    let part = unsafe { core::mem::transmute::<*const Part<'_>, *const Part<'static>>(part) };
    let job = Arc::new(Job {
        part,
        next: AtomicUsize::new(0),
        count,
        state: Mutex::default(),
        left: Condvar::new(),
    });
    if helpers > 0 {
        let _blocked = Blocked::new(); // a handler that forks comes here, too
        lock(&QUEUE).extend((0..helpers).map(|_| Some(job.clone())));
        POSTED.notify_all();
    }
    // A panic of the part must not leave others in it either: it is the caller's.
    let _closed = Closing(&job);
    job.work();
}

struct Closing<'a>(&'a Job);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.closed = true;
        while state.inside > 0 {
            state = self.0.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A helper that has entered, until it leaves.
struct Inside<'a>(&'a Job);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).inside -= 1;
        self.0.left.notify_one();
    }
}

impl Job {
    fn work(&self) {
        let mut take = || Some(self.next.fetch_add(1, Relaxed)).filter(|n| *n < self.count);
        // SAFETY: the caller of `share` is still in it: it is this thread, or it waits for this one (`Closing`).
        unsafe { (*self.part)(&mut take) };
    }

    fn help(&self) {
        {
            let mut state = lock(&self.state);
            if state.closed {
                return;
            }
            state.inside += 1;
        }
        let _inside = Inside(self);
        self.work();
    }
}

/// The running threads.
pub(crate) struct Crew {
    threads: Vec<thread::Thread>,
}

impl Crew {
    /// Starts up to `count` threads; fewer do as well.
    pub(crate) fn start(count: usize) -> Crew {
        lock(&QUEUE).reserve(4 * count + 64); // a fork in a signal handler may be the first to use it
        let threads: Vec<_> =
            (0..count).map_while(|_| thread::spawn_helper("hmmrt-crew", run).ok()).collect();
        HELPERS.store(threads.len(), Relaxed);
        Crew { threads }
    }

    /// Ends them.
    pub(crate) fn stop(self) {
        HELPERS.store(0, Relaxed);
        lock(&QUEUE).extend(self.threads.iter().map(|_| None));
        POSTED.notify_all();
        for thread in self.threads {
            thread.join();
        }
    }
}

fn run() {
    loop {
        let job = {
            let mut queue = lock(&QUEUE);
            loop {
                match queue.pop_front() {
                    Some(job) => break job,
                    None => queue = POSTED.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            }
        };
        let Some(job) = job else { return };
        job.help();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_taken_once() {
        let crew = Crew::start(3);
        for count in [0, 1, 2, 7, 1000] {
            let taken: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            share(count, &|take| {
                while let Some(i) = take() {
                    taken[i].fetch_add(1, SeqCst);
                }
            });
            assert!(taken.iter().all(|t| t.load(SeqCst) == 1), "{count}");
        }
        for _ in 0..200 {
            let sum = AtomicUsize::new(0); // on this stack: nobody may come late
            share(4, &|take| {
                while let Some(i) = take() {
                    std::thread::sleep(std::time::Duration::from_micros(50 * (4 - i as u64)));
                    sum.fetch_add(i, SeqCst);
                }
            });
            assert_eq!(sum.load(SeqCst), 6);
        }
        crew.stop();
        // Here, because there is one crew. A helper that panics holds nobody up.
        let crew = Crew::start(1);
        let caller = std::thread::current().id();
        let entered = std::sync::atomic::AtomicBool::new(false);
        share(2, &|take| {
            if std::thread::current().id() != caller {
                entered.store(true, SeqCst);
                panic!("on purpose");
            }
            while !entered.load(SeqCst) {
                std::thread::yield_now();
            }
            while take().is_some() {}
        });
        crew.stop();
    }
}
