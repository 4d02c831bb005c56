//! When a device has no memory left: who leaves. Asked by acquire, launches, migrate and prefetch, with no chunk's lock held;
//! the order is the policy's (`policy`), by when launches used what. Nothing that a kernel uses goes, nothing of a chunk with pinned pages,
//! and nothing that is being made room for. API context, never the signal handler.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::Guard;
use crate::crew;
use crate::device::{Devices, MAX_DEVICES};
use crate::error::{Error, Result};
use crate::inflight::{self, Blocker, Intent};
use crate::migrate::Moment;
use crate::policy::{self, Candidate, Recency, Uses};
use crate::sys::futex::Locked;
use crate::sys::signal::Blocked;
use crate::trace::Why;
use crate::{adopt, heap, migrate, spill, table};
use core::cmp::Reverse;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Mutex, PoisonError};

/// Holders touch no managed memory and have signals blocked.
static RECENCY: Locked<Recency> = Locked::new(Recency::new());
/// Launches and other uses so far.
static NUMBER: AtomicU64 = AtomicU64::new(0);

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
    /// It is what another thread is about to launch, or has, or the heap: it may be waiting for what the caller is acquiring.
    Meet(Blocker),
    /// There is nothing that could leave.
    None,
}

/// Of somebody who needs room for one thing, and tries again and again.
#[derive(Default)]
pub(crate) struct Tries {
    /// Since when without a success, or 0.
    since: u64,
    /// How often room was made that did not help.
    made: u32,
    /// What was found in use was looked at a second time.
    again: bool,
}

impl Tries {
    /// Makes room on `device` for what of `keep` has no memory there yet; `moment` is from before that was tried, in vain. There is none
    /// if others have had what was made for as long as an API call waits.
    pub(crate) fn make_room(&mut self, device: usize, keep: &[ByteRange], moment: Moment) -> Room {
        match make_room(device, keep, moment, self.made) {
            Room::Made if inflight::is_tired(&mut self.since) => Room::None,
            Room::Made => {
                self.made += 1;
                Room::Made
            }
            // It may not be all that there is by now.
            Room::Wait(_) if !self.again && moment.has_passed(device) => {
                self.again = true;
                Room::Made
            }
            room => {
                *self = Tries::default(); // the caller waits, or gives up
                room
            }
        }
    }
}

/// [`Tries::make_room`], after room has been made `made` times.
fn make_room(device: usize, keep: &[ByteRange], since: Moment, made: u32) -> Room {
    let Some(devices) = Devices::get() else { return Room::None };
    if heap::is_locked_by_me() || adopt::is_locked_by_me() {
        return Room::None; // chaos holds the heap while it moves a block: nobody frees that meanwhile
    }
    let room = match try_to_make_room(devices, device, keep, made) {
        (Room::None, true) => {
            drop(adopt::lock()); // that call is over
            match try_to_make_room(devices, device, keep, made) {
                (Room::None, true) => Room::Meet(Blocker::Heap), // one of many frees
                (room, _) => room,
            }
        }
        (room, _) => room,
    };
    match room {
        // Others were quicker, and what they put there was on no list.
        Room::None if since.is_over(device) => Room::Made,
        room => room,
    }
}

/// [`make_room`]; and whether a chunk was left alone because a call of the program's is about to end it, or has.
fn try_to_make_room(devices: &Devices, device: usize, keep: &[ByteRange], made: u32) -> (Room, bool) {
    let Some(order) = victims(devices, device, keep, 0) else { return (Room::Meet(Blocker::Heap), false) };
    // Memory may come free only with the last chunk of a group: of more that did not help, twice as much.
    let wanted = lacking(device, keep).max(1) + (1 << made.min(6)) - 1;
    let gone = send_away(devices, device, &order, wanted);
    let room = match (gone.in_use, gone.met) {
        _ if gone.count > 0 => Room::Made,
        (Some(blocker), _) => Room::Wait(blocker),
        (None, Some(blocker)) => Room::Meet(blocker),
        (None, None) => Room::None,
    };
    (room, gone.ends)
}

