//! The devices: memory accounting, health, streams in their order, copy engines. Each exists for the whole process.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lock::held;
use crate::stream::{Point, Stream};
use crate::{Error, Result, settings};

/// The most devices there can be.
pub const MOST: usize = 16;

/// Which way a copy goes: each way has an engine of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the host.
    In,
    /// To the host.
    Out,
    /// On the device, or between two.
    Within,
}

/// One device.
pub struct Device {
    /// Its number.
    pub number: usize,
    used: AtomicU64,
    /// 0, or the error that every call answers.
    sticky: AtomicI32,
    /// Sick for good: not cured by a new context.
    lost: AtomicBool,
    health: Mutex<()>,
    sick: Condvar,
    pub(crate) order: Mutex<Order>,
    engines: [Mutex<Instant>; 3],
    /// Devices of which this one reaches the allocations in kernels.
    peers: AtomicU32,
}

/// Streams with work or a handle. Work is put into a stream while this is locked, so that "everything before" has a meaning.
#[derive(Default)]
pub(crate) struct Order {
    pub(crate) streams: Vec<Arc<Stream>>,
    pub(crate) legacy: Option<Arc<Stream>>,
    pub(crate) per_thread: Option<Arc<Stream>>,
}

/// All devices.
pub fn all() -> &'static [Device] {
    static ALL: LazyLock<Vec<Device>> = LazyLock::new(|| {
        let one = |number| Device {
            number,
            used: AtomicU64::new(0),
            sticky: AtomicI32::new(0),
            lost: AtomicBool::new(false),
            health: Mutex::new(()),
            sick: Condvar::new(),
            order: Mutex::new(Order::default()),
            engines: [const { Way::In }; 3].map(|_| Mutex::new(Instant::now())),
            peers: AtomicU32::new(0),
        };
        (0..settings::get().devices).map(one).collect()
    });
    &ALL
}

/// The device of that number.
pub fn get(number: i32) -> Result<&'static Device> {
    usize::try_from(number).ok().and_then(|n| all().get(n)).ok_or(Error::INVALID_DEVICE)
}

impl Device {
    /// Bytes of memory there are.
    pub fn total(&self) -> u64 {
        settings::get().memory
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(SeqCst)
    }

    /// Bytes to be had.
    pub fn free(&self) -> u64 {
        self.total().saturating_sub(self.used())
    }

    /// Takes bytes, if there are so many.
    pub fn charge(&'static self, bytes: u64) -> Result<Charge> {
        let take = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.total());
        self.used.fetch_update(SeqCst, SeqCst, take).map_err(|_| Error::OUT_OF_MEMORY)?;
        Ok(Charge { device: self, bytes })
    }

    /// Takes bytes though there may not be so many: managed memory goes beyond the device's.
    pub fn charge_softly(&'static self, bytes: u64) -> Charge {
        self.used.fetch_add(bytes, SeqCst);
        Charge { device: self, bytes }
    }

    /// The error that every call has to answer.
    pub fn check(&self) -> Result {
        match self.sticky.load(SeqCst) {
            0 => Ok(()),
            code => Err(Error(code)),
        }
    }

    /// A kernel or copy went wrong: from now on every call answers this. The first error stays.
    pub fn poison(&self, error: Error) {
        let _ = self.sticky.compare_exchange(0, error.0, SeqCst, SeqCst);
        let _health = held(&self.health);
        self.sick.notify_all();
    }

    /// The device falls off the bus.
    pub fn lose(&self) {
        self.lost.store(true, SeqCst);
        self.poison(Error::LAUNCH_FAILED);
    }

    /// A test is done with the device's loss.
    pub fn revive(&self) {
        self.lost.store(false, SeqCst);
        self.sticky.store(0, SeqCst);
    }

    /// Takes time, less when the device gets sick meanwhile.
    pub fn pause(&self, until: Instant) {
        let mut health = held(&self.health);
        while self.check().is_ok() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            health = self.sick.wait_timeout(health, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Does a copy in the time that it takes: the engine's bandwidth and the latency of the settings.
    pub fn transfer(&self, way: Way, bytes: u64, copy: impl FnOnce() -> Result) -> Result {
        let settings = settings::get();
        let start = Instant::now();
        let mut end = start;
        if settings.bandwidth != 0 {
            let takes = Duration::from_secs_f64(bytes as f64 / settings.bandwidth as f64);
            let mut free_at = held(&self.engines[way as usize]);
            *free_at = (*free_at).max(start) + takes;
            end = *free_at;
        }
        copy()?;
        if end != start || !settings.latency.is_zero() {
            self.pause(end + settings.latency);
        }
        Ok(())
    }

    /// Whether kernels here reach allocations of the device `other`.
    pub fn reaches(&self, other: usize) -> bool {
        other == self.number || self.peers.load(SeqCst) & 1 << other != 0
    }

    /// Lets kernels here reach allocations of `other`, or not. False: it was so already.
    pub fn reach(&self, other: usize, on: bool) -> bool {
        let bit = 1 << other;
        let old = if on { self.peers.fetch_or(bit, SeqCst) } else { self.peers.fetch_and(!bit, SeqCst) };
        (old & bit != 0) != on
    }

    /// The default stream: ordered against all that were not made non-blocking.
    pub fn legacy(&'static self) -> Result<Arc<Stream>> {
        self.lazily(|order| &mut order.legacy, true)
    }

    /// The stream for threads that want a default of their own. One for all of them, which orders more than it must.
    pub fn per_thread(&'static self) -> Result<Arc<Stream>> {
        self.lazily(|order| &mut order.per_thread, false)
    }

    fn lazily(
        &'static self,
        place: impl Fn(&mut Order) -> &mut Option<Arc<Stream>>,
        legacy: bool,
    ) -> Result<Arc<Stream>> {
        let mut order = held(&self.order);
        if let Some(stream) = place(&mut order) {
            return Ok(stream.clone());
        }
        let stream = Stream::start(self, true, legacy)?;
        if !legacy {
            order.streams.push(stream.clone());
        }
        *place(&mut order) = Some(stream.clone());
        Ok(stream)
    }

    /// What is yet to be done.
    pub fn pending(&self) -> Vec<Point> {
        let order = held(&self.order);
        order.streams.iter().chain(&order.legacy).filter_map(Stream::pending).collect()
    }

    /// What the default stream has to wait for.
    pub fn pending_blocking(&self) -> Vec<Point> {
        let order = held(&self.order);
        order.streams.iter().filter(|stream| stream.is_blocking()).filter_map(Stream::pending).collect()
    }

    /// Waits until all work so far is done; the caller does not hold the driver's lock.
    pub fn wait(&self) {
        self.pending().iter().for_each(Point::wait);
    }

    /// The last context goes: no streams any more, and a new one starts healthy.
    pub fn reset(&self) {
        let order = std::mem::take(&mut *held(&self.order));
        order.streams.iter().chain(&order.legacy).for_each(|stream| stream.close());
        if !self.lost.load(SeqCst) {
            self.sticky.store(0, SeqCst);
        }
        self.peers.store(0, SeqCst);
    }
}

/// Bytes of a device in use, until dropped.
pub struct Charge {
    device: &'static Device,
    bytes: u64,
}

impl Charge {
    /// Whose.
    pub fn device(&self) -> &'static Device {
        self.device
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.device.used.fetch_sub(self.bytes, SeqCst);
    }
}
