//! Copies with managed memory on one side: through a buffer of ours, because a driver takes an address that it has
//! reserved for device memory, and must not fault with its locks held. The program's stream is waited for before and
//! after, so that an asynchronous copy is in its place in the stream, and done when the call returns. Any thread.

use super::{Driver, INVALID_VALUE, OUT_OF_MEMORY, Queue, is_managed, launch, pointer};
use hmmrt_core::raw::{self, preload};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a buffer.
const ROOM: usize = 4 << 20;

/// A side of a copy.
#[derive(Clone, Copy)]
pub enum Side {
    /// The function says that it is the host's, or does not say.
    Host(usize),
    /// The function says that it is a device's.
    Device(usize),
}

impl Side {
    fn at(self) -> usize {
        match self {
            Side::Host(at) | Side::Device(at) => at,
        }
    }

    /// Whether the driver can have it as it is for as long as no device is open.
    fn is_plain(self) -> bool {
        matches!(self, Side::Host(_)) || !is_managed(self.at())
    }
}

/// Host memory that a driver copies from and to: which driver's, and where.
type Buffer = (&'static str, usize);

/// Buffers that are not in use. They stay for good.
static FREE: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());

fn free() -> MutexGuard<'static, Vec<Buffer>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Taken(Buffer);

impl Taken {
    fn new(driver: &Driver) -> Option<Taken> {
        let found = {
            let mut list = free();
            let found = list.iter().position(|(of, _)| *of == driver.backend);
            found.map(|i| list.swap_remove(i))
        };
        match found {
            Some(buffer) => Some(Taken(buffer)),
            None => Some(Taken((driver.backend, (driver.pinned)(ROOM)?.expose_provenance()))),
        }
    }

    fn at(&self) -> usize {
        self.0.1
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        free().push(self.0);
    }
}

/// Has the driver do it itself, all of it, if all memory is on the host. That stays there meanwhile, should another thread open a device.
/// `None`: one is open.
pub fn on_host(all: &[(usize, usize)], real: &mut dyn FnMut() -> i32) -> Option<i32> {
    if preload::is_active() {
        return None;
    }
    let is_pinned = |(at, n): &&(usize, usize)| is_managed(*at) && raw::pin(pointer(*at), *n).is_ok();
    let pinned: Vec<&(usize, usize)> = all.iter().filter(is_pinned).collect();
    let code = real();
    for (at, n) in pinned {
        let _ = raw::unpin(pointer(*at), *n);
    }
    Some(code)
}

/// Copies `n` bytes; `real` is the driver's way, for what it can have as it is.
pub fn copy(
    driver: &Driver,
    queue: Queue,
    to: Side,
    from: Side,
    n: usize,
    real: &mut dyn FnMut() -> i32,
) -> i32 {
    let (managed_to, managed_from) = (is_managed(to.at()), is_managed(from.at()));
    if n == 0 || !managed_to && !managed_from {
        return real();
    }
    let stream = queue.native();
    if (driver.is_recording)(stream) {
        // It is done when the graph is launched, which has what it needs on the device.
        return launch::record(driver, Some(queue), [to.at(), from.at()], &mut |[to, from]| {
            (driver.copy)(to, from, n, stream)
        });
    }
    if to.is_plain()
        && from.is_plain()
        && let Some(code) = on_host(&[(to.at(), n), (from.at(), n)], real)
    {
        return code;
    }
    let code = (driver.wait)(stream);
    if code != 0 {
        return code;
    }
    let (to, from) = (to.at(), from.at());
    if to.checked_add(n).is_none() || from.checked_add(n).is_none() {
        return INVALID_VALUE;
    }
    if managed_to && managed_from {
        // SAFETY: the program's memory, as it says.
        unsafe { core::ptr::copy(pointer(from).cast_const(), pointer(to), n) };
        return 0;
    }
    let Some(buffer) = Taken::new(driver) else { return OUT_OF_MEMORY };
    let mut done = 0;
    while done < n {
        let (to, from, len) = (to + done, from + done, (n - done).min(ROOM));
        if managed_from {
            // SAFETY: the program's memory, as it says; a fault in it is answered here, outside of the driver. The
            // buffer is only ours.
            unsafe { core::ptr::copy_nonoverlapping(pointer(from).cast_const(), pointer(buffer.at()), len) };
        }
        let code = match managed_from {
            true => (driver.copy)(to, buffer.at(), len, stream),
            false => (driver.copy)(buffer.at(), from, len, stream),
        };
        let code = if code == 0 { (driver.wait)(stream) } else { code };
        if code != 0 {
            return code;
        }
        if managed_to {
            // SAFETY: as above.
            unsafe { core::ptr::copy_nonoverlapping(pointer(buffer.at()).cast_const(), pointer(to), len) };
        }
        done += len;
    }
    0
}

/// Rows of a copy in two dimensions: where the first one begins, and how far apart they are.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Of memory that has no address: 0.
    pub start: usize,
    pub pitch: usize,
    /// The function says that it is a device's.
    pub is_device: bool,
}

