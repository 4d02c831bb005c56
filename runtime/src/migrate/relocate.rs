//! Moves a block's device-resident bytes to another block on the same device, without a trip over the host: what
//! `hmm_realloc` does with pages that are not on the host. API context with signals blocked.

use super::{Stop, protect};
use crate::addr::{ByteRange, CHUNK, DeviceAddr, HostAddr, PAGE};
use crate::chunk::Guard;
use crate::device::Devices;
use crate::error::Result;
use crate::inflight::{self, Intent};
use crate::mask::PageMask;
use crate::stats::STATS;
use crate::sys::map::Prot;
use crate::{table, window};
use core::sync::atomic::Ordering::*;

/// Moves the pages of `from..from + len` that are on a device only to the same offsets at `to`, a fresh block of our
/// own whose range is `around`. `from` and `to` are page-aligned. The moved parts of the old block are added to `moved`;
/// the rest is left to the caller.
pub(crate) fn relocate(
    from: HostAddr,
    to: HostAddr,
    len: usize,
    around: ByteRange,
    moved: &mut Vec<ByteRange>,
) -> core::result::Result<(), Stop> {
    let Some(devices) = Devices::get() else { return Ok(()) };
    let mut done = 0;
    while done < len {
        // One step stays inside one chunk on both sides.
        let (a, b) = (from.add(done), to.add(done));
        let room = |x: HostAddr| CHUNK - (x.0 - x.chunk_start().0);
        let step = room(a).min(room(b)).min(len - done);
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        let first = Guard::lock(table::known(low), low.chunk_start());
        let second = (low.chunk_start() != high.chunk_start())
            .then(|| Guard::lock(table::known(high), high.chunk_start()));
        let other = second.as_ref().unwrap_or(&first);
        let (source, target) = if a < b { (&first, other) } else { (other, &first) };
        let runs = move_step(devices, source, a, target, b, step, around)?;
        moved.extend(runs);
        done += step;
    }
    Ok(())
}

fn move_step(
    devices: &Devices,
    source: &Guard,
    a: HostAddr,
    target: &Guard,
    b: HostAddr,
    len: usize,
    around: ByteRange,
) -> core::result::Result<Vec<ByteRange>, Stop> {
    let pages = PageMask::of(ByteRange { start: a.0, end: a.0 + len });
    let mut away = pages & !source.chunk.host.get() & source.chunk.managed.get();
    let mut moved = Vec::new();
    if away.is_empty() {
        return Ok(moved);
    }
    if let Some(busy) = inflight::blocker(source.span_of(away), Intent::Take { to: None }) {
        return Err(Stop::Wait(busy));
    }
    for d in 0..devices.count() {
        let valid = source.chunk.copies[d].valid.get();
        for (first, count) in (away & valid).runs() {
            if move_run(devices, d, (source, a, first), (target, b), count, around)? {
                let start = source.page(first).0;
                moved.push(ByteRange { start, end: start + count * PAGE });
            }
        }
        away = away & !valid;
    }
    Ok(moved)
}

fn move_run(
    devices: &Devices,
    d: usize,
    (source, a, first): (&Guard, HostAddr, usize),
    (target, b): (&Guard, HostAddr),
    count: usize,
    around: ByteRange,
) -> Result<bool> {
    let to_page = b.page_in_chunk() + first - a.page_in_chunk();
    let run = PageMask::span(to_page, count);
    // Fresh and plain, all of it; if not (a prefetch of an earlier block at this address), the caller copies.
    if !run.within(target.chunk.managed.get()) || !target.chunk.is_plain(run) {
        return Ok(false);
    }
    let copy = &target.chunk.copies[d];
    if copy.base.load(Relaxed) == 0 {
        let at = window::device_addr(devices, d, target.at, around)?;
        let (before, after) = super::outward::room(target.at, around);
        devices.at(d).commit(at, before, after)?;
        STATS.device_bytes.add(CHUNK as u64);
        copy.base.store(at.0, Relaxed);
    }
    let len = run.count() * PAGE;
    let from = DeviceAddr(source.chunk.copies[d].base.load(Relaxed)).add(first * PAGE);
    let to = DeviceAddr(copy.base.load(Relaxed)).add(to_page * PAGE);
    devices.at(d).copy_peer(to, devices.at(d), from, len)?;
    STATS.bytes_not_copied.add(len as u64); // not over the bus
    protect(target, run, Prot::None)?;
    copy.valid.add(run);
    target.chunk.host.remove(run);
    Ok(true)
}
