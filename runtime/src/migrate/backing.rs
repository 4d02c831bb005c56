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
struct Moving(usize);

impl Moving {
    fn begin(device: usize) -> Moving {
        MOVING[device].fetch_add(1, SeqCst);
        Moving(device)
    }

    fn is_done(&self) {
        CHANGES[self.0].fetch_add(1, SeqCst);
    }
}

impl Drop for Moving {
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
    let at = window::device_addr(devices, device, g.at, around)?;
    let (before, after) = room(g.at, around);
    let moving = Moving::begin(device);
    devices.at(device).commit(at, before, after)?;
    STATS.device_bytes.add(CHUNK as u64);
    copy.base.store(at.0, Relaxed);
    moving.is_done();
    Ok(at)
}

/// Gives the chunk's memory on `device` back. Nothing there is valid or in use.
pub(super) fn decommit(g: &Guard, devices: &Devices, device: usize) {
    let copy = &g.chunk.copies[device];
    if copy.base.load(Relaxed) == 0 {
        return;
    }
    let moving = Moving::begin(device);
    let base = copy.base.swap(0, Relaxed);
    devices.at(device).decommit(DeviceAddr(base));
    STATS.device_bytes.sub(CHUNK as u64);
    moving.is_done();
}

/// What memory there was on a device: taken before something is tried there that needs some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u32);

impl Moment {
    /// Now.
    pub(crate) fn now(device: usize) -> Moment {
        Moment(CHANGES[device].load(SeqCst))
    }

    /// Whether memory of `device` has come or gone since then. Waits for what is about to; no chunk is locked.
    pub(crate) fn is_over(self, device: usize) -> bool {
        loop {
            // In this order: what is seen to move no more has been counted.
            let moving = MOVING[device].load(SeqCst);
            if CHANGES[device].load(SeqCst) != self.0 {
                return true;
            }
            if moving == 0 {
                return false;
            }
            futex::wait(&MOVING[device], moving, None);
        }
    }
}
