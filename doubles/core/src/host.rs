//! Host memory that devices know: pinned allocations, registered memory of the program, managed memory.

use crate::device::{Charge, Device};
use crate::os;

/// How a device came to know it.
pub enum Kind {
    /// Allocated by the driver.
    Pinned,
    /// The program's own, registered.
    Registered,
    /// Managed: the driver's too, and counts as memory of a device.
    Managed(Charge),
}

/// One block of it.
pub struct Block {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// How it came to be.
    pub kind: Kind,
    /// The device current at that time.
    pub device: &'static Device,
}

impl Block {
    /// Whether the program may protect or unmap it, so that it can't be touched as it is.
    pub fn foreign(&self) -> bool {
        matches!(self.kind, Kind::Registered)
    }

    /// Whether all of a range lies in it.
    pub fn holds(&self, at: u64, len: u64) -> bool {
        at >= self.start && at - self.start <= self.len && len <= self.len - (at - self.start)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !self.foreign() {
            // SAFETY: a mapping made for this block; no handle and no job has it any more.
            unsafe { os::unmap(self.start as *mut u8, self.len as usize) };
        }
    }
}
