//! A chunk leaves a device that is full: what only the device has comes home, or goes to a peer; then its memory there is given back. API
//! context with signals blocked and the chunk's lock held, never the signal handler.

use super::{Outward, Probe, Stop, account_prefetched, backing, homeward, outward, settle};
use crate::chunk::{Chunk, Guard};
use crate::device::Devices;
use crate::mask::PageMask;
use crate::stats::STATS;

/// Whether `pages`, which are on a device only, are now on device `peer` only.
fn went_to(g: &Guard, pages: PageMask, peer: usize) -> bool {
    let around = g.chunk.block().map_or(g.range(), |block| block.range());
    outward::to_device(g, pages, peer, Outward::Own, None, around, &mut Probe::new("addr")).is_ok()
}

/// Sends the chunk from `device` home, or to `peer`. No kernel uses it. On failure it stays, whole.
pub(crate) fn evict(
    g: &Guard,
    devices: &Devices,
    device: usize,
    peer: Option<usize>,
) -> core::result::Result<(), Stop> {
    let copy = &g.chunk.copies[device];
    let valid = copy.valid.get();
    let only_there = valid & !elsewhere(g.chunk, devices, device);
    if !only_there.is_empty() && !peer.is_some_and(|peer| went_to(g, only_there, peer)) {
        homeward::to_host(g, only_there, true)?;
    }
    account_prefetched(g, valid, false);
    copy.valid.remove(valid);
    // What the host has can be used while a driver takes its time.
    let _ = settle(g, valid); // who touches it tries again
    backing::decommit(g, devices, device);
    if !valid.is_empty() {
        STATS.evictions.add(1);
    }
    Ok(())
}

/// The pages that can be had without `device`: a device that is lost has none.
pub(crate) fn elsewhere(chunk: &Chunk, devices: &Devices, device: usize) -> PageMask {
    let others = (0..devices.count()).filter(|d| *d != device && devices.at(*d).check().is_ok());
    others.fold(chunk.host.get(), |all, d| all | chunk.copies[d].valid.get())
}
