//! To a device: write-protect, see what was touched, copy, then take the pages from the CPU and give their memory back.
//! API context with signals blocked, never the signal handler. Until the copy is good the host's pages stay what they
//! are; a failure at any step leaves a state in which every byte is still valid somewhere.

use super::probe::Probe;
use super::{Stop, backing, freeze, protect, settle, watched};
use crate::addr::{ByteRange, CHUNK, DeviceAddr, HostAddr, PAGE};
use crate::calls;
use crate::chunk::Guard;
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::gate;
use crate::holds;
use crate::inflight::{self, Blocker, Claimer, Intent};
use crate::mask::PageMask;
use crate::policy;
use crate::pool;
use crate::stats::STATS;
use crate::sys::map::{self, Prot};
use crate::trace::{self, Sent, What, Why};
use crate::uffd;
use core::sync::atomic::Ordering::*;

/// What the device is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outward {
    /// A copy to read; the host's stays valid.
    Share,
    /// The only copy.
    Own,
    /// The only copy, and its bytes do not matter.
    Overwrite,
}

/// How many bytes of `around` lie before and after the chunk at `at`, in whole chunks.
pub(super) fn room(at: HostAddr, around: ByteRange) -> (usize, usize) {
    let start = around.start & !(CHUNK - 1);
    (at.0 - start, around.end.next_multiple_of(CHUNK) - at.0 - CHUNK)
}

/// Makes `want` (managed pages of one chunk) valid on `device` in the way of `how`, for `by` if it is for an
/// acquire. `around` is the block or adopted range. Returns how many pages changed their place: were not
/// valid there, or were valid on the host too and no longer are.
pub(crate) fn to_device(
    g: &Guard,
    want: PageMask,
    device: usize,
    how: Outward,
    by: Option<Claimer>,
    around: ByteRange,
    probe: &mut Probe,
) -> core::result::Result<usize, Stop> {
    if !matches!(g.why.get(), Why::Behind | Why::Predicted) {
        let asked = g.chunk.asked_for.get();
        let block = want.first().map_or(PageMask::EMPTY, |page| policy::same_block(g.chunk, page));
        if asked.meets(want) {
            g.chunk.asked_for.take();
            g.chunk.asked_for.add(asked & !(want.in_groups() & block));
        }
    }
    let watched = watched::watch(g, want, around)?;
    if !watched
        && !want.is_full()
        && super::near_vma_limit()
        && !want.within(g.chunk.copies[device].valid.get())
    {
        if super::at_vma_limit() && !g.is_exchangeable() {
            return Err(
                Error::NoMemory { what: "mappings (vm.max_map_count)", bytes: want.count() * PAGE }.into()
            );
        }
        widen(g, want, device, how, around, probe);
    }
    send(g, want, device, how, by, around, probe)
}

