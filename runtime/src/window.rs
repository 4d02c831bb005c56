//! Device address space that mirrors host address space: one window per device and per TiB in which something is
//! managed, so that consecutive host bytes are consecutive on the device, across blocks and adopted ranges that share a
//! chunk. Reserved at first use, never given back while the device lives. API context only, never the fault path.

use crate::addr::{ByteRange, CHUNK, DeviceAddr, HostAddr};
use crate::device::{Devices, MAX_DEVICES};
use crate::error::{Error, Result};
use crate::sys::futex::Locked;

/// Large enough that ranges rarely cross a boundary; GPUs have at least 2^47 bytes of address space.
const WINDOW: usize = 1 << 40;

struct Window {
    host: ByteRange,
    base: DeviceAddr,
}

static WINDOWS: [Locked<Vec<Window>>; MAX_DEVICES] = [const { Locked::new(Vec::new()) }; MAX_DEVICES];

/// The device address of the host byte `addr`; `range` is the whole block or adopted range that it is in.
pub(crate) fn device_addr(
    devices: &Devices,
    device: usize,
    addr: HostAddr,
    range: ByteRange,
) -> Result<DeviceAddr> {
    let mut windows = WINDOWS[device].lock();
    let find = |windows: &[Window]| {
        let w = windows.iter().find(|w| w.host.start <= addr.0 && addr.0 < w.host.end)?;
        Some(w.base.add(addr.0 - w.host.start))
    };
    if let Some(found) = find(&windows) {
        return Ok(found);
    }
    let span = ByteRange { start: range.start & !(CHUNK - 1), end: range.end.next_multiple_of(CHUNK) };
    if windows.iter().any(|w| w.host.overlaps(span)) {
        return Err(Error::Unsupported {
            what: "addr",
            why: "the range crosses a boundary of the device's address windows",
        });
    }
    let mut wide = ByteRange { start: span.start & !(WINDOW - 1), end: span.end.next_multiple_of(WINDOW) };
    if windows.iter().any(|w| w.host.overlaps(wide)) {
        wide = span;
    }
    let (host, base) = match devices.at(device).reserve(wide) {
        Ok(base) => (wide, base),
        Err(_) => (span, devices.at(device).reserve(span)?), // limited address space
    };
    windows.push(Window { host, base });
    find(&windows).ok_or(Error::NotManaged { arg: "addr", addr: addr.0 })
}

/// Forgets all windows: the devices are gone.
pub(crate) fn forget() {
    WINDOWS.iter().for_each(|w| w.lock().clear());
}
