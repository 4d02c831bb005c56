//! A stream: a thread that does one job after the other. What a job has to wait for is known when it is put in, and is
//! always something put in before it, so streams can't wait for each other in a circle.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::device::Device;
use crate::lock::held;
use crate::{Error, Result, thread};

/// What a job does. An error makes the device sick.
pub type Body = Box<dyn FnOnce() -> Result + Send>;

/// One stream.
pub struct Stream {
    /// Where its work runs.
    pub device: &'static Device,
    /// Whether it is ordered against the default stream.
    blocking: bool,
    /// Whether it is the default stream.
    legacy: bool,
    queue: Mutex<Queue>,
    work: Condvar,
    done: Condvar,
    /// Jobs done; the n-th job is done when this is n or more.
    completed: AtomicU64,
    /// While it is captured: how many jobs went into the graph instead.
    capture: Mutex<Option<u64>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    submitted: u64,
    idle: bool,
    closed: bool,
    waiters: usize,
}

struct Job {
    after: Vec<Point>,
    body: Body,
}

/// A place in a stream: behind one of its jobs.
#[derive(Clone)]
pub struct Point {
    stream: Arc<Stream>,
    job: u64,
}

impl Point {
    /// Whether all up to here is done.
    pub fn reached(&self) -> bool {
        self.stream.completed.load(Acquire) >= self.job
    }

    /// Waits for it; the caller does not hold the driver's lock.
    pub fn wait(&self) {
        if self.reached() {
            return;
        }
        let mut queue = held(&self.stream.queue);
        while !self.reached() {
            queue.waiters += 1;
            queue = self.stream.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.waiters -= 1;
        }
    }

    /// Where the work runs.
    pub fn device(&self) -> &'static Device {
        self.stream.device
    }
}

impl Stream {
    /// Makes a stream that programs have a handle of.
    pub fn create(device: &'static Device, blocking: bool) -> Result<Arc<Stream>> {
        let stream = Stream::start(device, blocking, false)?;
        held(&device.order).streams.push(stream.clone());
        Ok(stream)
    }

    pub(crate) fn start(device: &'static Device, blocking: bool, legacy: bool) -> Result<Arc<Stream>> {
        let stream = Arc::new(Stream {
            device,
            blocking,
            legacy,
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
            done: Condvar::new(),
            completed: AtomicU64::new(0),
            capture: Mutex::new(None),
        });
        let own = stream.clone();
        thread::spawn("double-stream", move || own.run())?;
        Ok(stream)
    }

    /// Puts a job in, to run after the stream's other jobs, what the order of streams asks for, and `after`.
    pub fn submit(self: &Arc<Stream>, after: Option<Point>, body: Body) -> Result<Point> {
        if let Some(nodes) = held(&self.capture).as_mut() {
            *nodes += 1;
            return Ok(Point { stream: self.clone(), job: 0 });
        }
        let order = held(&self.device.order);
        let mut after: Vec<Point> = after.into_iter().filter(|point| !point.reached()).collect();
        if self.legacy {
            after.extend(order.streams.iter().filter(|other| other.blocking).filter_map(Stream::pending));
        } else if self.blocking {
            after.extend(order.legacy.as_ref().and_then(Stream::pending));
        }
        let mut queue = held(&self.queue);
        if queue.closed {
            return Err(Error::INVALID_HANDLE);
        }
        queue.submitted += 1;
        queue.jobs.push_back(Job { after, body });
        if queue.idle {
            self.work.notify_one();
        }
        Ok(Point { stream: self.clone(), job: queue.submitted })
    }

    /// Its end as of now, unless that is reached.
    pub fn pending(self: &Arc<Stream>) -> Option<Point> {
        let point = Point { stream: self.clone(), job: held(&self.queue).submitted };
        (!point.reached()).then_some(point)
    }

    /// Whether it is ordered against the default stream.
    pub fn is_blocking(&self) -> bool {
        self.blocking
    }

    /// From now on what is put in is counted, and not done.
    pub fn begin_capture(&self) -> Result {
        let mut capture = held(&self.capture);
        if self.legacy || capture.is_some() {
            return Err(Error::STREAM_CAPTURE_UNSUPPORTED);
        }
        *capture = Some(0);
        Ok(())
    }

    /// How many jobs were put in since the capture began, which ends.
    pub fn end_capture(&self) -> Result<u64> {
        held(&self.capture).take().ok_or(Error::INVALID_VALUE)
    }

    /// Whether it is captured.
    pub fn is_capturing(&self) -> bool {
        held(&self.capture).is_some()
    }

    /// Its handle is gone: what is in it is done, then the thread ends.
    pub fn close(&self) {
        held(&self.queue).closed = true;
        self.work.notify_one();
    }

    /// The thread.
    fn run(self: Arc<Stream>) {
        while let Some(job) = self.next() {
            job.after.iter().for_each(Point::wait);
            if self.device.check().is_ok() {
                let result = catch_unwind(AssertUnwindSafe(job.body));
                if let Err(error) = result.unwrap_or(Err(Error::LAUNCH_FAILED)) {
                    self.device.poison(error);
                }
            } else {
                // Whatever the job holds goes before it counts as done.
                drop(job.body);
            }
            let queue = held(&self.queue);
            self.completed.fetch_add(1, Release);
            if queue.waiters != 0 {
                self.done.notify_all();
            }
        }
        held(&self.device.order).streams.retain(|other| !Arc::ptr_eq(other, &self));
    }

    fn next(&self) -> Option<Job> {
        let mut queue = held(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue.idle = true;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle = false;
        }
    }
}
