//! Streams of a driver, and how the runtime hears of them. A mark is an event recorded on the stream; a watcher thread of
//! each stream that is used waits for the events in order and lets the timeline reach their tickets, so that the signal
//! handler can wait for a kernel without calling the driver. Tasks (prefetch) take their place among the marks: the
//! watcher runs them when the stream has got there. A device that fails reaches every ticket: nobody waits for ever.
//!
//! Whoever waits may be a signal handler that has interrupted the C library's allocator, with its locks held. So for marks the
//! watcher neither allocates nor frees, nor waits for a lock that somebody has who does: room is made by those who queue.

use super::context::Context;
use super::table::{Handle, Kind};
use crate::device::NativeStream;
use crate::error::{Error, Result};
use crate::stream::{PER_THREAD, Timeline};
use crate::sys::thread;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

enum Item {
    /// When the event is done, the timeline reaches the ticket.
    Mark { event: Handle, timeline: &'static Timeline, ticket: u64 },
    /// When the event is done, the task runs.
    Task { event: Handle, task: Option<Box<dyn FnOnce() + Send>> },
    /// The watcher ends.
    Stop,
}

// SAFETY: a driver's handles can be used from every thread.
unsafe impl Send for Item {}

impl Item {
    fn event(&self) -> Option<Handle> {
        match self {
            Item::Mark { event, .. } | Item::Task { event, .. } => Some(*event),
            Item::Stop => None,
        }
    }
}

/// One stream: ours, the program's, or the device's default stream (a NULL handle).
struct Stream {
    context: &'static Context,
    handle: Handle,
    owned: bool,
    events: Arc<Events>,
    queue: Mutex<VecDeque<Item>>,
    /// Set with the queue's lock: nothing more comes, and the handle may be gone.
    ended: AtomicBool,
    wake: Condvar,
    watcher: Mutex<Option<thread::Thread>>,
}

// SAFETY: as for `Item`.
unsafe impl Send for Stream {}
// SAFETY: as for `Item`.
unsafe impl Sync for Stream {}

/// Events that are not in use.
struct Events {
    context: &'static Context,
    free: Mutex<Vec<Handle>>,
    made: AtomicUsize,
}

// SAFETY: as for `Item`.
unsafe impl Send for Events {}
// SAFETY: as for `Item`.
unsafe impl Sync for Events {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    fn take(&self) -> Result<Handle> {
        if let Some(event) = lock(&self.free).pop() {
            return Ok(event);
        }
        let event = self.context.event_create()?;
        let made = self.made.fetch_add(1, Relaxed) + 1;
        // Room for all, so that `put` needs none.
        if lock(&self.free).capacity() < made {
            let mut room = Vec::with_capacity(2 * made);
            let mut free = lock(&self.free);
            if free.capacity() < room.capacity() {
                room.append(&mut free);
                core::mem::swap(&mut *free, &mut room);
            }
            drop(free); // before what it had
        }
        Ok(event)
    }

    fn put(&self, event: Handle) {
        if !event.is_null() {
            lock(&self.free).push(event);
        }
    }
}

/// The streams of one device.
pub(super) struct Streams {
    context: &'static Context,
    events: Arc<Events>,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    last: NativeStream,
    streams: BTreeMap<NativeStream, Arc<Stream>>,
}

/// All streams of all devices that have a watcher: where a mark is looked for.
static WATCHED: Mutex<Vec<Arc<Stream>>> = Mutex::new(Vec::new());

impl Streams {
    pub(super) fn new(context: &'static Context) -> Streams {
        let events = Arc::new(Events { context, free: Mutex::default(), made: AtomicUsize::new(0) });
        Streams { context, events, live: Mutex::default() }
    }

    fn stream(&self, handle: Handle, owned: bool) -> Arc<Stream> {
        Arc::new(Stream {
            context: self.context,
            handle,
            owned,
            events: self.events.clone(),
            queue: Mutex::default(),
            ended: AtomicBool::new(false),
            wake: Condvar::new(),
            watcher: Mutex::default(),
        })
    }

    fn find(&self, stream: NativeStream) -> Result<Arc<Stream>> {
        let mut live = lock(&self.live);
        if stream == 0 {
            let default = || self.stream(core::ptr::null_mut(), false);
            return Ok(live.streams.entry(0).or_insert_with(default).clone());
        }
        live.streams.get(&stream).cloned().ok_or(Error::BadHandle { arg: "stream", value: stream })
    }

    fn add(&self, handle: Handle, owned: bool) -> NativeStream {
        let mut live = lock(&self.live);
        live.last += 1;
        let number = live.last;
        live.streams.insert(number, self.stream(handle, owned));
        number
    }

