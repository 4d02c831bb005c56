//! Copies and fills. Pinned memory is read and written by the stream's thread when its turn comes. Pageable memory is
//! read and written by the calling thread, while it holds the driver's lock: what it comes from and goes to in the stream
//! is a buffer in between. A host pointer that is inside the device's address space is taken for device memory.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Arc;

use crate::call::Frame;
use crate::device::{Device, Way};
use crate::host::Block;
use crate::space::{self, Found};
use crate::stream::{Body, Stream};
use crate::view::{By, Piece, View};
use crate::{Error, Result, foreign, inject, settings};

/// One side of a copy.
#[derive(Clone)]
pub enum Side {
    /// Addresses as this device sees them when it is the copy's turn.
    Device(u64, &'static Device),
    /// Host memory that devices know.
    Pinned(u64, Arc<Block>),
    /// Other host memory.
    Pageable(u64),
}

impl Side {
    /// What the driver makes of a device pointer: INVALID_VALUE if it knows nothing there. It does not look where there
    /// is nothing to copy.
    pub fn device(at: u64, len: u64, device: &'static Device) -> Result<Side> {
        if len == 0 {
            return Ok(Side::Device(at, device));
        }
        match Side::any(at, len, device)? {
            Side::Pageable(_) if settings::get().pageable => Ok(Side::Device(at, device)),
            Side::Pageable(_) => Err(Error::INVALID_VALUE),
            side => Ok(side),
        }
    }

    /// What it makes of any pointer.
    pub fn any(at: u64, len: u64, device: &'static Device) -> Result<Side> {
        match space::find(at) {
            _ if len == 0 => Ok(Side::Pageable(at)),
            Found::Device(..) | Found::Reserved => Ok(Side::Device(at, device)),
            Found::Host(block) if block.holds(at, len) => Ok(Side::Pinned(at, block)),
            // Only the beginning is registered.
            Found::Host(_) => Err(Error::INVALID_VALUE),
            Found::Unknown => Ok(Side::Pageable(at)),
        }
    }

    fn is_device(&self) -> bool {
        matches!(self, Side::Device(..))
    }
}

/// What a job moves bytes between.
enum End {
    Side(Side),
    /// From or to memory that waits on the host.
    Buffer(Arc<Buffer>),
}

/// Host memory between pageable memory and a stream.
struct Buffer(Vec<UnsafeCell<u8>>);

// SAFETY: the caller and the job use its bytes one after the other, through raw pointers.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn new(len: u64) -> Result<Arc<Buffer>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len as usize).map_err(|_| Error::OUT_OF_MEMORY)?;
        Ok(Arc::new(Buffer(bytes)))
    }

    fn at(&self) -> *mut u8 {
        UnsafeCell::raw_get(self.0.as_ptr())
    }
}

/// Copies, and waits for it if it is to be complete when the call ends.
pub fn copy(frame: &Frame, stream: &Arc<Stream>, to: Side, from: Side, len: u64, complete: bool) -> Result {
    stream.device.check()?;
    if len == 0 {
        return Ok(());
    }
    let way = match (to.is_device(), from.is_device()) {
        (true, false) => Way::In,
        (false, true) => Way::Out,
        _ => Way::Within,
    };
    if matches!(to, Side::Pageable(_)) || matches!(from, Side::Pageable(_)) {
        inject::pageable();
    }
    let from = match from {
        Side::Pageable(at) => {
            let buffer = Buffer::new(len)?;
            // SAFETY: the program's memory, as it says; a fault in it is the program's, and is taken with the driver's
            // lock held. The buffer has room, and no job has it yet.
            unsafe { ptr::copy_nonoverlapping(at as *const u8, buffer.at(), len as usize) };
            End::Buffer(buffer)
        }
        side => End::Side(side),
    };
    let (to, back) = match to {
        Side::Pageable(at) => {
            let buffer = Buffer::new(len)?;
            (End::Buffer(buffer.clone()), Some((at, buffer)))
        }
        side => (End::Side(side), None),
    };
    let device = stream.device;
    let body: Body = Box::new(move || device.transfer(way, len, || move_bytes(device, &to, &from, len)));
    let point = frame.submit(stream, None, body)?;
    if back.is_some() || complete {
        frame.unlock();
        point.wait();
        device.check()?;
        frame.relock();
    }
    if let Some((at, buffer)) = back {
        // SAFETY: as above; the job filled the buffer and is done.
        unsafe { ptr::copy_nonoverlapping(buffer.at(), at as *mut u8, len as usize) };
    }
    Ok(())
}

