//! Moving ranges on request: `hmm_migrate`, `hmm_host_ready`, and what prefetch does later. API context, the streams'
//! threads and the crew, signals blocked while a chunk's lock is held.

use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::chunk::{Guard, Watched};
use crate::crew;
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::evict::{self, Room, Tries};
use crate::gate;
use crate::holds;
use crate::inflight::{self, Blocker, Intent};
use crate::mask::PageMask;
use crate::migrate::{self, Moment, Outward, Probe, Stop};
use crate::policy::advised;
use crate::span::Span;
use crate::sys::map;
use crate::sys::signal::Blocked;
use crate::trace::Why;
use crate::{adopt, heap, pins, table, uffd};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

/// What to do about pages that can't move now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Wait for kernels; pinned pages are an error.
    Wait,
    /// Leave them where they are: it is only a hint.
    Skip,
}

/// Moves a span to a device. Returns how many pages moved.
pub(crate) fn to_device(
    span: Span,
    device: usize,
    patience: Patience,
    why: Why,
    arg: &'static str,
) -> Result<usize> {
    {
        let _blocked = Blocked::new();
        evict::note_uses(device, core::iter::once((span.range, span.around)));
    }
    let room = Some((device, patience));
    each_chunk(span.range, arg, room, &|at, part, probe| send(at, part, span, device, patience, why, probe))
}

/// Makes a range valid on the host; with `write`, only there. Returns how many pages came home.
pub(crate) fn to_host(
    range: ByteRange,
    write: bool,
    patience: Patience,
    why: Why,
    arg: &'static str,
) -> Result<usize> {
    each_chunk(range, arg, None, &|at, part, _| fetch(at, part, write, patience, why))
}

/// Copies `len` bytes on the host, as the program would, but with an error where its touch would be a signal; what is at `to` is
/// anything then. What is not managed is taken as it is. Allocates nothing.
///
/// # Safety
/// These bytes are mapped at both places, and nobody else's; they are apart.
pub(crate) unsafe fn copy(from: HostAddr, to: HostAddr, len: usize, arg: &'static str) -> Result<()> {
    let room = |at: HostAddr| at.chunk_start().0 + CHUNK - at.0;
    let mut done = 0;
    while done < len {
        // A step is inside one chunk on both sides: what is ready has little time to leave again.
        let (a, b) = (from.add(done), to.add(done));
        let step = room(a).min(room(b)).min(len - done);
        ready(a.range(step), false, arg)?;
        ready(b.range(step), true, arg)?;
        // SAFETY: the caller's promise.
        unsafe { core::ptr::copy_nonoverlapping(a.ptr().cast_const(), b.ptr(), step) };
        done += step;
    }
    Ok(())
}

/// Fills a range with zeros as [`copy`] would.
pub(crate) fn clear(range: ByteRange, arg: &'static str) -> Result<()> {
    range.chunks().try_for_each(|(_, part)| {
        ready(part, true, arg)?;
        map::zero(HostAddr(part.start), part.len());
        Ok(())
    })
}

/// Has what is managed of a part of a chunk such that a touch needs nothing more.
fn ready(part: ByteRange, write: bool, arg: &'static str) -> Result<()> {
    let at = HostAddr(part.start).chunk_start();
    let Some(chunk) = table::get(at) else { return Ok(()) };
    let pages = PageMask::of(part) & chunk.managed.get();
    if pages.is_empty() || uffd::is_off() && chunk.is_plain(pages) && chunk.unsettled.is_empty() {
        return Ok(());
    }
    let mut waited = 0;
    loop {
        match fetch(at, part, write, Patience::Wait, Why::Resize) {
            Ok(_) => return Ok(()),
            Err(Stop::Fail(e)) => return Err(e),
            Err(Stop::Wait(b)) => inflight::wait_or_busy(b, arg, part.start, &mut waited)?,
        }
    }
}

/// One try at one chunk's part: how many pages moved.
type Try<'a> = dyn Fn(HostAddr, ByteRange, &mut Probe) -> core::result::Result<usize, Stop> + Sync + 'a;