impl Rows {
    /// Of what has no address.
    pub const HIDDEN: Rows = Rows { start: 0, pitch: 0, is_device: false };

    fn side(self) -> Side {
        if self.is_device { Side::Device(self.start) } else { Side::Host(self.start) }
    }

    /// As [`Side`]'s.
    pub fn is_plain(self) -> bool {
        self.side().is_plain()
    }

    /// Where so many rows of that width are, with what is between them.
    pub fn extent(self, (width, height): (usize, usize)) -> (usize, usize) {
        (self.start, self.pitch.saturating_mul(height - 1).saturating_add(width))
    }

    fn at(self, row: usize) -> usize {
        self.start.wrapping_add(row.wrapping_mul(self.pitch))
    }
}

/// What [`copy`] is in two dimensions. `whole` is the driver's way; `band` has the driver copy some rows between the side
/// that is not managed and a buffer, in which they lie one behind the other: its address, the first row, how many.
pub fn copy_rows(
    driver: &Driver,
    queue: Queue,
    (to, from): (Rows, Rows),
    (width, height): (usize, usize),
    whole: &mut dyn FnMut() -> i32,
    band: &mut dyn FnMut(usize, usize, usize) -> i32,
) -> i32 {
    if width == 0 || height == 0 || !is_managed(to.start) && !is_managed(from.start) {
        return whole();
    }
    if (driver.is_recording)(queue.native()) {
        return NOT_SUPPORTED;
    }
    let extents = [to.extent((width, height)), from.extent((width, height))];
    if to.is_plain()
        && from.is_plain()
        && let Some(code) = on_host(&extents, whole)
    {
        return code;
    }
    let managed = (is_managed(to.start), is_managed(from.start));
    by_bands(driver, queue, (to, from), managed, (width, height), band)
}

/// Copies rows through a buffer. There are some, one side at least is `managed`, and the stream is not being recorded.
pub fn by_bands(
    driver: &Driver,
    queue: Queue,
    (to, from): (Rows, Rows),
    (managed_to, managed_from): (bool, bool),
    (width, height): (usize, usize),
    band: &mut dyn FnMut(usize, usize, usize) -> i32,
) -> i32 {
    let stream = queue.native();
    let code = (driver.wait)(stream);
    if code != 0 {
        return code;
    }
    // SAFETY: the program's memory, as it says, or a buffer with room; faults are answered outside of the driver.
    let row =
        |to: usize, from: usize| unsafe { core::ptr::copy(pointer(from).cast_const(), pointer(to), width) };
    if managed_to && managed_from {
        (0..height).for_each(|y| row(to.at(y), from.at(y)));
        return 0;
    }
    if width > ROOM {
        return NOT_SUPPORTED;
    }
    let Some(buffer) = Taken::new(driver) else { return OUT_OF_MEMORY };
    let mut done = 0;
    while done < height {
        let rows = (height - done).min(ROOM / width);
        if managed_from {
            (0..rows).for_each(|y| row(buffer.at() + y * width, from.at(done + y)));
        }
        let code = match band(buffer.at(), done, rows) {
            0 => (driver.wait)(stream),
            code => code,
        };
        if code != 0 {
            return code;
        }
        if managed_to {
            (0..rows).for_each(|y| row(to.at(done + y), buffer.at() + y * width));
        }
        done += rows;
    }
    0
}

/// Copies `n` bytes between host memory and what has no address, an array or a symbol: `band` has the driver copy some
/// of them: the address of the host's side, the first byte, how many.
pub fn copy_hidden(
    driver: &Driver,
    queue: Queue,
    side: Side,
    n: usize,
    is_source: bool,
    band: &mut dyn FnMut(usize, usize, usize) -> i32,
) -> i32 {
    let host = side.at();
    if n == 0 || !is_managed(host) {
        return band(host, 0, n);
    }
    let stream = queue.native();
    if (driver.is_recording)(stream) {
        return NOT_SUPPORTED;
    }
    if side.is_plain()
        && let Some(code) = on_host(&[(host, n)], &mut || band(host, 0, n))
    {
        return code;
    }
    let code = (driver.wait)(stream);
    if code != 0 {
        return code;
    }
    let Some(buffer) = Taken::new(driver) else { return OUT_OF_MEMORY };
    for done in (0..n).step_by(ROOM) {
        let (at, len) = (pointer(host + done), (n - done).min(ROOM));
        let room = pointer(buffer.at());
        if is_source {
            // SAFETY: the program's memory, as it says; a fault in it is answered here. The buffer is only ours.
            unsafe { core::ptr::copy_nonoverlapping(at.cast_const(), room, len) };
        }
        let code = match band(buffer.at(), done, len) {
            0 => (driver.wait)(stream),
            code => code,
        };
        if code != 0 {
            return code;
        }
        if !is_source {
            // SAFETY: as above.
            unsafe { core::ptr::copy_nonoverlapping(room.cast_const(), at, len) };
        }
    }
    0
}

/// Both drivers' NOT_SUPPORTED.
pub const NOT_SUPPORTED: i32 = 801;
