//! Copies between host pages and device memory, through pinned staging: the driver takes a host address over which
//! device addresses are laid for device memory, and copies pageable memory slowly. A lane is a small ring of pinned
//! slots with a stream of its own; each copying thread takes one, and moves bytes in one slot while the device reads or
//! writes the others. API context, the service threads and the crew; never the signal handler.

use super::context::Context;
use super::table::Handle;
use crate::addr::{DeviceAddr, HostAddr, PAGE};
use crate::device::Run;
use crate::error::Result;
use crate::log::log;
use crate::sys::map::{self, Prot};
use crate::transfer::transfer;
use core::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard};

/// Bytes of a slot. Large enough that a copy's fixed cost does not show (about 5 us of 12 at 40 GB/s), small enough that
/// the slots of a lane stay in the cache between the CPU's copy and the device's.
const SLOT: usize = 512 << 10;
/// Slots of a lane: one that the CPU copies, one that the device does, one between.
const SLOTS: usize = 3;
/// The most lanes of a device: threads that copy at the same time.
const LANES: usize = 16;
/// The most pieces of host memory that one slot holds.
const PIECES: usize = 64;

/// A piece of a slot on its way home.
#[derive(Clone, Copy)]
struct Piece {
    host: *mut u8,
    at: usize,
    len: usize,
}

struct Lane {
    stream: Handle,
    buffer: *mut u8,
    pinned: bool,
    events: [Handle; SLOTS],
    /// Something may have been queued since the lane was taken.
    queued: Cell<bool>,
}

// SAFETY: a lane is used by the thread that has taken it.
unsafe impl Send for Lane {}

struct Lanes {
    free: Vec<Lane>,
    made: usize,
}

/// The lanes of a device.
pub(super) struct Staging {
    context: &'static Context,
    lanes: Mutex<Lanes>,
    given_back: Condvar,
}