    /// Makes a stream.
    pub(super) fn create(&self) -> Result<NativeStream> {
        Ok(self.add(self.context.stream_create()?, true))
    }

    /// Takes note of a stream of the program's.
    ///
    /// # Safety
    /// `handle` is a live stream of the driver, and outlives the number.
    pub(super) unsafe fn adopt(&self, handle: Handle) -> Result<NativeStream> {
        // SAFETY: the caller's promise.
        if !unsafe { self.context.has_stream(handle) }? {
            return Err(Error::InvalidArgument {
                arg: "native",
                why: "it is a stream of another device or context",
            });
        }
        Ok(self.add(handle, false))
    }

    /// Forgets a stream on which nothing is left to do, and ends it if it is ours.
    pub(super) fn destroy(&self, stream: NativeStream) {
        // Ended without the lock: that waits for the stream's thread, and for the driver.
        let stream = lock(&self.live).streams.remove(&stream);
        if let Some(stream) = stream {
            stream.end();
        }
    }

    /// The driver's handle.
    pub(super) fn handle(&self, stream: NativeStream) -> Result<Handle> {
        Ok(self.find(stream)?.handle)
    }

    /// An error if the stream is being captured. The default stream never is, and none of ours, whose handles nobody has.
    pub(super) fn check(&self, stream: NativeStream) -> Result<()> {
        if stream == 0 { Ok(()) } else { self.find(stream)?.check() }
    }

    /// When the stream gets here, the timeline reaches the ticket.
    pub(super) fn signal(
        &self,
        stream: NativeStream,
        timeline: &'static Timeline,
        ticket: u64,
    ) -> Result<()> {
        self.find(stream)?.push(|event| Item::Mark { event, timeline, ticket })
    }

    /// When the stream gets here, the task runs; later marks are reached after it.
    pub(super) fn task(&self, stream: NativeStream, task: Box<dyn FnOnce() + Send>) -> Result<()> {
        self.find(stream)?.push(|event| Item::Task { event, task: Some(task) })
    }

    /// What follows on the stream waits for the timeline's ticket: on the device, if the mark is still to come.
    pub(super) fn wait(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()> {
        if timeline.has_reached(ticket) {
            return Ok(());
        }
        let stream = self.find(stream)?;
        let watched: Vec<Arc<Stream>> = lock(&WATCHED).clone();
        for other in watched {
            let queue = lock(&other.queue);
            let mark = queue.iter().find_map(|item| match item {
                Item::Mark { event, timeline: t, ticket: n }
                    if core::ptr::eq(*t, timeline) && *n >= ticket && !event.is_null() =>
                {
                    Some(*event)
                }
                _ => None,
            });
            if let Some(event) = mark {
                return self.context.stream_wait(stream.handle, event);
            }
        }
        timeline.wait(ticket); // its watcher is about to say so
        Ok(())
    }

    /// Ends all streams of ours; nothing is queued any more.
    pub(super) fn close(&self) {
        let streams = core::mem::take(&mut lock(&self.live).streams);
        streams.into_values().for_each(|s| s.end());
        for event in core::mem::take(&mut *lock(&self.events.free)) {
            let _ = self.context.event_destroy(event);
        }
    }
}

impl Stream {
    fn check(&self) -> Result<()> {
        if !self.owned && self.context.is_capturing(self.handle).unwrap_or(false) {
            return Err(Error::Unsupported { what: "stream", why: "it is being captured into a graph" });
        }
        Ok(())
    }

    /// Records an event and queues what it stands for, in the stream's order.
    fn push(self: &Arc<Self>, item: impl FnOnce(Handle) -> Item) -> Result<()> {
        let event = self.events.take();
        let made = event.as_ref().map_or(core::ptr::null_mut(), |event| *event);
        let queued = self.push_with(event, item);
        if !matches!(queued, Ok(true)) {
            self.events.put(made);
        }
        queued.map(|_| ())
    }

    /// As `push`; whether the event is in the queue.
    fn push_with(self: &Arc<Self>, event: Result<Handle>, item: impl FnOnce(Handle) -> Item) -> Result<bool> {
        let mut queue = self.with_room();
        if self.ended.load(Relaxed) {
            return Err(Error::BadHandle { arg: "stream", value: self.handle.addr() as u64 });
        }
        self.check()?;
        self.watch()?;
        let recorded = event.and_then(|event| {
            self.context.event_record(event, self.handle)?;
            Ok(event)
        });
        let is_recorded = recorded.is_ok();
        let item = match recorded {
            Ok(event) => item(event),
            Err(e) if Context::is_fatal(&e) || self.context.is_lost() => {
                // Nothing on this stream will ever be done: whoever waits must not wait for ever.
                self.context.lose(e);
                item(core::ptr::null_mut())
            }
            Err(e) => return Err(e),
        };
        queue.push_back(item);
        if queue.len() == 1 {
            self.wake.notify_one();
        }
        Ok(is_recorded)
    }

