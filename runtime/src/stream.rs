//! Streams and their timelines (`timeline`). A stream's slot is never freed, only reused, so that the fault path can wait on a
//! timeline without holding anything. API calls create and destroy; the signal handler only calls `Timeline::wait`.

use crate::device::{Device, Devices, MAX_DEVICES, NativeStream};
use crate::error::{Error, Result};
use crate::sys::futex::Locked;
pub(crate) use crate::timeline::Timeline;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

/// A stream of a device; 0 is the device's default stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The device's default stream.
    pub const DEFAULT: StreamId = StreamId(0);
}

impl Timeline {
    /// Its stream's number. Signal-safe.
    pub(crate) fn number(&self) -> u16 {
        let first = core::ptr::from_ref(&STREAMS[0].timeline).addr();
        (core::ptr::from_ref(self).addr().wrapping_sub(first) / size_of::<Slot>()) as u16
    }
}

/// A stream's place in the process. Numbers `0..MAX_DEVICES` are the devices' default streams.
pub(crate) struct Slot {
    /// How far it has come.
    pub(crate) timeline: Timeline,
    submitted: Locked<u64>,
    native: AtomicU64,
    device: AtomicU32,
    generation: AtomicU32,
    live: AtomicBool,
}

const SLOTS: usize = 1024;
static STREAMS: [Slot; SLOTS] = [const {
    Slot {
        timeline: Timeline::new(),
        submitted: Locked::new(0),
        native: AtomicU64::new(0),
        device: AtomicU32::new(0),
        generation: AtomicU32::new(1),
        live: AtomicBool::new(false),
    }
}; SLOTS];

/// A valid stream of a known device.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    /// Its slot.
    pub(crate) slot: &'static Slot,
    /// Its slot's number.
    pub(crate) number: u16,
    /// Its device's number.
    pub(crate) device: usize,
}

impl Stream {
    /// The stream `id` of device `device`.
    pub(crate) fn find(devices: &Devices, device: usize, id: StreamId) -> Result<Stream> {
        if id == StreamId::DEFAULT {
            debug_assert!(device < devices.count() && device < MAX_DEVICES);
            return Ok(Stream { slot: &STREAMS[device], number: device as u16, device });
        }
        let stream = Stream::from_id(id)?;
        if stream.device != device {
            return Err(Error::InvalidArgument { arg: "stream", why: "it belongs to another device" });
        }
        Ok(stream)
    }

    /// The stream that `id`, not the default one, stands for.
    pub(crate) fn from_id(id: StreamId) -> Result<Stream> {
        let bad = Error::BadHandle { arg: "stream", value: id.0 };
        let number = (id.0 & 0xffff) as usize;
        let slot = STREAMS.get(number).filter(|_| number >= MAX_DEVICES).ok_or(bad)?;
        if !slot.live.load(Acquire) || u64::from(slot.generation.load(Acquire)) != id.0 >> 16 {
            return Err(bad);
        }
        Ok(Stream { slot, number: number as u16, device: slot.device.load(Relaxed) as usize })
    }

    /// Slot number `number`, which was a valid stream's. Signal-safe.
    pub(crate) fn slot(number: u16) -> &'static Slot {
        &STREAMS[number as usize]
    }

    /// Makes a new stream of device `device`.
    pub(crate) fn create(devices: &Devices, device: usize) -> Result<StreamId> {
        Stream::enter(device, || devices.at(device).stream_create())
    }

    /// Makes a number for a stream of the driver's own.
    ///
    /// # Safety
    /// `native` is a live stream of the device's driver and outlives the number.
    pub(crate) unsafe fn adopt(devices: &Devices, device: usize, native: *mut c_void) -> Result<StreamId> {
        // SAFETY: the caller's promise.
        Stream::enter(device, || unsafe { devices.at(device).stream_adopt(native) })
    }

    fn enter(device: usize, make: impl FnOnce() -> Result<NativeStream>) -> Result<StreamId> {
        let number = (MAX_DEVICES..SLOTS)
            .find(|&n| STREAMS[n].live.compare_exchange(false, true, SeqCst, Relaxed).is_ok())
            .ok_or(Error::Unsupported { what: "stream", why: "there are 1,016 streams already" })?;
        let slot = &STREAMS[number];
        let native = make().inspect_err(|_| slot.live.store(false, SeqCst))?;
        slot.native.store(native, Relaxed);
        slot.device.store(device as u32, Relaxed);
        Ok(StreamId(u64::from(slot.generation.load(Relaxed)) << 16 | number as u64))
    }

    /// Ends it; all its work is done.
    pub(crate) fn destroy(self, devices: &Devices) {
        devices.at(self.device).stream_destroy(self.native());
        self.slot.generation.fetch_add(1, SeqCst);
        self.slot.live.store(false, SeqCst);
    }

    /// The backend's handle.
    pub(crate) fn native(self) -> NativeStream {
        self.slot.native.load(Relaxed)
    }

    /// Queues a mark behind all that was queued and returns its ticket.
    pub(crate) fn mark(self, device: &dyn Device) -> Result<u64> {
        let mut submitted = self.slot.submitted.lock();
        let ticket = *submitted + 1;
        let mut tries = 0;
        loop {
            match device.signal(self.native(), &self.slot.timeline, ticket) {
                Ok(()) => break,
                Err(e) if tries == 2 => return Err(e),
                Err(_) => tries += 1, // losing a mark would leave pages in use for ever: worth another try
            }
        }
        *submitted = ticket;
        Ok(ticket)
    }
}

/// All streams that are in use on one of `count` devices, default ones included.
pub(crate) fn all(count: usize) -> impl Iterator<Item = Stream> {
    STREAMS.iter().enumerate().filter(move |(n, s)| *n < count || s.live.load(Acquire)).map(|(n, slot)| {
        let device = if n < MAX_DEVICES { n } else { slot.device.load(Relaxed) as usize };
        Stream { slot, number: n as u16, device }
    })
}

/// The id of a stream that is live in slot `number`.
pub(crate) fn id_of(stream: Stream) -> StreamId {
    if (stream.number as usize) < MAX_DEVICES {
        return StreamId::DEFAULT;
    }
    StreamId(u64::from(stream.slot.generation.load(Relaxed)) << 16 | u64::from(stream.number))
}
