//! The device memory behind chunks comes and goes here. Who finds a device full looks for chunks that can leave it, one after the
//! other, while others do the same: whether any memory there has come or gone meanwhile is known by [`Moment`].
//! Holders of the chunk's lock, signals blocked, never the signal handler.

use super::outward::room;
use crate::addr::{ByteRange, CHUNK, DeviceAddr};
use crate::chunk::Guard;
use crate::device::{Devices, MAX_DEVICES};
use crate::error::Result;
use crate::stats::STATS;
use crate::sys::futex;
use crate::window;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// How often memory has come or gone on each device. What was tried in vain is not counted: two who both fail are no reason for
/// each other to try again.
static CHANGES: [AtomicU32; MAX_DEVICES] = [const { AtomicU32::new(0) }; MAX_DEVICES];
/// How many chunks' memory is coming or going: it is in use, though no chunk may have it.
static MOVING: [AtomicU32; MAX_DEVICES] = [const { AtomicU32::new(0) }; MAX_DEVICES];

/// Some memory of a device is coming or going, until this is dropped.
pub(crate) struct Transit(usize);

impl Transit {
    /// From here on.
    pub(crate) fn begin(device: usize) -> Transit {
        MOVING[device].fetch_add(1, SeqCst);
        Transit(device)
    }

    /// It has come, or gone.
    pub(crate) fn is_done(&self) {
        CHANGES[self.0].fetch_add(1, SeqCst);
    }
}

impl Drop for Transit {
    fn drop(&mut self) {
        MOVING[self.0].fetch_sub(1, SeqCst);
        futex::wake(&MOVING[self.0], i32::MAX);
    }
}

/// Where the chunk is on `device`, with memory behind it. `around` is the block or adopted range.
pub(super) fn commit(g: &Guard, devices: &Devices, device: usize, around: ByteRange) -> Result<DeviceAddr> {
    let copy = &g.chunk.copies[device];
    let base = copy.base.load(Relaxed);
    if base != 0 {
        return Ok(DeviceAddr(base));
    }
    let (before, after) = room(g.at, around);
    let transit = Transit::begin(device);
    let at = window::device_addr(devices, device, g.at, around)?; // there are devices on which that is the memory
    devices.at(device).commit(at, before, after)?;
    STATS.device_bytes.add(CHUNK as u64);
    copy.base.store(at.0, Release);
    transit.is_done();
    Ok(at)
}

/// Gives the chunk's memory on `device` back. Nothing there is valid or in use.
pub(super) fn decommit(g: &Guard, devices: &Devices, device: usize) {
    let copy = &g.chunk.copies[device];
    if copy.base.load(Relaxed) == 0 {
        return;
    }
    let transit = Transit::begin(device);
    let base = copy.base.swap(0, Release); // who sees it sees that it is on its way
    devices.at(device).decommit(DeviceAddr(base));
    STATS.device_bytes.sub(CHUNK as u64);
    transit.is_done();
}

/// What memory there was on a device: taken before something is tried there that needs some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u32);

impl Moment {
    /// Now.
    pub(crate) fn now(device: usize) -> Moment {
        Moment(CHANGES[device].load(SeqCst))
    }

    /// Whether memory of `device` has come or gone since then.
    pub(crate) fn has_passed(self, device: usize) -> bool {
        CHANGES[device].load(SeqCst) != self.0
    }

    /// The same. Waits for what is about to come or go; no chunk is locked.
    pub(crate) fn is_over(self, device: usize) -> bool {
        /// Who comes next may be what is slept for: then its predecessor is seen after that.
        const NAP_NS: u64 = 1_000_000;
        loop {
            // In this order: what is seen to move no more has been counted.
            let moving = MOVING[device].load(SeqCst);
            if self.has_passed(device) {
                return true;
            }
            if moving == 0 {
                return false;
            }
            futex::wait(&MOVING[device], moving, Some(NAP_NS));
        }
    }
}
