//! Where the bytes of device memory are: host memory at an address that no program is told.

use crate::device::{Charge, Device};
use crate::{Error, Result, os, settings};

/// From this size on the host's memory comes in huge pages: 512 faults fewer for each.
const HUGE: usize = 2 << 20;

/// What memory is full of when it is new: a driver promises no zeros.
const NEW: u8 = 0xdb;

/// Some memory of one device, not zero at first.
pub struct Backing {
    base: *mut u8,
    len: usize,
    charge: Charge,
}

// SAFETY: the memory belongs to no thread; what programs do with it at the same time is theirs, as on a device.
unsafe impl Send for Backing {}
// SAFETY: as above; it is only touched through raw pointers.
unsafe impl Sync for Backing {}

impl Backing {
    /// Takes `len` bytes of the device's memory.
    pub fn new(device: &'static Device, len: usize) -> Result<Backing> {
        let charge = device.charge(len as u64)?;
        let base = os::map(0, len, true).ok_or(Error::OUT_OF_MEMORY)?;
        if len >= HUGE {
            // SAFETY: the mapping is ours.
            unsafe { os::huge_pages(base, len) };
        }
        if settings::get().fill {
            // SAFETY: the mapping is ours, writable and of that length.
            unsafe { base.write_bytes(NEW, len) };
        }
        Ok(Backing { base, len, charge })
    }

    /// Its first byte.
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes, which never is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whose memory it is.
    pub fn device(&self) -> &'static Device {
        self.charge.device()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // SAFETY: our mapping, and the last who could use it is gone.
        unsafe { os::unmap(self.base, self.len) };
    }
}
