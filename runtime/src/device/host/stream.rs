//! A stream of the host backend: a thread that does queued tasks in order. Pushed to by API calls; never touched by the
//! signal handler, which only waits on a [`Timeline`]. That may have interrupted the C library's allocator, with its locks held: so the
//! thread itself neither allocates nor frees, and room is made by those who queue. (What it runs may: a prefetch does.)

use crate::error::{Error, Result};
use crate::stream::Timeline;
use crate::sys::thread;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What a stream can be told to do.
pub(super) enum Task {
    /// Run this (a kernel or a callback).
    Run(Work),
    /// Let the timeline reach the ticket.
    Signal(&'static Timeline, u64),
    /// Wait for the timeline.
    Wait(&'static Timeline, u64),
    /// End.
    Stop,
}

/// Called once.
pub(super) type Work = Box<dyn FnMut() + Send>;

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// What has been done, for others to drop.
    spent: Vec<Work>,
    busy: bool,
    /// The last task is there.
    ended: bool,
}

/// The thread and its queue.
pub(super) struct Worker {
    queue: Mutex<Queue>,
    wake: Condvar,
    thread: Mutex<Option<thread::Thread>>,
}

impl Worker {
    /// Starts a stream of device `device`.
    pub(super) fn start(device: i32) -> Result<Arc<Worker>> {
        let worker =
            Arc::new(Worker { queue: Mutex::default(), wake: Condvar::new(), thread: Mutex::default() });
        let own = worker.clone();
        let thread = thread::spawn("hmmrt-stream", move || own.run()).map_err(|e| Error::Device {
            device,
            call: "stream thread",
            code: e.raw_os_error().unwrap_or(0),
            name: "HOST_ERROR_THREAD",
        })?;
        *worker.thread.lock().unwrap_or_else(|e| e.into_inner()) = Some(thread);
        Ok(worker)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The queue, with room for one task more, and for all of them when they are done.
    fn with_room(&self) -> MutexGuard<'_, Queue> {
        loop {
            let queue = self.queue();
            let len = queue.tasks.len();
            // One may be with the thread.
            if len < queue.tasks.capacity() && queue.spent.len() + len + 2 <= queue.spent.capacity() {
                return queue;
            }
            drop(queue);
            let most = 2 * len + 16;
            let (mut tasks, mut spent) = (VecDeque::with_capacity(most), Vec::with_capacity(most));
            let mut queue = self.queue();
            if queue.tasks.len() + 2 <= most {
                tasks.append(&mut queue.tasks);
                core::mem::swap(&mut queue.tasks, &mut tasks);
                core::mem::swap(&mut queue.spent, &mut spent);
            }
            drop(queue); // before what it had
        }
    }

    /// Queues a task, unless the stream ends. Whether it did.
    pub(super) fn push(&self, task: Task) -> bool {
        let mut queue = self.with_room();
        if queue.ended {
            return false;
        }
        queue.ended = matches!(task, Task::Stop);
        queue.tasks.push_back(task);
        self.wake.notify_one();
        true
    }

    /// Lets `timeline` reach `ticket` behind all that is queued: at once when nothing is. Not where the stream ends: whether it did.
    pub(super) fn signal(&self, timeline: &'static Timeline, ticket: u64) -> bool {
        let mut queue = self.with_room();
        if queue.ended {
            return false;
        }
        if queue.tasks.is_empty() && !queue.busy {
            drop(queue);
            timeline.reach(ticket);
        } else {
            queue.tasks.push_back(Task::Signal(timeline, ticket)); // the thread is awake or about to be
        }
        true
    }

    /// Ends the thread after what is queued.
    pub(super) fn stop(&self) {
        let _ = self.push(Task::Stop);
        let thread = self.thread.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(thread) = thread {
            thread.join();
        }
    }

    fn run(&self) {
        loop {
            let task = {
                let mut queue = self.queue();
                queue.busy = false;
                loop {
                    if let Some(task) = queue.tasks.pop_front() {
                        queue.busy = true;
                        break task;
                    }
                    queue = self.wake.wait(queue).unwrap_or_else(|e| e.into_inner());
                }
            };
            match task {
                Task::Run(mut work) => {
                    work();
                    self.queue().spent.push(work);
                }
                Task::Signal(timeline, ticket) => timeline.reach(ticket),
                Task::Wait(timeline, ticket) => timeline.wait(ticket),
                Task::Stop => return,
            }
        }
    }
}
