//! An event: the point of a stream at which it was recorded last. Whoever waits takes the point as it is then.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use crate::device::Device;
use crate::lock::held;
use crate::stream::{Body, Point, Stream};
use crate::{Error, Result};

/// One event.
pub struct Event {
    /// On whose streams it can be recorded.
    pub device: &'static Device,
    timing: bool,
    last: Mutex<Option<Record>>,
}

#[derive(Clone)]
struct Record {
    point: Point,
    /// Nanoseconds since the first event, when it is reached.
    time: Arc<AtomicU64>,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Event {
    /// An event that was not recorded yet.
    pub fn new(device: &'static Device, timing: bool) -> Event {
        LazyLock::force(&START);
        Event { device, timing, last: Mutex::new(None) }
    }

    /// Records it at the end of the stream; `first` runs there before it, for an injected loss.
    pub fn record(&self, stream: &Arc<Stream>, first: Option<Body>) -> Result {
        if stream.device.number != self.device.number {
            return Err(Error::INVALID_HANDLE);
        }
        let time = Arc::new(AtomicU64::new(0));
        let at = time.clone();
        let body: Body = Box::new(move || {
            first.map_or(Ok(()), |first| first())?;
            at.store(START.elapsed().as_nanos() as u64, Relaxed);
            Ok(())
        });
        let point = stream.submit(None, body)?;
        *held(&self.last) = Some(Record { point, time });
        Ok(())
    }

    /// The point it stands for now; none if it was never recorded.
    pub fn point(&self) -> Option<Point> {
        held(&self.last).as_ref().map(|record| record.point.clone())
    }

    /// Whether it is reached, or NOT_READY.
    pub fn query(&self) -> Result {
        match self.point() {
            Some(point) if !point.reached() => Err(Error::NOT_READY),
            _ => Ok(()),
        }
    }

    /// Milliseconds from `start` to this one.
    pub fn elapsed(&self, start: &Event) -> Result<f32> {
        let both = [start, self].map(|event| held(&event.last).clone().filter(|_| event.timing));
        let [Some(from), Some(to)] = both else { return Err(Error::INVALID_HANDLE) };
        if !from.point.reached() || !to.point.reached() {
            return Err(Error::NOT_READY);
        }
        let [from, to] = [from, to].map(|record| record.time.load(Relaxed));
        Ok((to as f64 - from as f64) as f32 * 1e-6)
    }
}