    /// The queue, with room for one item more.
    fn with_room(&self) -> MutexGuard<'_, VecDeque<Item>> {
        loop {
            let queue = lock(&self.queue);
            if queue.len() < queue.capacity() {
                return queue;
            }
            let most = 2 * queue.len() + 64;
            drop(queue);
            let mut room = VecDeque::with_capacity(most);
            let mut queue = lock(&self.queue);
            if queue.capacity() < room.capacity() {
                room.append(&mut queue);
                core::mem::swap(&mut *queue, &mut room);
            }
            drop(queue); // before what it had
        }
    }

    /// Whether the handle stands for another stream in each thread: then marks of several are in no order.
    fn is_each_threads(&self) -> bool {
        self.handle.addr() == PER_THREAD
    }

    /// Starts the watcher with the first mark.
    fn watch(self: &Arc<Self>) -> Result<()> {
        let mut watcher = lock(&self.watcher);
        if watcher.is_none() {
            let own = self.clone();
            let started = thread::spawn("hmmrt-stream", move || own.run());
            let errno = |e: std::io::Error| e.raw_os_error().unwrap_or(0);
            *watcher =
                Some(started.map_err(|e| Error::System { call: "starting a thread", errno: errno(e) })?);
            lock(&WATCHED).push(self.clone());
        }
        Ok(())
    }

    /// The watcher. An item stays in the queue until its event is done, for `wait` to find.
    fn run(&self) {
        loop {
            let event = {
                let mut queue = lock(&self.queue);
                loop {
                    match queue.front() {
                        Some(item) => break item.event(),
                        None => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            };
            let Some(event) = event else { return };
            self.wait_for(event);
            self.arrived();
        }
    }

    /// Waits until the event is done, or the device lost.
    fn wait_for(&self, event: Handle) {
        let done = |c: &Context| {
            if c.driver.kind == Kind::Hip {
                // HIP holds the event's lock while it waits for it, and others have to order streams by the event.
                let mut pause = 10;
                while !c.is_lost() && matches!(c.event_query(event), Ok(false)) {
                    std::thread::sleep(Duration::from_micros(pause));
                    pause = (pause * 2).min(200);
                }
            }
            // One call may fail where the others work.
            c.event_synchronize(event).or_else(|e| match c.event_query(event) {
                Ok(true) => Ok(()),
                _ if self.is_each_threads() => Err(e), // it would be this thread's
                _ => c.stream_synchronize(self.handle).map_err(|_| e),
            })
        };
        if let Err(e) = self.context.patiently(done) {
            self.context.lose(e);
        }
    }

    /// The first item's event is done, or failed: so is all that is before the last mark that is done, too.
    fn arrived(&self) {
        let mut then = None;
        {
            let mut queue = lock(&self.queue);
            let marks = queue.iter().take_while(|item| matches!(item, Item::Mark { .. })).count();
            let last = queue.get(marks.saturating_sub(1)).and_then(Item::event).filter(|_| marks > 1);
            let last = last.filter(|_| !self.is_each_threads());
            let all = last.is_some_and(|event| self.context.event_query(event).unwrap_or(false));
            let count = if all { marks } else { 1 };
            // A later ticket stands for all before it.
            if let Some(Item::Mark { timeline, ticket, .. }) = queue.get(count - 1) {
                timeline.reach(*ticket);
            }
            for item in queue.drain(..count) {
                item.event().into_iter().for_each(|event| self.events.put(event));
                if let Item::Task { task, .. } = item {
                    then = task;
                }
            }
        }
        if let Some(task) = then {
            task();
        }
    }

    fn end(&self) {
        let mut queue = lock(&self.queue);
        self.ended.store(true, Relaxed);
        queue.push_back(Item::Stop);
        drop(queue);
        self.wake.notify_one();
        if let Some(watcher) = lock(&self.watcher).take() {
            watcher.join();
        }
        lock(&WATCHED).retain(|s| !core::ptr::eq(&**s, self));
        lock(&self.queue).clear();
        if self.context.is_lost() {
            let _ = self.context.stream_synchronize(self.handle); // it may be that something runs after all
        }
        if self.owned {
            let _ = self.context.stream_destroy(self.handle);
        }
    }
}