/// [`to_device`] for exactly these pages.
fn send(
    g: &Guard,
    want: PageMask,
    device: usize,
    how: Outward,
    by: Option<Claimer>,
    around: ByteRange,
    probe: &mut Probe,
) -> core::result::Result<usize, Stop> {
    let c = g.chunk;
    probe.next_chunk();
    let devices = Devices::get().ok_or(Error::NoDevice { device: device as i32, count: 0 })?;
    // What is not a call (the queue of what moves ahead, a stream's prefetch) may come late.
    if calls::is_closed() {
        return Err(Error::Shutdown { call: "sending memory" }.into());
    }
    let host = c.host.get();
    let (valid, others) = (c.copies[device].valid.get(), c.on_others(device));
    let lacks = want & !valid;
    if by.is_some() {
        super::account_prefetched(g, want, true);
    }
    let owned = how != Outward::Share;
    let leaves = if owned { want & host } else { PageMask::EMPTY };
    if (lacks | leaves).is_empty() && !(owned && want.meets(others)) {
        STATS.bytes_not_copied.add((want.count() * PAGE) as u64);
        went(g, want, device, how, 0, want.count() * PAGE);
        return Ok(0);
    }
    if let Some(page) = ((lacks | leaves) & c.pinned.get()).first() {
        return Err(Error::Busy { arg: probe.arg, addr: g.page(page).0, why: "it is pinned" }.into());
    }
    // Before anything is waited for: a page that a system call writes can't be read-only either.
    if let Some(call) = holds::blocker(g.span_of(lacks | leaves), !owned) {
        return Err(Stop::Wait(Blocker::Call(call)));
    }
    // What is being acquired has looked before, and nobody takes it away: a fork waits for it.
    if !leaves.is_empty() && by.is_none() && gate::is_closed() {
        return Err(Stop::Wait(Blocker::Fork));
    }
    if !leaves.is_empty() {
        super::account_early(g, false);
    }
    let lost = lacks & !host & !others;
    if how != Outward::Overwrite
        && let Some(page) = lost.first()
    {
        return Err(Error::Lost { arg: probe.arg, addr: g.page(page).0 }.into());
    }
    // Kernels elsewhere may be writing these pages; kernels here may still be reading older bytes of them.
    let taken = if owned { lacks | want & others } else { lacks };
    if !taken.is_empty() {
        let span = g.span_of(taken);
        let in_order = how == Outward::Overwrite;
        let hindrance = inflight::blocker(span, Intent::Overwrite { device, by, in_order }).or_else(|| {
            if others.meets(taken) {
                inflight::blocker(span, Intent::Take { to: Some(device) })
            } else {
                None
            }
        });
        if let Some(b) = hindrance {
            return Err(Stop::Wait(b));
        }
    }

    let plain = want & host & !valid & !others;
    probe.learn(g, plain)?;
    if let Some(page) = (want & c.user_none.get()).first() {
        return Err(Error::AccessDenied { arg: probe.arg, addr: g.page(page).0 }.into());
    }
    let base = backing::commit(g, devices, device, around)?;
    // Where nothing is copied the driver is not called and can't say it: what the host has may be all that is left.
    devices.at(device).check()?;
    let mut copied = 0;
    if how != Outward::Overwrite {
        copied = match fill(g, devices, device, base, lacks, plain, others, probe) {
            Ok(bytes) => bytes,
            Err(e) => {
                let _ = settle(g, plain);
                return Err(e.into());
            }
        };
    }
    // One that had not been found closed before it was read.
    if let Some(page) = (want & c.user_none.get()).first() {
        let _ = super::settle_again(g);
        let _ = settle(g, plain);
        return Err(Error::AccessDenied { arg: probe.arg, addr: g.page(page).0 }.into());
    }
    let moved = (lacks | leaves).count();
    let spared = ((leaves & valid).count() + lacks.count()) * PAGE - copied;
    STATS.bytes_not_copied.add(((leaves & valid).count() * PAGE) as u64);
    if how == Outward::Share {
        c.copies[device].valid.add(lacks);
        STATS.moves_to_device.add(1);
        went(g, want, device, how, copied, spared);
        return Ok(moved);
    }
    if how == Outward::Own {
        c.copies[device].valid.add(lacks); // from here on both are valid, whatever fails below
    }
    // A whole chunk whose memory the pool does not want: made inaccessible and given back in one step.
    let watched = g.is_watched();
    let gone = !watched && leaves.is_full() && !pool::has_room() && replace(g);
    let hidden = match watched {
        true => watched::hide(g, leaves),
        false if gone => Ok(()),
        false => protect(g, leaves, Prot::None),
    };
    if let Err(e) = hidden {
        if how == Outward::Overwrite {
            c.copies[device].valid.add(lacks & leaves & !c.host.get()); // gone already: it was not to be read
        }
        let _ = settle(g, leaves);
        return Err(e.into());
    }
    if how == Outward::Overwrite {
        c.copies[device].valid.add(lacks);
        STATS.bytes_not_copied.add((lacks.count() * PAGE) as u64);
    }
    c.host.remove(leaves);
    for d in (0..devices.count()).filter(|d| *d != device) {
        if c.copies[d].valid.get().meets(want) {
            c.copies[d].valid.remove(want);
        }
    }
    if !gone && !watched {
        give_up(g, leaves);
    }
    STATS.moves_to_device.add(1);
    went(g, want, device, how, copied, spared);
    Ok(moved)
}

/// Records that a device has pages.
fn went(g: &Guard, pages: PageMask, device: usize, how: Outward, copied: usize, spared: usize) {
    trace::record(|| {
        let (addr, len) = trace::place(g.span_of(pages));
        let sent = match how {
            Outward::Share => Sent::Shared,
            Outward::Own => Sent::Owned,
            Outward::Overwrite => Sent::Overwritten,
        };
        let (device, copied, spared) = (device as u16, copied as u64, spared as u64);
        What::Out { addr, len, why: g.why.get(), device, sent, copied, spared }
    });
}

