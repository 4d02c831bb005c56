//! The driver's managed memory as ours, with `HMMRT_TAKE_MANAGED=1`; and what programs ask drivers of any pointer, where
//! it is a managed one: without a notion of it, a driver would take it for a reservation of its own. Any thread.

use super::launch::{block_of, note};
use super::{Driver, INVALID_VALUE, OUT_OF_MEMORY, Queue, code_of, is_managed, pointer, streams};
use crate::settings;
use hmmrt_core::{Advice, Error, StreamId, raw};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// The host as a location, in both drivers and here.
const HOST: i32 = -1;
/// No location.
const NOWHERE: i32 = -2;

/// What a program was told, or has said, of a block that it got as managed memory.
#[derive(Clone, Copy)]
pub struct Notes {
    /// Its length.
    pub len: usize,
    /// The device that was current.
    pub device: i32,
    /// It is mostly read.
    pub read_mostly: bool,
    /// Where it should be.
    pub preferred: i32,
    /// Where it was last sent.
    pub prefetched: i32,
    /// Devices that access it, a bit for each.
    pub accessed_by: u32,
}

/// Blocks that the driver's functions gave out, by their start.
static GIVEN: Mutex<BTreeMap<usize, Notes>> = Mutex::new(BTreeMap::new());

fn given() -> MutexGuard<'static, BTreeMap<usize, Notes>> {
    GIVEN.lock().unwrap_or_else(|e| e.into_inner())
}

/// A block in the place of the driver's managed memory. `None`: that is the driver's to answer.
///
/// # Safety
/// `out` is NULL or room for an address.
pub unsafe fn allocate(driver: &Driver, out: *mut usize, len: usize, flags: u32) -> Option<i32> {
    // Attached to all, or to the host; what is wrong the driver says.
    if !(settings::is_read() && settings::takes_managed())
        || out.is_null()
        || len == 0
        || !matches!(flags, 1 | 2)
    {
        return None;
    }
    let place = (driver.place)().ok()?;
    // With the devices open the block gets addresses that are the same on the first of them.
    if !driver.is_ready() {
        return None;
    }
    match raw::malloc(len) {
        Ok(at) => {
            let (read_mostly, accessed_by) = (false, 0);
            let (preferred, prefetched) = (NOWHERE, NOWHERE);
            let notes = Notes { len, device: place.device, read_mostly, preferred, prefetched, accessed_by };
            given().insert(at.expose_provenance(), notes);
            // SAFETY: the caller's promise.
            unsafe { *out = at.expose_provenance() };
            Some(0)
        }
        Err(_) => Some(OUT_OF_MEMORY),
    }
}

/// Frees a block of [`allocate`]'s. `None`: it is none.
pub fn free(at: usize) -> Option<i32> {
    if given().remove(&at).is_none() {
        // Of other managed memory the driver knows nothing, whatever it thinks.
        return is_managed(at).then_some(INVALID_VALUE);
    }
    // SAFETY: a block that the program is through with, as it says. It waits for kernels.
    Some(match unsafe { raw::free(pointer(at)) } {
        Ok(()) => 0,
        Err(error) => code_of("freeing managed memory", error),
    })
}

/// The block of [`allocate`]'s around an address.
pub fn notes(at: usize) -> Option<(usize, Notes)> {
    let given = given();
    let (start, notes) = given.range(..=at).next_back()?;
    (at - start < notes.len).then_some((*start, *notes))
}

fn change(at: usize, f: impl FnOnce(&mut Notes)) {
    let mut given = given();
    if let Some((start, notes)) = given.range_mut(..=at).next_back()
        && at - start < notes.len
    {
        f(notes);
    }
}

/// Sends managed memory somewhere, in the order of a stream. `None`: it is not managed.
pub fn prefetch(driver: &Driver, queue: Queue, at: usize, len: usize, to: i32) -> Option<i32> {
    if !is_managed(at) {
        return None;
    }
    let place = match (driver.place)() {
        Ok(place) => place,
        Err(code) => return Some(code),
    };
    if !driver.is_ready() {
        return Some(INVALID_VALUE);
    }
    if (driver.is_recording)(queue.native()) {
        // Launching the graph brings what it needs.
        return Some(0);
    }
    let done = (|| {
        // A stream of a device that is not the target's is waited for.
        let stream = match streams::number(place, queue)? {
            Some(number) if to == HOST || to == place.device => number,
            _ => {
                (driver.wait)(queue.native());
                StreamId::DEFAULT
            }
        };
        raw::prefetch(pointer(at), len, to, stream)
    })();
    match done {
        Ok(()) => {
            if let (Some(block), true) = (block_of(at), to >= 0) {
                note(to, &[block]);
            }
            change(at, |n| n.prefetched = to);
            Some(0)
        }
        Err(Error::NoDevice { .. }) => Some(INVALID_DEVICE),
        Err(Error::OutOfRange { .. } | Error::NotManaged { .. }) => Some(INVALID_VALUE),
        Err(error) => Some(code_of("a prefetch", error)),
    }
}

