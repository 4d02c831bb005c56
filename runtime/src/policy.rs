//! How much comes home at a fault. Asked by the fault path with the chunk's lock held: signal-safe.

use crate::chunk::{Chunk, Kind};
use crate::mask::PageMask;
use core::sync::atomic::Ordering::*;

/// Advice bits of a chunk.
pub(crate) mod advice {
    /// The device gets copies; the host's stay valid.
    pub(crate) const READ_MOSTLY: u32 = 1;
    /// The CPU reads it in order.
    pub(crate) const SEQUENTIAL: u32 = 2;
    /// The CPU touches it here and there: bring single pages home.
    pub(crate) const RANDOM: u32 = 4;
    /// The host is where it should be.
    pub(crate) const PREFER_HOST: u32 = 8;
    /// Some device is where it should be; its number is in the bits from `DEVICE_SHIFT`.
    pub(crate) const PREFER_DEVICE: u32 = 16;
    /// Some device will read it.
    pub(crate) const ACCESSED_BY: u32 = 32;
    /// Where the preferred device's number starts.
    pub(crate) const DEVICE_SHIFT: u32 = 8;
}

/// The pages of the chunk that belong to the same block as `page`: moving one block never moves another.
pub(crate) fn same_block(chunk: &Chunk, page: usize) -> PageMask {
    let managed = chunk.managed.get();
    match (chunk.kind(), chunk.unit.load(Relaxed) as usize) {
        (Kind::Slab, unit) if unit > 0 => PageMask::span(page / unit * unit, unit) & managed,
        _ => managed,
    }
}

/// The pages to bring home when the CPU touches `page`. Contains `page`.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn pages_to_bring(chunk: &Chunk, page: usize, write: bool) -> PageMask {
    if chunk.advice.load(Relaxed) & advice::RANDOM != 0 {
        return PageMask::span(page, 1);
    }
    let block = same_block(chunk, page);
    let here = chunk.host.get();
    // A write to a page that is valid on both sides takes the others like it along: they will be written too.
    let like = if here.has(page) { here & chunk.on_devices() } else { !here };
    let set = block & like;
    if write { set & !chunk.user_read_only.get() | PageMask::span(page, 1) } else { set }
}

/// All bits that a preferred location is made of.
pub(crate) const PREFERENCE: u32 = advice::PREFER_HOST | advice::PREFER_DEVICE | 0xff << advice::DEVICE_SHIFT;
