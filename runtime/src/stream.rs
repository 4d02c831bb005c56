//! Streams and their timelines (`timeline`). A stream's slot is never freed, only reused, so that the fault path can wait on a
//! timeline without holding anything. API calls create and destroy; the signal handler only calls `Timeline::wait`.

use crate::device::{Device, Devices, MAX_DEVICES, NativeStream};
use crate::error::{Error, Result};
use crate::sys::futex::Locked;
pub(crate) use crate::timeline::Timeline;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// A stream of a device; 0 is the device's default stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The device's default stream.
    pub const DEFAULT: StreamId = StreamId(0);
}

/// `CU_STREAM_PER_THREAD`, `hipStreamPerThread`: the drivers' handle of the calling thread's own stream.
pub(crate) const PER_THREAD: usize = 2;

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
    /// Held while a mark is made: they get to the stream in the order of their tickets.
    marks: Locked<()>,
    /// The last ticket that was taken, of a mark that is being made, too.
    last: AtomicU64,
    native: AtomicU64,
    device: AtomicU32,
    /// How many streams it has been, and in the lowest two bits what becomes of the last one.
    life: AtomicU64,
}

/// No stream's.
const FREE: u64 = 0;
/// Its thread is making it, or ending it.
const HIDDEN: u64 = 1;
/// A stream.
const READY: u64 = 2;
const STATE: u64 = 3;

const SLOTS: usize = 1024;
static STREAMS: [Slot; SLOTS] = [const {
    Slot {
        timeline: Timeline::new(),
        marks: Locked::new(()),
        last: AtomicU64::new(0),
        native: AtomicU64::new(0),
        device: AtomicU32::new(0),
        life: AtomicU64::new(4 | FREE),
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
        if slot.life.load(Acquire) != life_of(id) {
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
        let claim = |slot: &Slot| {
            let life = slot.life.load(Relaxed);
            (life & STATE == FREE && slot.change(life, life | HIDDEN)).then_some(life)
        };
        let (number, free) = (MAX_DEVICES..SLOTS)
            .find_map(|n| claim(&STREAMS[n]).map(|free| (n, free)))
            .ok_or(Error::Unsupported { what: "stream", why: "there are 1,016 streams already" })?;
        let slot = &STREAMS[number];
        let native = make().inspect_err(|_| slot.life.store(free, SeqCst))?;
        slot.native.store(native, Relaxed);
        slot.device.store(device as u32, Relaxed);
        slot.life.store(free | READY, SeqCst); // whoever finds it finds all of it
        Ok(StreamId((free >> 2) << 16 | number as u64))
    }

    /// The stream `id`, not the default one, for its end: nobody else finds it any more, until it [stays](Stream::stay).
    pub(crate) fn claim(id: StreamId) -> Result<Stream> {
        let stream = Stream::from_id(id)?;
        if !stream.slot.change(life_of(id), life_of(id) & !STATE | HIDDEN) {
            return Err(Error::BadHandle { arg: "stream", value: id.0 });
        }
        Ok(stream)
    }

    /// What was [claimed](Stream::claim) does not end.
    pub(crate) fn stay(self) {
        let life = self.slot.life.load(Relaxed);
        self.slot.life.store(life & !STATE | READY, SeqCst);
    }

    /// Ends what was [claimed](Stream::claim); all its work is done.
    pub(crate) fn destroy(self, devices: &Devices) {
        devices.at(self.device).stream_destroy(self.native());
        let life = self.slot.life.load(Relaxed);
        self.slot.life.store(((life >> 2) + 1) << 2 | FREE, SeqCst);
    }

    /// The backend's handle.
    pub(crate) fn native(self) -> NativeStream {
        self.slot.native.load(Relaxed)
    }

    /// Queues a mark behind all that was queued and returns its ticket.
    pub(crate) fn mark(self, device: &dyn Device) -> Result<u64> {
        let _alone = self.slot.marks.lock();
        // One that is never reached for itself, because its mark could not be made, is reached with the next.
        let ticket = self.take_ticket();
        let mut tries = 0;
        loop {
            match device.signal(self.native(), &self.slot.timeline, ticket) {
                Ok(()) => break,
                Err(e) if tries == 2 => return Err(e),
                Err(_) => tries += 1, // losing a mark would leave pages in use for ever: worth another try
            }
        }
        Ok(ticket)
    }

    /// A mark's. One that is made before another ticket is taken comes before all that is queued after that.
    pub(crate) fn take_ticket(self) -> u64 {
        self.slot.last.fetch_add(1, SeqCst) + 1
    }

    /// The last ticket of any mark so far: what is queued from here on is behind it, or behind none of those before.
    pub(crate) fn last_ticket(self) -> u64 {
        self.slot.last.load(SeqCst)
    }
}

impl Slot {
    fn change(&self, from: u64, to: u64) -> bool {
        self.life.compare_exchange(from, to, SeqCst, Relaxed).is_ok()
    }
}

/// What the slot of the stream `id` has.
fn life_of(id: StreamId) -> u64 {
    (id.0 >> 16) << 2 | READY
}

/// All streams that are in use on one of `count` devices, default ones included.
pub(crate) fn all(count: usize) -> impl Iterator<Item = Stream> {
    let is_there = move |n: usize, s: &Slot| n < count || s.life.load(Acquire) & STATE == READY;
    STREAMS.iter().enumerate().filter(move |(n, s)| is_there(*n, s)).map(|(n, slot)| {
        let device = if n < MAX_DEVICES { n } else { slot.device.load(Relaxed) as usize };
        Stream { slot, number: n as u16, device }
    })
}

/// The id of a stream that is live in slot `number`.
pub(crate) fn id_of(stream: Stream) -> StreamId {
    if (stream.number as usize) < MAX_DEVICES {
        return StreamId::DEFAULT;
    }
    StreamId((stream.slot.life.load(Relaxed) >> 2) << 16 | u64::from(stream.number))
}
