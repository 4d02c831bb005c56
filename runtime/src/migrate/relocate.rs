//! Moves a block's device-resident bytes to another block on the same device, without a trip over the host: what
//! `hmm_realloc` does with pages that are not on the host; and pages of large blocks that were never anywhere else. API
//! context with signals blocked.

use super::{Stop, backing, extent, protect, settle, watched};
use crate::addr::{ByteRange, CHUNK, DeviceAddr, HostAddr, PAGE, PAGES};
use crate::chunk::{Guard, Kind, Watched};
use crate::device::Devices;
use crate::error::Result;
use crate::holds;
use crate::inflight::{self, Intent};
use crate::mask::PageMask;
use crate::stats::STATS;
use crate::sys::map::{self, Prot};
use crate::sys::signal::Blocked;
use crate::sys::vma::Maps;
use crate::table;
use crate::trace::{self, Sent, What, Why};
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
        let went = {
            let first = Guard::lock(table::known(low), low.chunk_start());
            let second = (low.chunk_start() != high.chunk_start())
                .then(|| Guard::lock(table::known(high), high.chunk_start()));
            let other = second.as_ref().unwrap_or(&first);
            let (source, target) = if a < b { (&first, other) } else { (other, &first) };
            move_step(devices, (source, a), (target, b), step, around)?
        };
        // Without a chunk's lock: the list may be managed memory itself (`HmmAlloc`).
        let place = |(first, count)| a.chunk_start().add(first * PAGE).range(count * PAGE);
        moved.extend(went.runs().map(place));
        done += step;
    }
    Ok(())
}

/// Moves up to `len` bytes from one large block to a fresh one by their pages, as far as nothing but the program has touched
/// them: no device, no pin, no system call. How many bytes; these are not at `from` any more.
pub(crate) fn move_plain(from: HostAddr, to: HostAddr, len: usize) -> usize {
    let is_large = |at| table::known(at).kind() == Kind::Large;
    let may = len >= CHUNK && is_large(from) && is_large(to) && inflight::is_empty();
    if may { move_chunks(from, to, len) } else { 0 }
}

/// [`move_plain`], whatever is in flight elsewhere: what undoes it.
pub(crate) fn move_chunks(from: HostAddr, to: HostAddr, len: usize) -> usize {
    let mut done = 0;
    while done < len {
        let step = (len - done).min(CHUNK);
        let _blocked = Blocked::new();
        if !move_chunk(from.add(done), to.add(done), step.next_multiple_of(PAGE)) {
            break;
        }
        done += step;
    }
    done
}

/// Moves the pages of one chunk to another's place.
fn move_chunk(from: HostAddr, to: HostAddr, len: usize) -> bool {
    let (low, high) = if from < to { (from, to) } else { (to, from) };
    let first = Guard::lock(table::known(low), low);
    let second = Guard::lock(table::known(high), high);
    let is_plain = |g: &Guard| {
        let c = g.chunk;
        c.is_as_new(0, PAGES)
            && c.copies.iter().all(|copy| copy.base.load(Relaxed) == 0)
            && holds::pages_in(g.at).is_empty()
    };
    // A source of several mappings is refused before Linux 6.17, with the target unmapped already.
    let whole = || Maps::open().at(from).is_some_and(|v| from.0 + len <= v.end);
    if !(is_plain(&first) && is_plain(&second) && whole()) {
        return false;
    }
    let (source, target) = if from < to { (&first, &second) } else { (&second, &first) };
    let Some(_moving) = extent::begin_move(source, len) else { return false };
    let moved = map::move_pages(from, to, len, Prot::ReadWrite).is_ok();
    if moved {
        target.set_pieces(1);
        target.set_watched(Watched::No); // what watches a mapping does not go along
    } else {
        let _ = settle(target, PageMask::FULL); // what is there now may be a mere reservation
    }
    moved
}

/// Each page is moved once, from one device. Those that were.
fn move_step(
    devices: &Devices,
    (source, a): (&Guard, HostAddr),
    (target, b): (&Guard, HostAddr),
    len: usize,
    around: ByteRange,
) -> core::result::Result<PageMask, Stop> {
    let pages = PageMask::of(ByteRange { start: a.0, end: a.0 + len });
    let mut away = pages & !source.chunk.host.get() & source.chunk.managed.get();
    let mut moved = PageMask::EMPTY;
    if away.is_empty() {
        return Ok(moved);
    }
    if let Some(busy) = inflight::blocker(source.span_of(away), Intent::Take { to: None }) {
        return Err(Stop::Wait(busy));
    }
    for d in devices.sound_first() {
        let valid = source.chunk.copies[d].valid.get();
        for (first, count) in (away & valid).runs() {
            if move_run(devices, d, (source, a, first), (target, b), count, around)? {
                moved = moved | PageMask::span(first, count);
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
    let base = backing::commit(target, devices, d, around)?;
    let len = run.count() * PAGE;
    let from = DeviceAddr(source.chunk.copies[d].base.load(Relaxed)).add(first * PAGE);
    let to = base.add(to_page * PAGE);
    devices.at(d).copy_peer(to, devices.at(d), from, len)?;
    STATS.bytes_not_copied.add(len as u64); // not over the bus
    if watched::watch(target, run, around)? {
        watched::hide(target, run)?;
    } else {
        protect(target, run, Prot::None).inspect_err(|_| {
            let _ = settle(target, run);
        })?;
    }
    copy.valid.add(run);
    target.chunk.host.remove(run);
    trace::record(|| {
        let (addr, length) = trace::place(target.span_of(run));
        let (why, device, spared) = (Why::Resize, d as u16, len as u64);
        What::Out { addr, len: length, why, device, sent: Sent::Owned, copied: 0, spared }
    });
    Ok(true)
}
