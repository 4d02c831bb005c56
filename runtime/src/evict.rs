//! When a device has no memory left: who leaves. Asked by acquire, launches, migrate and prefetch, with no chunk's lock held;
//! the order is the policy's (`policy`), by when launches used what. Nothing that a kernel uses goes, nothing that is pinned,
//! and nothing that is being made room for. API context, never the signal handler.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::{Chunk, Guard};
use crate::device::Devices;
use crate::error::Error;
use crate::inflight::{self, Blocker, Intent};
use crate::policy::{self, Candidate, Recency};
use crate::sys::futex::Locked;
use crate::sys::signal::Blocked;
use crate::trace::Why;
use crate::{adopt, heap, migrate, spill, table};
use core::sync::atomic::{AtomicU64, Ordering::*};

/// Holders touch no managed memory and have signals blocked.
static RECENCY: Locked<Recency> = Locked::new(Recency::new());
/// Launches and other uses so far.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The most chunks that leave at once.
const MOST: usize = 32;

/// Another launch (or acquire, or move) uses these ranges, each with what it is part of. Signals are blocked.
pub(crate) fn note_uses(device: usize, ranges: impl Iterator<Item = (ByteRange, ByteRange)>) {
    let now = NUMBER.fetch_add(1, Relaxed) + 1;
    let page = |addr: usize| (addr / PAGE) as u64;
    let mut recency = RECENCY.lock();
    for (range, around) in ranges.filter(|(range, _)| range.len() > 0) {
        let (start, end) = (page(range.start), page(range.end + PAGE - 1));
        recency.uses(device as u8, around.start as u64, start, end, now);
    }
}

/// What trying to make room came to.
pub(crate) enum Room {
    /// Something left: try again.
    Made,
    /// All that could leave is used by kernels: wait for this one, and try again.
    Wait(Blocker),
    /// It is what another thread is about to launch, or has: it may be waiting for what the caller is acquiring.
    Meet(Blocker),
    /// There is nothing that could leave.
    None,
}

/// Makes room on `device` for what of `keep` has no memory there yet.
pub(crate) fn make_room(device: usize, keep: &[ByteRange]) -> Room {
    let Some(devices) = Devices::get() else { return Room::None };
    if heap::is_locked_by_me() || adopt::is_locked_by_me() {
        return Room::None; // chaos holds the heap while it moves a block: nobody frees that meanwhile
    }
    match try_to_make_room(devices, device, keep) {
        (Room::None, true) => {
            drop(adopt::lock()); // that call is over
            try_to_make_room(devices, device, keep).0
        }
        (room, _) => room,
    }
}

/// [`make_room`]; and whether a chunk was left alone because a call of the program's is about to end it, or has.
fn try_to_make_room(devices: &Devices, device: usize, keep: &[ByteRange]) -> (Room, bool) {
    let has_memory = |at: HostAddr| chunk(at).is_some_and(|c| c.copies[device].base.load(Relaxed) != 0);
    let lacking = keep.iter().flat_map(|r| r.chunks()).filter(|(at, _)| !has_memory(*at)).count();
    let mut all = heap::chunks_in_use();
    all.extend(adopt::all().into_iter().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>()));
    all.sort_unstable();
    all.dedup();
    all.retain(|at| has_memory(*at) && !keep.iter().any(|k| k.overlaps(whole(*at))));
    let now = NUMBER.load(Relaxed);
    let mut order: Vec<((u8, u64), HostAddr)> = {
        let _blocked = Blocked::new();
        let recency = RECENCY.lock();
        let value = |at: HostAddr| {
            let c = candidate(&recency, device, at);
            let advised = policy::advised::rank(table::known(at).advice.load(Relaxed), device);
            (if c.empty { u8::MAX } else { advised }, policy::the().give_up(&c, now))
        };
        all.into_iter().map(|at| (value(at), at)).collect()
    };
    let peers = spill::peers(devices, device);
    order.sort_by_key(|(value, at)| (core::cmp::Reverse(*value), *at));
    let (mut made, mut in_use, mut met, mut ends) = (0, None, None, false);
    for (_, at) in order {
        let peer = spill::choose_peer(&peers, devices);
        let _blocked = Blocked::new();
        let g = Guard::lock(table::known(at), at);
        g.why.set(Why::Evict);
        let c = g.chunk;
        if c.copies[device].base.load(Relaxed) == 0 || !c.pinned.get().is_empty() {
            continue;
        }
        if !c.copies[device].valid.get().within(c.managed.get()) {
            // Between munmap(2), or what is like it, and our lists (`adopt`): its addresses may be somebody else's at any moment.
            ends = true;
            continue;
        }
        match inflight::blocker(g.range(), Intent::Forget) {
            Some(b) => {
                in_use = in_use.or(Some(b).filter(|b| !b.is_open()));
                met = met.or_else(|| Some(b).filter(|b| inflight::is_brief(b, g.range())));
                continue;
            }
            None if migrate::evict(&g, devices, device, peer).is_err() => continue,
            None => made += 1,
        }
        if made >= lacking.clamp(1, MOST) {
            break;
        }
    }
    let room = match (in_use, met) {
        _ if made > 0 => Room::Made,
        (Some(blocker), _) => Room::Wait(blocker),
        (None, Some(blocker)) => Room::Meet(blocker),
        (None, None) => Room::None,
    };
    (room, ends)
}

/// The error of something that needs `ranges` on a device that has no room for them, with both numbers.
pub(crate) fn too_large(device: usize, ranges: &[ByteRange]) -> Error {
    let mut chunks: Vec<HostAddr> =
        ranges.iter().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>()).collect();
    chunks.sort_unstable();
    chunks.dedup();
    let memory = Devices::get().map_or(0, |d| d.at(device).info().memory_total);
    Error::DeviceMemory { device: device as i32, bytes: chunks.len() * CHUNK, memory }
}

fn chunk(at: HostAddr) -> Option<&'static Chunk> {
    table::get(at)
}

fn whole(at: HostAddr) -> ByteRange {
    ByteRange { start: at.0, end: at.0 + CHUNK }
}

fn candidate(recency: &Recency, device: usize, at: HostAddr) -> Candidate {
    let c = table::known(at);
    let valid = c.copies[device].valid.get();
    let used = recency.of(device as u8, (at.0 / PAGE) as u64, ((at.0 + CHUNK) / PAGE) as u64);
    let clean = valid.within(c.host.get() | c.on_others(device));
    Candidate { used, moved: used.last, clean, empty: valid.is_empty() }
}