/// Tries every chunk of the range until it is done, waiting for kernels. A long range is shared with the crew first; what
/// it leaves, because it failed or would have to wait, is done here, in order. If the device of `room` is full, others leave, and the
/// crew helps again.
fn each_chunk(
    range: ByteRange,
    arg: &'static str,
    room: Option<(usize, Patience)>,
    attempt: &Try,
) -> Result<usize> {
    if let (Some((device, _)), Some(devices)) = (room, Devices::get()) {
        evict::check_size(devices, device, &[range])?;
    }
    let mut probe = Probe::new(arg);
    let moved = AtomicUsize::new(0);
    let chunks: Vec<(HostAddr, ByteRange)> = range.chunks().collect();
    let done: Vec<AtomicBool> = chunks.iter().map(|_| AtomicBool::new(false)).collect();
    // From a chunk on, all that is not done.
    let share = |from: usize| {
        if chunks.len() - from < crew::WORTH_SHARING {
            return;
        }
        crew::share(chunks.len() - from, &|take| {
            let mut probe = Probe::new(arg);
            while let Some(i) = take().map(|i| from + i) {
                if done[i].load(Relaxed) {
                    continue;
                }
                let (at, part) = chunks[i];
                match attempt(at, part, &mut probe) {
                    Ok(n) => {
                        moved.fetch_add(n, Relaxed);
                        done[i].store(true, Relaxed);
                    }
                    Err(_) => return,
                }
            }
        });
    };
    share(0);
    for (i, &(at, part)) in chunks.iter().enumerate() {
        if done[i].load(Relaxed) {
            continue;
        }
        let (mut waited, mut tries) = (0, Tries::default());
        loop {
            let moment = room.map(|(device, _)| Moment::now(device));
            match attempt(at, part, &mut probe) {
                Ok(n) => {
                    moved.fetch_add(n, Relaxed);
                    done[i].store(true, Relaxed);
                    break;
                }
                Err(Stop::Fail(e @ Error::DeviceMemory { .. })) => {
                    let Some(((device, patience), moment)) = room.zip(moment) else { return Err(e) };
                    match tries.make_room(device, &[range], moment) {
                        Room::Made => {
                            let before = moved.load(Relaxed);
                            share(i + 1);
                            if moved.load(Relaxed) != before {
                                tries = Tries::default();
                            }
                        }
                        Room::Wait(b) | Room::Meet(b) if patience == Patience::Wait => {
                            inflight::wait_or_busy(b, arg, part.start, &mut waited)?;
                        }
                        // A hint does not wait for who has the heap.
                        Room::Meet(Blocker::Heap) => return Ok(moved.into_inner()),
                        _ => return Err(evict::too_large(device, &[range])),
                    }
                }
                Err(Stop::Fail(e)) => return Err(e),
                Err(Stop::Wait(b)) => {
                    inflight::wait_or_busy(b, arg, part.start, &mut waited)?;
                    tries = Tries::default();
                }
            }
        }
    }
    Ok(moved.into_inner())
}

fn send(
    at: HostAddr,
    part: ByteRange,
    span: Span,
    device: usize,
    patience: Patience,
    why: Why,
    probe: &mut Probe,
) -> core::result::Result<usize, Stop> {
    let chunk = table::known(at);
    let _blocked = Blocked::new();
    let g = Guard::lock(chunk, at);
    g.why.set(why);
    let mut pages = PageMask::of(part);
    if patience == Patience::Skip {
        pages = pages & chunk.managed.get() & !chunk.pinned.get() & !holds::pages_in(at);
    } else if let Some(page) = (pages & !chunk.managed.get()).first() {
        return Err(Error::NotManaged { arg: probe.arg, addr: g.page(page).0 }.into());
    }
    if pages.is_empty() {
        return Ok(0);
    }
    let share = advised::keeps_host(chunk.advice.load(Relaxed));
    let how = if share { Outward::Share } else { Outward::Own };
    let lacked = pages & !chunk.copies[device].valid.get();
    // A prefetch may come when the block is another one's: device addresses are made for that.
    let known = || g.block_around(pages.first()?);
    let around = if patience == Patience::Skip { known().unwrap_or(span.around) } else { span.around };
    match migrate::to_device(&g, pages, device, how, None, around, probe) {
        Ok(n) => {
            if patience == Patience::Skip {
                chunk.prefetched.add(lacked);
            }
            Ok(n)
        }
        Err(Stop::Wait(_)) if patience == Patience::Skip => Ok(0),
        Err(stop) => Err(stop),
    }
}