/// Both drivers' INVALID_DEVICE.
const INVALID_DEVICE: i32 = 101;

/// Takes advice on managed memory, by the drivers' numbers. `None`: it is not managed.
pub fn advise(driver: &Driver, at: usize, len: usize, advice: i32, to: i32) -> Option<i32> {
    if !is_managed(at) {
        return None;
    }
    let what = match advice {
        1 => Advice::ReadMostly,
        2 => Advice::UnsetReadMostly,
        3 => Advice::PreferredLocation,
        4 => Advice::UnsetPreferredLocation,
        5 => Advice::AccessedBy,
        6 => Advice::UnsetAccessedBy,
        // HIP's: coarse grain and back, which is how it is anyway.
        100 | 101 if driver.backend == "hip" => return Some(0),
        _ => return Some(INVALID_VALUE),
    };
    if !driver.is_ready() {
        return Some(INVALID_VALUE);
    }
    match raw::advise(pointer(at), len, what, to) {
        Ok(()) => {}
        Err(Error::NoDevice { .. }) => return Some(INVALID_DEVICE),
        Err(Error::OutOfRange { .. } | Error::NotManaged { .. }) => return Some(INVALID_VALUE),
        Err(error) => return Some(code_of("advice", error)),
    }
    let bit = u32::try_from(to).ok().and_then(|d| 1_u32.checked_shl(d)).unwrap_or(0);
    change(at, |n| match what {
        Advice::ReadMostly => n.read_mostly = true,
        Advice::UnsetReadMostly => n.read_mostly = false,
        Advice::PreferredLocation => n.preferred = to,
        Advice::UnsetPreferredLocation => n.preferred = NOWHERE,
        Advice::AccessedBy => n.accessed_by |= bit,
        _ => n.accessed_by &= !bit,
    });
    Some(0)
}

/// An attribute of a range of [`allocate`]'s, by the drivers' numbers. `None`: it is no such range.
///
/// # Safety
/// `out` has room for `size` bytes.
pub unsafe fn range_attribute(
    out: *mut i32,
    size: usize,
    attribute: i32,
    at: usize,
    len: usize,
) -> Option<i32> {
    if !is_managed(at) {
        return None;
    }
    let Some((start, notes)) = notes(at).filter(|(start, n)| len != 0 && len <= n.len - (at - start)) else {
        return Some(INVALID_VALUE);
    };
    debug_assert!(start <= at);
    if out.is_null() || size == 0 || !size.is_multiple_of(4) || attribute != 3 && size != 4 {
        return Some(INVALID_VALUE);
    }
    let value = match attribute {
        1 => notes.read_mostly.into(),
        2 => notes.preferred,
        3 => {
            let mut devices = (0..32).filter(|d| notes.accessed_by & 1 << d != 0);
            for i in 0..size / 4 {
                // SAFETY: the caller's promise.
                unsafe { out.add(i).write(devices.next().unwrap_or(NOWHERE)) };
            }
            return Some(0);
        }
        4 => notes.prefetched,
        _ => return Some(INVALID_VALUE),
    };
    // SAFETY: as above.
    unsafe { out.write(value) };
    Some(0)
}

/// The address that the device which is current has for a managed byte. `None`: it is not managed.
pub fn device_address(driver: &Driver, at: usize) -> Option<Result<usize, i32>> {
    if !is_managed(at) {
        return None;
    }
    Some(match (driver.place)() {
        Ok(place) if driver.is_ready() => match raw::device_ptr(pointer(at), place.device) {
            Ok(there) => Ok(there.expose_provenance()),
            Err(error) => Err(code_of("a device address", error)),
        },
        Ok(_) => Err(INVALID_VALUE),
        Err(code) => Err(code),
    })
}
