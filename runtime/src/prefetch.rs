//! Prefetch: moves that return at once and take their place in a stream. The stream's thread hands the job to the
//! prefetch thread and waits for it, because a driver's callback must not call the driver. API context and own threads.

use crate::device::Devices;
use crate::error::{Error, Result};
use crate::log::log;
use crate::moves::{self, Patience};
use crate::span::Span;
use crate::stats::STATS;
use crate::stream::Stream;
use crate::sys::thread;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Where a prefetch goes.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Home.
    Host,
    /// Device number.
    Device(usize),
}

#[derive(Default)]
struct Job {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Job {
    fn finish(&self) {
        *self.done.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.changed.notify_all();
    }
    fn wait(&self) {
        let mut done = self.done.lock().unwrap_or_else(|e| e.into_inner());
        while !*done {
            done = self.changed.wait(done).unwrap_or_else(|e| e.into_inner());
        }
    }
}

type Queue = VecDeque<Option<(Span, Target, Arc<Job>)>>;
static QUEUE: Mutex<Queue> = Mutex::new(VecDeque::new());
static POSTED: Condvar = Condvar::new();

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Queues the move of `span` on `stream`.
pub(crate) fn prefetch(devices: &Devices, span: Span, target: Target, stream: Stream) -> Result<()> {
    let job = Arc::new(Job::default());
    let task = move || {
        queue().push_back(Some((span, target, job.clone())));
        POSTED.notify_one();
        job.wait();
    };
    devices.at(stream.device).callback(stream.native(), Box::new(task))?;
    STATS.prefetches.add(1);
    Ok(())
}

/// The prefetch thread.
pub(crate) struct Prefetcher {
    thread: std::thread::JoinHandle<()>,
}

impl Prefetcher {
    /// Starts it.
    pub(crate) fn start() -> std::io::Result<Prefetcher> {
        Ok(Prefetcher { thread: thread::spawn("hmmrt-prefetch", run)? })
    }
    /// Ends it after what is queued.
    pub(crate) fn stop(self) {
        queue().push_back(None);
        POSTED.notify_one();
        let _ = self.thread.join();
    }
}

fn run() {
    loop {
        let job = {
            let mut q = queue();
            loop {
                match q.pop_front() {
                    Some(job) => break job,
                    None => q = POSTED.wait(q).unwrap_or_else(|e| e.into_inner()),
                }
            }
        };
        let Some((span, target, job)) = job else { return };
        let done = match target {
            Target::Host => moves::to_host(span.range, true, Patience::Skip, "ptr"),
            Target::Device(d) => moves::to_device(span, d, Patience::Skip, "ptr"),
        };
        if let Err(e) = done {
            // Only a hint: the pages stay where they are, and whoever needs them moves them or gets the error.
            if !matches!(e, Error::NotManaged { .. }) {
                STATS.errors.add(1);
                log!(Warn, "prefetch: {e}");
            }
        }
        job.finish();
    }
}
