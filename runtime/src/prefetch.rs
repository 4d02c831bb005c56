//! Prefetch: moves that return at once and take their place in a stream. The stream's thread hands the job to the
//! prefetch threads and waits for it, because a driver's callback must not call the driver. A large job is cut in two:
//! one thread's system calls then run beside the other's copy. API context and own threads.

use crate::addr::{ByteRange, CHUNK, HostAddr};
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

/// Jobs from here on are cut in two.
const WORTH_CUTTING: usize = 8 * CHUNK;

struct Job {
    parts_left: Mutex<usize>,
    changed: Condvar,
}

impl Job {
    fn of(parts: usize) -> Job {
        Job { parts_left: Mutex::new(parts), changed: Condvar::new() }
    }
    fn finish_part(&self) {
        *self.parts_left.lock().unwrap_or_else(|e| e.into_inner()) -= 1;
        self.changed.notify_all();
    }
    fn wait(&self) {
        let mut left = self.parts_left.lock().unwrap_or_else(|e| e.into_inner());
        while *left > 0 {
            left = self.changed.wait(left).unwrap_or_else(|e| e.into_inner());
        }
    }
}

/// The range in one or two parts, cut between chunks.
fn cut(span: Span) -> Vec<Span> {
    let ByteRange { start, end } = span.range;
    if span.range.len() < WORTH_CUTTING {
        return vec![span];
    }
    let middle = HostAddr(start + span.range.len() / 2).chunk_start().0;
    [ByteRange { start, end: middle }, ByteRange { start: middle, end }]
        .map(|range| Span { range, ..span })
        .into()
}

type Queue = VecDeque<Option<(Span, Target, Arc<Job>)>>;
static QUEUE: Mutex<Queue> = Mutex::new(VecDeque::new());
static POSTED: Condvar = Condvar::new();

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Queues the move of `span` on `stream`.
pub(crate) fn prefetch(devices: &Devices, span: Span, target: Target, stream: Stream) -> Result<()> {
    let task = move || {
        let parts = cut(span);
        let job = Arc::new(Job::of(parts.len()));
        queue().extend(parts.into_iter().map(|part| Some((part, target, job.clone()))));
        POSTED.notify_all();
        job.wait();
    };
    devices.at(stream.device).callback(stream.native(), Box::new(task))?;
    STATS.prefetches.add(1);
    Ok(())
}

/// The prefetch threads: two, or one where there is one core.
pub(crate) struct Prefetcher {
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Prefetcher {
    /// Starts them.
    pub(crate) fn start() -> std::io::Result<Prefetcher> {
        let count = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
        let mut prefetcher = Prefetcher { threads: Vec::new() };
        for _ in 0..count {
            match thread::spawn("hmmrt-prefetch", run) {
                Ok(thread) => prefetcher.threads.push(thread),
                Err(e) if prefetcher.threads.is_empty() => return Err(e),
                Err(_) => break,
            }
        }
        Ok(prefetcher)
    }
    /// Ends them after what is queued.
    pub(crate) fn stop(self) {
        queue().extend(self.threads.iter().map(|_| None));
        POSTED.notify_all();
        for thread in self.threads {
            let _ = thread.join();
        }
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
        job.finish_part();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_jobs_are_cut_between_chunks() {
        let span = |start, len| {
            let range = ByteRange { start, end: start + len };
            Span { range, around: range }
        };
        assert_eq!(cut(span(5, WORTH_CUTTING - 1)).len(), 1);
        let start = 7 * CHUNK + 4097;
        let parts = cut(span(start, 9 * CHUNK + 3));
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].range.start, start);
        assert_eq!(parts[0].range.end, parts[1].range.start);
        assert_eq!(parts[1].range.end, start + 9 * CHUNK + 3);
        assert!(parts[1].range.start.is_multiple_of(CHUNK));
        assert!(parts.iter().all(|p| p.around == span(start, 9 * CHUNK + 3).around));
    }
}
