//! Device addresses as a job sees them: translated once, into pieces that lie in a row on the host, and kept from being
//! freed while the job uses them. Whatever is not mapped, or not for this device, is an illegal address.

use std::sync::Arc;

use crate::device::Device;
use crate::host::Block;
use crate::settings;
use crate::space::{self, Mapping, Range};
use crate::{Error, Result, foreign};

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A kernel: reads and writes where it runs.
    Kernel,
    /// A copy engine, which also reaches other devices' allocations.
    Copy,
}

/// Host memory in a row.
pub struct Piece {
    /// Its first byte.
    pub host: *mut u8,
    /// Bytes.
    pub len: u64,
    /// Where it is in the view.
    pub start: u64,
    /// Memory of the program that has to be taken with care, see [`foreign`].
    pub foreign: bool,
    _keep: Keep,
}

enum Keep {
    Mapping { _it: Arc<Mapping> },
    Block { _it: Arc<Block> },
    Nothing,
}

/// A translated range.
pub struct View {
    pieces: Vec<Piece>,
    len: u64,
}

// SAFETY: what the pieces point at is kept mapped by the view, and belongs to no thread.
unsafe impl Send for View {}

impl View {
    /// Translates `len` bytes at `at` for `device`.
    pub fn new(device: &Device, at: u64, len: u64, by: By, write: bool) -> Result<View> {
        let end = at.checked_add(len).ok_or(Error::ILLEGAL_ADDRESS)?;
        let (mut next, mut pieces) = (at, Vec::new());
        let space = space::read();
        while next < end {
            let (host, until, foreign, _keep) = match space::holding(&space, next) {
                Some((_, Range::Reservation(r))) => {
                    let mapping = r.at(next).ok_or(Error::ILLEGAL_ADDRESS)?;
                    open(mapping, device, by, write)?;
                    of(mapping, next)
                }
                Some((_, Range::Allocation(mapping))) => {
                    open(mapping, device, by, write)?;
                    of(mapping, next)
                }
                Some((_, Range::Host(block))) => {
                    let keep = Keep::Block { _it: block.clone() };
                    (next as *mut u8, block.start + block.len, block.foreign(), keep)
                }
                // Up to the next thing that devices know.
                None if settings::get().pageable => {
                    let until = space.range(next..end).next().map_or(end, |(start, _)| *start);
                    (next as *mut u8, until, true, Keep::Nothing)
                }
                None => return Err(Error::ILLEGAL_ADDRESS),
            };
            let len = until.min(end) - next;
            // A kernel goes through the program's page tables, and a page that it can't have is the end of it.
            if foreign && by == By::Kernel && !foreign::usable(next, len, write) {
                return Err(Error::ILLEGAL_ADDRESS);
            }
            pieces.push(Piece { host, len, start: next - at, foreign, _keep });
            next += len;
        }
        Ok(View { pieces, len })
    }

    /// A part of a block that the job has anyway, freed meanwhile or not.
    pub fn of_block(at: u64, len: u64, block: &Arc<Block>) -> View {
        let keep = Keep::Block { _it: block.clone() };
        let piece = Piece { host: at as *mut u8, len, start: 0, foreign: block.foreign(), _keep: keep };
        View { pieces: vec![piece], len }
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// From the byte at `offset` on: the piece, the address, and how much there is in a row.
    pub fn run(&self, offset: u64) -> (&Piece, *mut u8, u64) {
        let piece = &self.pieces[self.pieces.partition_point(|piece| piece.start <= offset) - 1];
        let skip = offset - piece.start;
        (piece, piece.host.wrapping_add(skip as usize), piece.len - skip)
    }

    /// The address of all of it, if it lies in a row.
    pub fn row(&self) -> Option<*mut u8> {
        match &self.pieces[..] {
            [] => Some(std::ptr::dangling_mut()),
            [one] => Some(one.host),
            _ => None,
        }
    }
}

fn of(mapping: &Arc<Mapping>, at: u64) -> (*mut u8, u64, bool, Keep) {
    (mapping.host(at), mapping.start + mapping.len, false, Keep::Mapping { _it: mapping.clone() })
}

fn open(mapping: &Mapping, device: &Device, by: By, write: bool) -> Result {
    let reached = mapping.allocated && (by == By::Copy || device.reaches(mapping.device().number));
    if reached || mapping.open(device, write) { Ok(()) } else { Err(Error::ILLEGAL_ADDRESS) }
}
