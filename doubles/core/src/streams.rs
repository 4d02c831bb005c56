//! What programs do with streams and events, by handle. Shared by the front-ends; each function is one driver call,
//! which holds the driver's lock except where it waits.

use std::sync::Arc;

use crate::call::{self, Frame};
use crate::device::Device;
use crate::event::Event;
use crate::handles::Handles;
use crate::stream::{Point, Stream};
use crate::{Error, Result};

static STREAMS: Handles<Stream> = Handles::new();
static EVENTS: Handles<Event> = Handles::new();
/// What was captured: how many nodes each graph has.
static GRAPHS: Handles<u64> = Handles::new();

/// Not ordered against the default stream.
const NON_BLOCKING: u32 = 1;
/// Flags of events: blocking wait, no timing, between processes.
const DISABLE_TIMING: u32 = 2;
const EVENT_FLAGS: u32 = 7;
/// Handles that drivers give a meaning: the default stream, under two names, and the thread's own.
const LEGACY: [u64; 2] = [0, 1];
const PER_THREAD: u64 = 2;

/// The stream of a handle.
pub fn stream(frame: &Frame, handle: u64) -> Result<Arc<Stream>> {
    match handle {
        h if LEGACY.contains(&h) => frame.device()?.legacy(),
        PER_THREAD => frame.device()?.per_thread(),
        h => STREAMS.get(h),
    }
}

/// Makes a stream.
pub fn create(frame: &Frame, flags: u32) -> Result<u64> {
    if flags & !NON_BLOCKING != 0 {
        return Err(Error::INVALID_VALUE);
    }
    Ok(STREAMS.add(Stream::create(frame.device()?, flags & NON_BLOCKING == 0)?))
}

/// Ends a stream; what is in it is done all the same.
pub fn destroy(handle: u64) -> Result {
    STREAMS.get(handle)?.device.check()?;
    STREAMS.remove(handle)?.close();
    Ok(())
}

/// Waits for a stream.
pub fn synchronize(frame: &Frame, handle: u64) -> Result {
    let stream = stream(frame, handle)?;
    stream.device.check()?;
    if stream.is_capturing() {
        return Err(Error::STREAM_CAPTURE_UNSUPPORTED);
    }
    frame.unlock();
    if handle == LEGACY[0] || handle == LEGACY[1] {
        // What a job in it would wait for.
        stream.device.pending_blocking().iter().for_each(Point::wait);
    }
    stream.pending().iter().for_each(Point::wait);
    stream.device.check()
}

/// Whether a stream is done, or NOT_READY.
pub fn query(frame: &Frame, handle: u64) -> Result {
    let stream = stream(frame, handle)?;
    stream.device.check()?;
    if stream.pending().is_some() { Err(Error::NOT_READY) } else { Ok(()) }
}

/// Lets a stream wait for an event as it is now.
pub fn wait(frame: &Frame, handle: u64, event: u64, flags: u32) -> Result {
    if flags > 1 {
        return Err(Error::INVALID_VALUE);
    }
    let (stream, event) = (stream(frame, handle)?, EVENTS.get(event)?);
    event.device.check()?;
    stream.device.check()?;
    match event.point() {
        Some(point) => frame.submit(&stream, Some(point), Box::new(|| Ok(()))).map(drop),
        None => Ok(()),
    }
}

/// What is put into a stream goes into a graph from now on.
pub fn begin_capture(frame: &Frame, handle: u64, mode: i32) -> Result {
    if !(0..=2).contains(&mode) {
        return Err(Error::INVALID_VALUE);
    }
    let stream = stream(frame, handle)?;
    stream.device.check()?;
    stream.begin_capture()
}

/// The graph of what was put into a stream since then.
pub fn end_capture(frame: &Frame, handle: u64) -> Result<u64> {
    Ok(GRAPHS.add(Arc::new(stream(frame, handle)?.end_capture()?)))
}

/// Whether a stream is captured.
pub fn is_capturing(frame: &Frame, handle: u64) -> Result<bool> {
    Ok(stream(frame, handle)?.is_capturing())
}

/// How many nodes a graph has.
pub fn graph_nodes(graph: u64) -> Result<u64> {
    GRAPHS.get(graph).map(|nodes| *nodes)
}

/// Ends a graph.
pub fn graph_destroy(graph: u64) -> Result {
    GRAPHS.remove(graph).map(drop)
}

/// Puts a host function into a stream.
pub fn host_function(frame: &Frame, handle: u64, function: impl FnOnce() + Send + 'static) -> Result {
    let stream = stream(frame, handle)?;
    let body = move || {
        call::call_back(function);
        Ok(())
    };
    frame.submit(&stream, None, Box::new(body)).map(drop)
}

/// Waits for all of the current device.
pub fn synchronize_all(frame: &Frame) -> Result {
    let device = frame.device()?;
    frame.unlock();
    device.wait();
    device.check()
}

/// Makes an event.
pub fn event_create(frame: &Frame, flags: u32) -> Result<u64> {
    if flags & !EVENT_FLAGS != 0 {
        return Err(Error::INVALID_VALUE);
    }
    Ok(EVENTS.add(Arc::new(Event::new(frame.device()?, flags & DISABLE_TIMING == 0))))
}

/// Ends an event; who waits for it already does so.
pub fn event_destroy(event: u64) -> Result {
    EVENTS.get(event)?.device.check()?;
    EVENTS.remove(event).map(drop)
}

/// Records an event in a stream of its device.
pub fn event_record(frame: &Frame, event: u64, handle: u64) -> Result {
    let (event, stream) = (EVENTS.get(event)?, stream(frame, handle)?);
    stream.device.check()?;
    if stream.is_capturing() {
        return Ok(()); // it orders nodes, and is none
    }
    event.record(&stream, frame.loss(stream.device))
}

/// Whether an event is reached, or NOT_READY.
pub fn event_query(event: u64) -> Result {
    let event = EVENTS.get(event)?;
    event.device.check()?;
    event.query()
}

/// Waits for an event.
pub fn event_synchronize(frame: &Frame, event: u64) -> Result {
    let event = EVENTS.get(event)?;
    event.device.check()?;
    frame.unlock();
    event.point().iter().for_each(Point::wait);
    event.device.check()
}

/// Milliseconds between two events.
pub fn elapsed(from: u64, to: u64) -> Result<f32> {
    let (from, to) = (EVENTS.get(from)?, EVENTS.get(to)?);
    to.device.check()?;
    to.elapsed(&from)
}

/// The last context of a device is gone, and its streams and events with it.
pub(crate) fn forget(device: &Device) {
    STREAMS.remove_all(|stream| stream.device.number == device.number);
    EVENTS.remove_all(|event| event.device.number == device.number);
}