/// So many chunks leave at once for what may be needed: a fork waits for it.
const MOST_EARLY: usize = 32;

/// Makes room on `device` for what of `keep` may be needed by the next launch: of what is not expected to be used in that, nor advised
/// to be there. Whether anything has left. For the background: no lock is held, and nothing is waited for.
pub(crate) fn make_room_early(devices: &Devices, device: usize, keep: ByteRange) -> bool {
    /// At which launch there was nothing that could go: it is not looked for again before the next.
    static IN_VAIN: [AtomicU64; MAX_DEVICES] = [const { AtomicU64::new(u64::MAX) }; MAX_DEVICES];
    let now = NUMBER.load(Relaxed);
    if IN_VAIN[device].load(Relaxed) == now {
        return false;
    }
    let since = Moment::now(device);
    let Some(order) = victims(devices, device, &[keep], 2) else { return false };
    let wanted = lacking(device, &[keep]).clamp(1, MOST_EARLY);
    let made = send_away(devices, device, &order, wanted).count > 0;
    if !made && !since.has_passed(device) {
        IN_VAIN[device].store(now, Relaxed);
    }
    made
}

/// How many chunks have no memory on the device.
fn lacking(device: usize, ranges: &[ByteRange]) -> usize {
    ranges.iter().flat_map(|r| r.chunks()).filter(|(at, _)| !has_memory(*at, device)).count()
}

/// What has become of those that were to leave.
#[derive(Default)]
struct Gone {
    count: usize,
    /// Who uses one that could not: kernels, and who may be waiting for what the caller is acquiring.
    in_use: Option<Blocker>,
    met: Option<Blocker>,
    /// A call of the program's is about to end one.
    ends: bool,
}

/// Has `wanted` chunks leave, in that order, with the crew's help if there are many.
fn send_away(devices: &Devices, device: usize, order: &[HostAddr], wanted: usize) -> Gone {
    let peers = spill::peers(devices, device);
    let claimed = AtomicUsize::new(0); // how many have gone or are going
    let gone = Mutex::new(Gone::default());
    let part = |take: &mut dyn FnMut() -> Option<usize>| {
        while let Some(i) = take() {
            if claimed.fetch_add(1, Relaxed) >= wanted {
                return;
            }
            let left = leave(devices, device, order[i], spill::choose_peer(&peers, devices));
            let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
            match left {
                Left::Gone => {
                    gone.count += 1;
                    continue;
                }
                Left::Ends => gone.ends = true,
                Left::Used { by, brief } => {
                    gone.in_use = gone.in_use.or(Some(by).filter(|b| !b.is_open()));
                    gone.met = gone.met.or(Some(by).filter(|_| brief));
                }
                Left::Kept => {}
            }
            claimed.fetch_sub(1, Relaxed);
        }
    };
    if wanted >= crew::WORTH_SHARING {
        crew::share(order.len(), &part);
    } else {
        let mut all = 0..order.len();
        part(&mut || all.next());
    }
    gone.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// How long the heap is waited for: who has it has signals on, and a handler may be waiting for the caller.
const HEAP_NS: u64 = 10_000_000;

/// All chunks with memory on the device but those of `keep`, in the order in which they are to leave; with `soon` none that is expected
/// to be used in fewer launches, or is advised to be there. `None`: somebody has the heap, and does not let it go.
fn victims(devices: &Devices, device: usize, keep: &[ByteRange], soon: u64) -> Option<Vec<HostAddr>> {
    let mut all = heap::lock_within(HEAP_NS)?.chunks_in_use();
    all.extend(adopt::all().into_iter().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>()));
    all.retain(|at| has_memory(*at, device) && !keep.iter().any(|k| k.overlaps(whole(*at))));
    all.sort_unstable();
    all.dedup();
    let (now, mut uses) = (NUMBER.load(Relaxed), Uses::new());
    {
        let _blocked = Blocked::new();
        RECENCY.lock().copy(device as u8, now, &mut uses);
    }
    uses.sort();
    let value = |at: HostAddr| {
        let c = candidate(&uses, devices, device, at);
        let advised = policy::advised::rank(table::known(at).advice.load(Relaxed), device);
        let goes = soon == 0 || c.empty || c.used.distance(now) >= soon && advised > 0;
        goes.then(|| ((if c.empty { u8::MAX } else { advised }, policy::the().give_up(&c, now)), at))
    };
    let mut order: Vec<((u8, u64), HostAddr)> = all.into_iter().filter_map(value).collect();
    order.sort_unstable_by_key(|(value, at)| (Reverse(*value), *at));
    Some(order.into_iter().map(|(_, at)| at).collect())
}

