//! Host addresses for what is in the device's address space: mappings without access, so that a range is nobody else's
//! and a program that follows a device pointer on the CPU gets what it gets with a GPU.

use crate::settings::{self, Hints};
use crate::space::{Ranges, overlaps};
use crate::{Error, Result, os};

/// The host's page.
pub(crate) const PAGE: u64 = 4096;
/// Hints for less are not honoured, as on real drivers.
const HINTED: u64 = 256 << 30;

fn place_at(hint: u64, len: u64) -> Result<u64> {
    os::map(hint, len as usize, false).map(|at| at as u64).ok_or(Error::OUT_OF_MEMORY)
}

/// Gives host addresses back.
pub(crate) fn unplace(at: u64, len: u64) {
    if len != 0 {
        // SAFETY: the callers' own mapping, or a reservation, which takes along what the program put over it: so do drivers.
        unsafe { os::unmap(at as *mut u8, len as usize) };
    }
}

/// Addresses where nothing is, on the host and here. A program that unmaps what it put over a reservation makes a hole
/// there, into which the host may put the next mapping: then it takes another try.
pub(crate) fn place(space: &Ranges, len: u64, align: u64) -> Result<u64> {
    let mut holes = Vec::new();
    let found = loop {
        let all = len.checked_add(align - PAGE).ok_or(Error::OUT_OF_MEMORY)?;
        let Ok(base) = place_at(0, all) else { break Err(Error::OUT_OF_MEMORY) };
        if overlaps(space, base, all) {
            holes.push((base, all));
            continue;
        }
        let at = base.next_multiple_of(align);
        unplace(base, at - base);
        unplace(at + len, base + all - at - len);
        break Ok(at);
    };
    holes.into_iter().for_each(|(at, len)| unplace(at, len));
    found
}

/// The hint, if it can be had: whether the addresses are ours.
pub(crate) fn place_hinted(space: &Ranges, len: u64, align: u64, hint: u64) -> Option<bool> {
    let hints = settings::get().hints;
    hint.checked_add(len)?;
    if hint == 0
        || len < HINTED
        || hints == Hints::None
        || !hint.is_multiple_of(align)
        || overlaps(space, hint, len)
    {
        return None;
    }
    let at = place_at(hint, len).ok()?;
    if at == hint {
        return Some(true);
    }
    unplace(at, len);
    (hints == Hints::Over).then_some(false)
}