fn fetch(
    at: HostAddr,
    part: ByteRange,
    write: bool,
    patience: Patience,
    why: Why,
) -> core::result::Result<usize, Stop> {
    let chunk = table::known(at);
    let _blocked = Blocked::new();
    let g = Guard::lock(chunk, at);
    g.why.set(why);
    if why == Why::HostReady {
        migrate::account_early(&g, true);
        if write {
            chunk.asked_for.add(PageMask::of(part));
        }
    }
    let asked = matches!(why, Why::Prefetch | Why::Migrate);
    let write = write && !(asked && advised::keeps_copies(chunk.advice.load(Relaxed)));
    let mut pages = PageMask::of(part) & chunk.managed.get();
    if patience == Patience::Skip {
        pages = pages & !inflight::written_by_kernels(at);
    } else if let Some(b) = inflight::blocker(part.pages_out(), Intent::Take { to: None }) {
        return Err(Stop::Wait(b));
    }
    match migrate::to_host(&g, pages, write) {
        Err(Stop::Wait(_)) if patience == Patience::Skip => Ok(0),
        Ok(came) if why == Why::HostReady => {
            migrate::settle_again(&g)?;
            migrate::make_present(&g, pages)?;
            Ok(came)
        }
        Ok(came) if why == Why::Resize => {
            // Another block's trouble is not this one's.
            migrate::settle_again(&g)
                .map(|_| ())
                .or_else(|e| if chunk.unsettled.get().meets(pages) { Err(e) } else { Ok(()) })?;
            migrate::fill_missing(&g, pages)?;
            Ok(came)
        }
        Ok(came) if patience == Patience::Wait => {
            // What is said to be usable now must not have to be touched for that: there may be no handler left.
            migrate::settle_again(&g)?;
            Ok(came)
        }
        done => done,
    }
}

/// Copies home what is on devices only, up to about `most` bytes; the devices keep their copies. An error leaves pages where
/// they are.
pub(crate) fn copy_all_home(patience: Patience, most: usize, why: Why, arg: &'static str) {
    let mut chunks = heap::chunks_in_use();
    chunks.extend(adopt::all().into_iter().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>()));
    // With a fork's gate closed: what is being acquired may leave yet.
    let all = gate::is_mine() && !inflight::is_empty();
    chunks.retain(|at| table::get(*at).is_some_and(|c| all || !c.managed.get().within(c.host.get())));
    chunks.sort_unstable();
    chunks.dedup();
    chunks.truncate(most / CHUNK);
    let mut rest = &chunks[..];
    while let Some(&first) = rest.first() {
        let count = rest.iter().enumerate().take_while(|(i, at)| at.0 == first.0 + i * CHUNK).count();
        let run = ByteRange { start: first.0, end: first.0 + count * CHUNK };
        // What can't come keeps nothing else away. (Who waits has waited for long then, and a fork looks at each chunk itself.)
        if to_host(run, false, patience, why, arg).is_err() && patience == Patience::Skip {
            for &at in &rest[..count] {
                let _ = to_host(at.range(CHUNK), false, patience, why, arg);
            }
        }
        rest = &rest[count..];
    }
}

/// Brings a range home for good: the host's copy is the only one.
pub(crate) fn bring_home(range: ByteRange, why: Why, arg: &'static str) -> Result<()> {
    to_host(range, true, Patience::Wait, why, arg).map(|_| ())
}

/// Gives up the contents of the whole pages in `range`: of all of them, or of none if one is pinned.
pub(crate) fn discard(range: ByteRange) -> Result<()> {
    crate::access::wait_until_unused(range, "addr")?;
    let pages = range.pages_in();
    pins::while_unpinned(pages, || {
        pages.chunks().try_for_each(|(at, part)| {
            let g = Guard::lock(table::known(at), at);
            let pages = PageMask::of(part) & g.chunk.managed.get();
            debug_assert!(!pages.meets(g.chunk.pinned.get()));
            migrate::discard(&g, pages)
        })
    })
}

/// Gives all device memory back (shutdown; everything is home).
pub(crate) fn release_all(chunks: Vec<crate::addr::HostAddr>, adopted: Vec<ByteRange>) {
    let adopted = adopted.into_iter().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>());
    for at in chunks.into_iter().chain(adopted) {
        let _blocked = Blocked::new();
        let g = Guard::lock(table::known(at), at);
        migrate::release_device(&g);
        g.set_watched(Watched::No);
    }
}
