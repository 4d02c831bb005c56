//! Device address space that mirrors host address space: one window per device and per TiB in which something is
//! managed, so that consecutive host bytes are consecutive on the device, across blocks and adopted ranges that share a
//! chunk. Where a device has reserved the heap's own addresses, the window is the host range itself. Reserved at first
//! use; wide windows stay as long as the device lives. API context only, never the fault path.
//!
//! Where a window is for one block only (*exact*), adopted ranges that share a chunk get one together, with all they share
//! chunks with. A range that is adopted when its neighbour has a window already finds no place beside it: a device address
//! stays the same as long as its byte is managed.

use crate::addr::{ByteRange, CHUNK, DeviceAddr, HostAddr};
use crate::chunk::Kind;
use crate::device::{Devices, MAX_DEVICES};
use crate::error::{Error, Result};
use crate::migrate::Transit;
use crate::sys::futex::Locked;
use crate::sys::signal::Blocked;
use crate::table;
use core::sync::atomic::{AtomicBool, Ordering::*};

/// Large enough that ranges rarely cross a boundary; GPUs have at least 2^47 bytes of address space.
const WINDOW: usize = 1 << 40;

struct Window {
    host: ByteRange,
    base: DeviceAddr,
    /// Reserved for one block or adopted range: given back with it.
    exact: bool,
}

static WINDOWS: [Locked<Vec<Window>>; MAX_DEVICES] = [const { Locked::new(Vec::new()) }; MAX_DEVICES];
/// Whether there may be exact windows.
static ANY_EXACT: AtomicBool = AtomicBool::new(false);

/// The device address of the host byte `addr`; `range` is the whole block or adopted range that it is in.
pub(crate) fn device_addr(
    devices: &Devices,
    device: usize,
    addr: HostAddr,
    range: ByteRange,
) -> Result<DeviceAddr> {
    // Where it has been on the device already; a driver's list of addresses stays as it is while the byte is managed.
    if let Some(base) =
        table::get(addr).map(|c| c.copies[device].base.load(Acquire)).filter(|base| *base != 0)
    {
        return Ok(DeviceAddr(base).add(addr.0 - addr.chunk_start().0));
    }
    let _blocked = Blocked::new(); // a handler may touch what a thread sends away that waits for the lock
    let mut windows = WINDOWS[device].lock();
    let find = |windows: &[Window]| {
        let w = windows.iter().find(|w| w.host.start <= addr.0 && addr.0 < w.host.end)?;
        Some(w.base.add(addr.0 - w.host.start))
    };
    if let Some(found) = find(&windows) {
        return Ok(found);
    }
    let span = ByteRange { start: range.start & !(CHUNK - 1), end: range.end.next_multiple_of(CHUNK) };
    if let Some(w) = windows.iter().find(|w| w.host.overlaps(span)) {
        let why = match w.exact {
            true => {
                "the range meets the device addresses of another that has been on the device already: disown that, or \
                 adopt both before either is used"
            }
            false => "the range crosses a boundary of the device's address windows",
        };
        return Err(Error::Unsupported { what: "addr", why });
    }
    let window = reserve(devices, device, span, &windows)?;
    windows.push(window);
    find(&windows).ok_or(Error::NotManaged { arg: "addr", addr: addr.0 })
}

fn reserve(devices: &Devices, device: usize, span: ByteRange, windows: &[Window]) -> Result<Window> {
    let dev = devices.at(device);
    if let Some(host) = dev.mirror_of(span) {
        return Ok(Window { host, base: DeviceAddr(host.start as u64), exact: false });
    }
    let wide = ByteRange { start: span.start & !(WINDOW - 1), end: span.end.next_multiple_of(WINDOW) };
    let takes_memory = dev.reserves_memory();
    if !takes_memory
        && !windows.iter().any(|w| w.host.overlaps(wide))
        && let Ok(base) = dev.reserve(wide)
    {
        return Ok(Window { host: wide, base, exact: false });
    }
    // Limited address space, or a window that is the memory itself.
    let exact = |host: ByteRange| {
        let base = dev.reserve(host)?;
        ANY_EXACT.store(true, Release);
        Ok(Window { host, base, exact: true })
    };
    let all = with_neighbours(span);
    let is_wider = all.len() > span.len() && !windows.iter().any(|w| w.host.overlaps(all));
    match is_wider.then(|| exact(all)) {
        None | Some(Err(Error::DeviceMemory { .. })) => exact(span),
        Some(done) => done,
    }
}

/// `span`, with all adopted ranges that share chunks with it, and those that share chunks with them. Without the lock of
/// adoption, which comes before any chunk's: what is adopted meanwhile may be missing.
fn with_neighbours(span: ByteRange) -> ByteRange {
    let goes_on = |at: usize| {
        let chunk = table::get(HostAddr(at));
        chunk.is_some_and(|c| c.kind() == Kind::Adopted && c.unit.load(Relaxed) == 1)
    };
    let ByteRange { mut start, mut end } = span;
    while goes_on(start) {
        start -= CHUNK;
    }
    while goes_on(end) {
        end += CHUNK;
    }
    ByteRange { start, end }
}

/// What was managed in `range` is no more: windows that were made for it alone are given back.
pub(crate) fn release(range: ByteRange) {
    if !ANY_EXACT.load(Acquire) {
        return;
    }
    let Some(devices) = Devices::get() else { return };
    let _blocked = Blocked::new();
    for (d, device) in devices.all().enumerate() {
        let transit = Transit::begin(d);
        WINDOWS[d].lock().retain(|w| {
            let is_over = w.exact && w.host.overlaps(range) && is_unused(w.host);
            if is_over {
                device.unreserve(w.base);
                transit.is_done();
            }
            !is_over
        });
    }
}

/// Whether nothing is managed in any chunk of `host`: then nobody can be about to use a device address of it.
fn is_unused(host: ByteRange) -> bool {
    host.chunks().all(|(at, _)| table::get(at).is_none_or(|chunk| chunk.kind() == Kind::Unused))
}

/// Whether this thread is inside of here: a list that grows must not allocate managed memory.
pub(crate) fn is_locked_by_me() -> bool {
    WINDOWS.iter().any(|w| w.held_by_me())
}

/// Forgets all windows: the devices are gone.
pub(crate) fn forget() {
    let _blocked = Blocked::new();
    WINDOWS.iter().for_each(|w| w.lock().clear());
    ANY_EXACT.store(false, Release);
}