/// Near the limit of mappings the rest of the chunk goes along, if it can, so that the chunk stays one mapping.
fn widen(g: &Guard, want: PageMask, device: usize, how: Outward, around: ByteRange, probe: &mut Probe) {
    let c = g.chunk;
    let rest = c.managed.get() & !want & c.host.get();
    if !g.is_exchangeable()
        || rest.is_empty()
        || rest.meets(c.pinned.get() | c.user_none.get() | holds::pages_in(g.at))
    {
        return;
    }
    let how = if how == Outward::Share { Outward::Share } else { Outward::Own };
    let everything = g.range();
    if inflight::blocker(everything, Intent::Overwrite { device, by: None, in_order: false }).is_none()
        && inflight::blocker(everything, Intent::Take { to: None }).is_none()
    {
        let _ = send(g, rest, device, how, None, around, probe); // a courtesy: what was asked for comes next
    }
}

/// Gives the device the bytes of `lacks`: from the host what it has, from another device the rest. How many were copied.
#[expect(clippy::too_many_arguments, reason = "one step of to_device, with its names")]
fn fill(
    g: &Guard,
    devices: &Devices,
    device: usize,
    base: DeviceAddr,
    lacks: PageMask,
    plain: PageMask,
    others: PageMask,
    probe: &Probe,
) -> Result<usize> {
    let c = g.chunk;
    let dev = devices.at(device);
    // What came home and could not be opened then can't be read either.
    super::settle_again(g)?;
    freeze(g, plain)?;
    let _reading = uffd::reading(g.at);
    let from_host = lacks & c.host.get();
    let touched = if g.is_watched() {
        probe.touched(g) // what a device has a copy of may be missing here, too
    } else if plain.is_empty() {
        PageMask::FULL
    } else {
        probe.touched(g) | !plain
    };
    let (sent, cleared) = (from_host & touched, from_host & !touched);
    if !sent.is_empty() {
        dev.copy_in(&mut g.copy_runs(sent, base, g.at))?;
        STATS.copied_out(g.why.get(), sent.count() * PAGE);
    }
    if !cleared.is_empty() {
        dev.clear(&mut cleared.runs().map(|(first, count)| (base.add(first * PAGE), count * PAGE)))?;
        STATS.bytes_not_copied.add((cleared.count() * PAGE) as u64);
    }
    let mut rest = lacks & !from_host & others;
    let copied = (sent | rest).count() * PAGE;
    for d in devices.sound_first().filter(|d| *d != device) {
        let here = rest & c.copies[d].valid.get();
        let source = DeviceAddr(c.copies[d].base.load(Relaxed));
        for (first, count) in here.runs() {
            dev.copy_peer(base.add(first * PAGE), devices.at(d), source.add(first * PAGE), count * PAGE)?;
            STATS.copied_out(g.why.get(), count * PAGE);
        }
        rest = rest & !here;
    }
    Ok(copied)
}

/// The CPU can't reach these pages any more: gives their memory back, a whole chunk's to the spare pool if it has room. Not
/// what is mapped in small pages: whoever got that would pay for it at each change of protection from then on.
fn give_up(g: &Guard, pages: PageMask) {
    let nothing_left = !g.chunk.managed.get().meets(g.chunk.host.get());
    let whole = g.chunk.pieces.load(Relaxed) <= 1 && g.chunk.small.load(Relaxed) == 0;
    let collapse = nothing_left && g.is_exchangeable() && !whole;
    if !pages.is_full() && !collapse {
        for (first, count) in pages.runs() {
            let _ = map::give_back(g.page(first), count * PAGE); // failing costs memory, not bytes
        }
        return;
    }
    if whole && let Some(spare) = pool::take_cold() {
        let moved = map::move_pages(g.at, spare.at, CHUNK, Prot::None).is_ok();
        pool::put(spare, moved);
        if moved {
            g.set_pieces(1);
            return;
        }
    }
    if !replace(g) {
        let _ = map::give_back(g.at, CHUNK);
    }
}

/// One inaccessible mapping without memory instead of what was there; neighbours of the same kind merge.
fn replace(g: &Guard) -> bool {
    let done = map::replace(g.at, CHUNK, Prot::None).is_ok();
    if done {
        g.set_pieces(0);
    }
    done
}