impl Staging {
    /// No lane yet: they are made when they are needed.
    pub(super) fn new(context: &'static Context) -> Staging {
        // With room for all: a fork in a signal handler may be the first to give lanes back.
        let lanes = Lanes { free: Vec::with_capacity(LANES), made: 0 };
        Staging { context, lanes: Mutex::new(lanes), given_back: Condvar::new() }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A lane of this caller's own; where there is no memory for another, one that is given back.
    fn take(&self) -> Result<Lane> {
        let mut lanes = self.lanes();
        let mut most = LANES;
        loop {
            if let Some(lane) = lanes.free.pop() {
                return Ok(lane);
            }
            if lanes.made < most {
                lanes.made += 1;
                drop(lanes);
                let e = match Lane::new(self.context) {
                    Ok(lane) => return Ok(lane),
                    Err(e) => e,
                };
                lanes = self.lanes();
                lanes.made -= 1;
                if lanes.made == 0 {
                    self.given_back.notify_all(); // who waits for this one makes its own, or fails as well
                    return Err(e);
                }
                most = 1;
                continue;
            }
            lanes = self.given_back.wait(lanes).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Runs `work` with a lane. All that it queued is done when this returns, whatever came of it: a copy that was still
    /// under way could overwrite what a later one brings.
    fn with_lane(&self, work: impl FnOnce(&Lane, &Context) -> Result<()>) -> Result<()> {
        let lane = self.take()?;
        lane.queued.set(false);
        let done = work(&lane, self.context);
        let idle = if lane.queued.get() {
            self.context.patiently(|c| c.stream_synchronize(lane.stream))
        } else {
            Ok(())
        };
        if let Err(e) = idle {
            self.context.lose(e);
        }
        self.lanes().free.push(lane);
        self.given_back.notify_one();
        done.and(idle)
    }

    /// Copies runs of host pages to the device; done on return.
    pub(super) fn copy_in(&self, runs: &mut dyn Iterator<Item = Run>) -> Result<()> {
        self.with_lane(|lane, context| {
            let (mut slot, mut filled, mut turns) = (0, 0, 0);
            for run in runs {
                let mut done = 0;
                while done < run.len {
                    if filled == SLOT {
                        context.event_record(lane.events[slot], lane.stream)?;
                        (slot, filled, turns) = ((slot + 1) % SLOTS, 0, turns + 1);
                        if turns >= SLOTS {
                            context.event_synchronize(lane.events[slot])?; // the device has read it
                        }
                    }
                    let len = (run.len - done).min(SLOT - filled);
                    let from = run.host.add(done).ptr().cast_const();
                    lane.queued.set(true);
                    // SAFETY: readable host pages that nobody writes; a slot that the device does not read now, which
                    // keeps its bytes until it has; committed device memory.
                    unsafe {
                        let staged = lane.slot(slot).add(filled);
                        core::ptr::copy_nonoverlapping(from, staged, len);
                        context.copy_in(run.device.add(done), staged, len, lane.stream)?;
                    }
                    filled += len;
                    done += len;
                }
            }
            Ok(())
        })
    }

    /// Copies runs of device memory to host memory that only the caller sees; done on return.
    pub(super) fn copy_out(&self, runs: &mut dyn Iterator<Item = Run>) -> Result<()> {
        self.with_lane(|lane, context| {
            let none = Piece { host: core::ptr::null_mut(), at: 0, len: 0 };
            let mut pieces = [[none; PIECES]; SLOTS];
            let mut counts = [0; SLOTS];
            let mut rest: Option<Run> = None;
            let (mut slot, mut ended) = (0, false);
            // Fills each slot in turn with as much as is left, and empties it when its turn comes again.
            while !ended || counts.iter().any(|n| *n > 0) {
                if counts[slot] > 0 {
                    context.event_synchronize(lane.events[slot])?;
                    for piece in &pieces[slot][..counts[slot]] {
                        // SAFETY: the device has written the slot; the host memory is the caller's alone.
                        unsafe { transfer(piece.host, lane.slot(slot).add(piece.at), piece.len) };
                    }
                    counts[slot] = 0;
                }
                let mut filled = 0;
                while filled < SLOT && counts[slot] < PIECES {
                    let Some(run) = rest.take().or_else(|| runs.next()) else {
                        ended = true;
                        break;
                    };
                    let len = run.len.min(SLOT - filled);
                    lane.queued.set(true);
                    // SAFETY: a slot that nobody uses now, and committed device memory.
                    unsafe {
                        context.copy_out(lane.slot(slot).add(filled), run.device, len, lane.stream)?;
                    }
                    pieces[slot][counts[slot]] = Piece { host: run.host.ptr(), at: filled, len };
                    counts[slot] += 1;
                    filled += len;
                    if len < run.len {
                        rest = Some(Run {
                            device: run.device.add(len),
                            host: run.host.add(len),
                            len: run.len - len,
                        });
                    }
                }
                if counts[slot] > 0 {
                    context.event_record(lane.events[slot], lane.stream)?;
                }
                slot = (slot + 1) % SLOTS;
            }
            Ok(())
        })
    }

    /// Copies from a device of the same driver; done on return.
    pub(super) fn copy_peer(
        &self,
        to: DeviceAddr,
        source: &Context,
        from: DeviceAddr,
        len: usize,
    ) -> Result<()> {
        self.with_lane(|lane, context| {
            lane.queued.set(true);
            context.copy_peer(to, source, from, len, lane.stream)
        })
    }

    /// Clears device memory; done on return.
    pub(super) fn clear(&self, parts: &mut dyn Iterator<Item = (DeviceAddr, usize)>) -> Result<()> {
        self.with_lane(|lane, context| {
            for (at, len) in parts {
                lane.queued.set(true);
                context.clear(at, len, lane.stream)?;
            }
            Ok(())
        })
    }

    /// Gives all lanes back; nobody copies any more.
    pub(super) fn close(&self) {
        let mut lanes = self.lanes();
        for lane in core::mem::take(&mut lanes.free) {
            lane.end(self.context);
        }
        lanes.made = 0;
    }
}

impl Lane {
    fn new(context: &'static Context) -> Result<Lane> {
        let (buffer, pinned) = match context.host_alloc(SLOT * SLOTS) {
            Ok(buffer) => (buffer, true),
            Err(e) => {
                log!(Warn, "staging memory is not pinned, copies will be slow: {e}");
                // Not from the allocator, which may be ours: a chunk is locked.
                (map::map(SLOT * SLOTS, PAGE, Prot::ReadWrite, "staging memory")?.ptr(), false)
            }
        };
        let mut lane = Lane {
            stream: core::ptr::null_mut(),
            buffer,
            pinned,
            events: [core::ptr::null_mut(); SLOTS],
            queued: Cell::new(false),
        };
        let made = (|| {
            lane.stream = context.stream_create()?;
            for event in &mut lane.events {
                *event = context.event_create()?;
            }
            Ok(())
        })();
        if let Err(e) = made {
            lane.end(context);
            return Err(e);
        }
        Ok(lane)
    }

    /// # Safety
    /// `slot` is below [`SLOTS`].
    unsafe fn slot(&self, slot: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.buffer.add(slot * SLOT) }
    }

    fn end(self, context: &Context) {
        for event in self.events.into_iter().filter(|e| !e.is_null()) {
            let _ = context.event_destroy(event);
        }
        if !self.stream.is_null() {
            let _ = context.stream_destroy(self.stream);
        }
        if self.pinned {
            let _ = context.host_free(self.buffer);
        } else {
            map::unmap(HostAddr::from(self.buffer.cast_const()), SLOT * SLOTS);
        }
    }
}