/// Fills with elements of `pattern`.
pub fn fill(
    frame: &Frame,
    stream: &Arc<Stream>,
    at: u64,
    count: u64,
    pattern: &[u8],
    complete: bool,
) -> Result {
    let device = stream.device;
    device.check()?;
    let size = pattern.len() as u64;
    let len = count.checked_mul(size).ok_or(Error::INVALID_VALUE)?;
    if !at.is_multiple_of(size) {
        return Err(Error::INVALID_VALUE);
    }
    if len == 0 {
        return Ok(());
    }
    let side = Side::device(at, len, device)?;
    let pattern = pattern.to_vec();
    let body: Body = Box::new(move || {
        device.transfer(Way::Within, 0, || {
            pieces(device, &side, len, true, |piece, at, _, n| {
                if piece.foreign {
                    let bytes: Vec<u8> = pattern.iter().copied().cycle().take(n).collect();
                    // SAFETY: the buffer has n bytes.
                    return unsafe { foreign::write(at as u64, bytes.as_ptr(), n) };
                }
                // SAFETY: n bytes of the piece. Pieces begin and end at multiples of an element's size.
                unsafe { fill_row(at, &pattern, n) };
                Ok(())
            })
        })
    });
    let point = frame.submit(stream, None, body)?;
    if complete {
        frame.unlock();
        point.wait();
        device.check()?;
    }
    Ok(())
}

/// Fills `n` bytes.
///
/// # Safety
/// They are writable.
unsafe fn fill_row(at: *mut u8, pattern: &[u8], n: usize) {
    if let [byte] = pattern {
        // SAFETY: the caller's promise.
        return unsafe { ptr::write_bytes(at, *byte, n) };
    }
    for (i, byte) in pattern.iter().cycle().take(n).enumerate() {
        // SAFETY: i < n.
        unsafe { at.add(i).write(*byte) };
    }
}

/// Calls `f` with each piece of a side: the piece, its address, its offset, its length.
fn pieces(
    device: &'static Device,
    side: &Side,
    len: u64,
    write: bool,
    mut f: impl FnMut(&Piece, *mut u8, u64, usize) -> Result,
) -> Result {
    let view = view(device, side, len, write)?;
    let mut done = 0;
    while done < len {
        let (piece, at, n) = view.run(done);
        f(piece, at, done, n as usize)?;
        done += n;
    }
    Ok(())
}

fn view(device: &'static Device, side: &Side, len: u64, write: bool) -> Result<View> {
    match side {
        Side::Device(at, on) => View::new(on, *at, len, By::Copy, write),
        Side::Pinned(at, block) => Ok(View::of_block(*at, len, block)),
        Side::Pageable(at) => View::new(device, *at, len, By::Copy, write),
    }
}

/// The job.
fn move_bytes(device: &'static Device, to: &End, from: &End, len: u64) -> Result {
    match (to, from) {
        (End::Buffer(to), End::Buffer(from)) => {
            // SAFETY: both have `len` bytes, and the caller waits for this job.
            unsafe { ptr::copy_nonoverlapping(from.at(), to.at(), len as usize) };
            Ok(())
        }
        (End::Buffer(to), End::Side(from)) => pieces(device, from, len, false, |piece, at, offset, n| {
            // SAFETY: n bytes from `offset` on, in a buffer of `len`, and n of the piece.
            unsafe { move_row(to.at().add(offset as usize), false, at, piece.foreign, n) }
        }),
        (End::Side(to), End::Buffer(from)) => pieces(device, to, len, true, |piece, at, offset, n| {
            // SAFETY: as above.
            unsafe { move_row(at, piece.foreign, from.at().add(offset as usize), false, n) }
        }),
        (End::Side(to), End::Side(from)) => {
            let from = view(device, from, len, false)?;
            pieces(device, to, len, true, |piece, at, offset, n| {
                let mut done = 0;
                while done < n {
                    let (source, row, left) = from.run(offset + done as u64);
                    let m = (n - done).min(left as usize);
                    // SAFETY: m bytes of either piece.
                    unsafe { move_row(at.add(done), piece.foreign, row, source.foreign, m) }?;
                    done += m;
                }
                Ok(())
            })
        }
    }
}

/// Moves bytes in a row; they may overlap.
///
/// # Safety
/// Sides that are not foreign have `n` bytes.
unsafe fn move_row(to: *mut u8, to_foreign: bool, from: *const u8, from_foreign: bool, n: usize) -> Result {
    // SAFETY: the caller's promise in each case; the bounce buffer has as many bytes as are moved at once.
    unsafe {
        match (to_foreign, from_foreign) {
            (false, false) => ptr::copy(from, to, n),
            (false, true) => foreign::read(to, from as u64, n)?,
            (true, false) => foreign::write(to as u64, from, n)?,
            (true, true) => {
                let mut bounce = [0u8; 16 << 10];
                let mut done = 0;
                while done < n {
                    let m = (n - done).min(bounce.len());
                    foreign::read(bounce.as_mut_ptr(), from as u64 + done as u64, m)?;
                    foreign::write(to as u64 + done as u64, bounce.as_ptr(), m)?;
                    done += m;
                }
            }
        }
    }
    Ok(())
}