/// What became of a chunk that was to leave.
enum Left {
    /// It has.
    Gone,
    /// Somebody uses it, who may be waiting for what the caller is acquiring (`brief`: is about to launch, or has).
    Used { by: Blocker, brief: bool },
    /// Its addresses may be somebody else's at any moment: it is between munmap(2), or what is like it, and our lists (`adopt`).
    Ends,
    /// Some of it is pinned and other pages are there, it has gone already, or can't.
    Kept,
}

fn leave(devices: &Devices, device: usize, at: HostAddr, peer: Option<usize>) -> Left {
    let _blocked = Blocked::new();
    let g = Guard::lock(table::known(at), at);
    g.why.set(Why::Evict);
    let c = g.chunk;
    let valid = c.copies[device].valid.get();
    if c.copies[device].base.load(Relaxed) == 0 || !c.pinned.get().is_empty() && !valid.is_empty() {
        return Left::Kept;
    }
    if !valid.within(c.managed.get()) {
        return Left::Ends;
    }
    match inflight::blocker(g.range(), Intent::Forget) {
        Some(by) => Left::Used { by, brief: inflight::is_brief(&by, g.range()) },
        None if migrate::evict(&g, devices, device, peer).is_ok() => Left::Gone,
        None => Left::Kept,
    }
}

/// Refuses what needs more than the device has before anything has moved for it.
pub(crate) fn check_size(devices: &Devices, device: usize, ranges: &[ByteRange]) -> Result<()> {
    // An empty range may be anywhere, at the very end too.
    let chunks = |r: &ByteRange| if r.len() == 0 { 0 } else { (r.end - 1) / CHUNK - r.start / CHUNK + 1 };
    let most = ranges.iter().map(chunks).sum::<usize>().saturating_mul(CHUNK);
    match devices.memory(device) {
        Some(memory) if most as u64 > memory => match too_large(device, ranges) {
            e @ Error::DeviceMemory { bytes, .. } if bytes as u64 > memory => Err(e),
            _ => Ok(()), // some share chunks
        },
        _ => Ok(()),
    }
}

/// The error of something that needs `ranges` on a device that has no room for them, with both numbers.
pub(crate) fn too_large(device: usize, ranges: &[ByteRange]) -> Error {
    let mut chunks: Vec<HostAddr> =
        ranges.iter().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>()).collect();
    chunks.sort_unstable();
    chunks.dedup();
    let memory = Devices::get().and_then(|d| d.memory(device)).unwrap_or(0);
    Error::DeviceMemory { device: device as i32, bytes: chunks.len() * CHUNK, memory }
}

fn has_memory(at: HostAddr, device: usize) -> bool {
    table::get(at).is_some_and(|c| c.copies[device].base.load(Acquire) != 0)
}

fn whole(at: HostAddr) -> ByteRange {
    ByteRange { start: at.0, end: at.0 + CHUNK }
}

fn candidate(uses: &Uses, devices: &Devices, device: usize, at: HostAddr) -> Candidate {
    let c = table::known(at);
    let valid = c.copies[device].valid.get();
    let around = policy::allocation(c, at);
    let used = uses.of(around, (at.0 / PAGE) as u64, ((at.0 + CHUNK) / PAGE) as u64);
    let clean = valid.within(migrate::elsewhere(c, devices, device));
    Candidate { used, moved: used.last, clean, empty: valid.is_empty() } // when it was moved is not noted
}
