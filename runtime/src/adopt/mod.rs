//! The program's own memory, managed in place: which ranges are adopted, and taking them in and out. `follow`, `protect`,
//! `advise` and `remap` do what the program does to its mappings, managed or not; `lock` is for mlock; `child` for forked
//! children. API context, signal handlers of the program included (only `adopt`, `around` and mlock allocate, and nothing does under the lock);
//! the fault path comes to `strays` only. One lock, with signals blocked, taken before pins and any chunk's.
//!
//! What the kernel is to do with adopted pages happens in three steps under that lock: they stop being managed, so that
//! nothing of ours touches them any more; the kernel does it; then they are forgotten, or are managed again if it failed.
//! So an address that the kernel hands out anew is never believed to be managed.

mod advise;
mod child;
mod follow;
mod lock;
mod protect;
mod regions;
mod remap;
mod spans;
pub(crate) mod strays;

pub(crate) use advise::advise;
pub(crate) use child::{
    advise_in_child, map_in_child, protect_in_child, remap_in_child, unmap_in_child,
    unmark as unmark_in_child,
};
pub(crate) use follow::{Fixed, map_fixed, replace, unmap};
pub(crate) use lock::{keep, lock_all, lock_pages, unlock_all, unlock_pages};
pub(crate) use protect::{protect, protect_with_key};
pub(crate) use remap::{Remap, remap};
pub(crate) use spans::any_managed;

use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::block::Block;
use crate::chunk::{Guard, Kind};
use crate::error::{Error, Result};
use crate::inflight::{self, Intent};
use crate::mask::PageMask;
use crate::migrate::{self, Stop};
use crate::stats::STATS;
use crate::sys::futex::{self, LockedGuard};
use crate::sys::signal::Blocked;
use crate::sys::vma::Maps;
use crate::trace::{self, What, Why};
use crate::{access, holds, moves, pins, table, window};
use core::sync::atomic::Ordering::Relaxed;
use regions::Regions;

static REGIONS: futex::Locked<Regions> = futex::Locked::new(Regions::new());

/// The adopted bytes without a gap around the start of `range`, from the start of its region on. Makes the summaries that
/// acquire looks at, which a new mapping is spared.
pub(crate) fn around(range: ByteRange) -> Option<ByteRange> {
    loop {
        let (found, retired, without) = {
            let mut locked = lock();
            let regions = &mut locked.regions;
            (regions.around(range), regions.retired(), regions.without_summary(range))
        };
        if retired.is_none() && without.is_none() {
            return found;
        }
        // Not under the lock: who waits for it may have interrupted malloc.
        let _blocked = Blocked::new();
        retired.into_iter().for_each(Block::put);
        let Some(region) = without else { return found };
        let block = Block::take(region);
        if !lock().regions.summarize(region, block) {
            Block::put(block);
        }
    }
}

/// The list of adopted ranges, locked, with signals blocked: a handler may unmap memory.
pub(crate) struct Locked {
    regions: LockedGuard<'static, Regions>,
    _blocked: Blocked, // dropped last
}

/// Locks the list of adopted ranges.
pub(crate) fn lock() -> Locked {
    let blocked = Blocked::new();
    Locked { regions: REGIONS.lock(), _blocked: blocked }
}

/// Whether this thread is inside of here.
pub(crate) fn is_locked_by_me() -> bool {
    REGIONS.held_by_me()
}

impl Drop for Locked {
    fn drop(&mut self) {
        strays::end();
    }
}

impl Locked {
    /// The adopted ranges.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = ByteRange> {
        self.regions.ranges()
    }
    /// As [`around`].
    pub(crate) fn around(&self, range: ByteRange) -> Option<ByteRange> {
        self.regions.around(range)
    }
}

/// All adopted ranges.
pub(crate) fn all() -> Vec<ByteRange> {
    let mut all = Vec::new();
    loop {
        let locked = lock();
        let count = locked.ranges().count();
        if count <= all.capacity() {
            all.extend(locked.ranges());
            return all;
        }
        drop(locked);
        all.reserve(count + 16);
    }
}

fn page_range(addr: *mut u8, len: usize) -> Result<ByteRange> {
    let start = addr.expose_provenance();
    if start == 0 {
        return Err(Error::NullPointer { arg: "addr" });
    }
    if !start.is_multiple_of(PAGE) {
        return Err(Error::InvalidArgument { arg: "addr", why: "it is not at a page boundary" });
    }
    if len == 0 {
        return Err(Error::InvalidArgument { arg: "len", why: "it is zero" });
    }
    let end = len.checked_next_multiple_of(PAGE).and_then(|l| start.checked_add(l));
    let end = end.ok_or(Error::InvalidArgument { arg: "len", why: "address plus length wraps around" })?;
    Ok(ByteRange { start, end })
}

/// The program's protection of a range that may be adopted: runs of (bytes, may read, may write).
fn examine(range: ByteRange) -> Result<Vec<(ByteRange, bool, bool)>> {
    let maps = Maps::open();
    if !maps.is_open() {
        return Err(Error::Unsupported { what: "hmm_adopt", why: "/proc/self/maps can't be read" });
    }
    let mut runs = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let v = maps.at(HostAddr(at)).ok_or(Error::Hole { arg: "addr", addr: at })?;
        if !v.private_anonymous || v.exec {
            return Err(Error::NotMigratable { arg: "addr", addr: at });
        }
        let end = v.end.min(range.end);
        runs.push((ByteRange { start: at, end }, v.read, v.read && v.write));
        at = end;
    }
    Ok(runs)
}

/// The pages of one chunk that the program has made read-only, and those it has made inaccessible.
struct Closed {
    read_only: PageMask,
    none: PageMask,
}

/// Begins to manage the caller's private anonymous memory where it is. The length is rounded up to whole pages.
pub(crate) fn adopt(addr: *mut u8, len: usize) -> Result<()> {
    let range = page_range(addr, len)?;
    let runs = examine(range)?;
    enter(&mut lock().regions, range, &|part| {
        let pages = |keep: &dyn Fn(bool, bool) -> bool| {
            let of = |r: &ByteRange| {
                let cut = ByteRange { start: r.start.max(part.start), end: r.end.min(part.end) };
                if cut.start < cut.end { PageMask::of(cut) } else { PageMask::EMPTY }
            };
            runs.iter().filter(|(_, r, w)| keep(*r, *w)).fold(PageMask::EMPTY, |m, (r, ..)| m | of(r))
        };
        Closed { read_only: pages(&|r, w| r && !w), none: pages(&|r, _| !r) }
    })
}

/// Begins to manage memory that the program has just mapped, all of it with one protection. Without allocation.
pub(crate) fn adopt_new(range: ByteRange, read: bool, write: bool) -> Result<()> {
    enter(&mut lock().regions, range, &closed_to(read, write))
}

/// One protection for a whole range.
fn closed_to(read: bool, write: bool) -> impl Fn(ByteRange) -> Closed {
    move |part| {
        let pages = |closed: bool| if closed { PageMask::of(part) } else { PageMask::EMPTY };
        Closed { read_only: pages(read && !write), none: pages(!read) }
    }
}

fn enter(regions: &mut Regions, range: ByteRange, closed: &dyn Fn(ByteRange) -> Closed) -> Result<()> {
    table::ensure(range)?;
    regions.make_room()?;
    for (at, part) in range.chunks() {
        let chunk = table::known(at);
        let ours = matches!(chunk.kind(), Kind::Slab | Kind::Large);
        if ours || chunk.managed.get().meets(PageMask::of(part)) {
            return Err(Error::InvalidArgument { arg: "addr", why: "part of it is managed already" });
        }
    }
    for (at, part) in range.chunks() {
        let chunk = table::known(at);
        let g = Guard::lock(chunk, at);
        if chunk.kind() == Kind::Unused {
            chunk.unit.store(0, Relaxed);
            chunk.set_kind(Kind::Adopted);
            table::account(part, true);
        }
        if at.0 > range.start {
            chunk.unit.store(1, Relaxed);
        }
        let Closed { read_only, none } = closed(part);
        migrate::adopt(&g, PageMask::of(part), read_only, none);
    }
    regions.insert(range);
    STATS.managed_bytes.add(range.len() as u64);
    trace::record(|| {
        let (addr, len) = trace::place(range);
        What::Begin { addr, len, why: Why::Adopted }
    });
    Ok(())
}

/// The adopted pages of `range` stop being managed, for the time of a system call; with `home` they are brought home
/// first, for the CPU alone. On failure they are managed still.
fn retract(regions: &mut Regions, range: ByteRange, home: bool) -> core::result::Result<(), Stop> {
    regions.make_room()?;
    regions.retire(range);
    strays::begin();
    for (at, part) in regions.parts(range).flat_map(ByteRange::chunks) {
        let g = Guard::lock(table::known(at), at);
        g.why.set(Why::Unmap);
        let pages = PageMask::of(part);
        if home {
            // Also by kernels that only read: the device's memory may go with the last managed page of the chunk.
            let stopped = match inflight::blocker(part, Intent::Forget) {
                Some(b) => Err(Stop::Wait(b)),
                // With its own protection, too: nobody looks after it any more.
                None => {
                    migrate::to_host(&g, pages, true).and_then(|_| Ok(migrate::settle_again(&g)?)).map(|_| ())
                }
            };
            if let Err(stop) = stopped {
                drop(g);
                restore(regions, range);
                return Err(stop);
            }
        }
        g.chunk.managed.remove(pages);
    }
    migrate::unmanaged();
    Ok(())
}

/// Undoes [`retract`]: the kernel has done nothing.
fn restore(regions: &Regions, range: ByteRange) {
    for (at, part) in regions.parts(range).flat_map(ByteRange::chunks) {
        Guard::lock(table::known(at), at).chunk.managed.add(PageMask::of(part));
    }
}

/// The adopted pages of `range`, retracted before, are the program's own again, or nobody's. Device memory of chunks that
/// have no other managed page is given back.
fn forget(regions: &mut Regions, range: ByteRange) {
    for part in regions.parts(range) {
        let mut pinned = false;
        for (at, part) in part.chunks() {
            let chunk = table::known(at);
            let g = Guard::lock(chunk, at);
            pinned |= chunk.pinned.get().meets(PageMask::of(part));
            migrate::disown(&g, PageMask::of(part));
        }
        // Their lock comes before any chunk's; nobody can have pinned the pages anew.
        if pinned {
            pins::forget(part);
        } else {
            holds::forget(part);
        }
        STATS.managed_bytes.sub(part.len() as u64);
        trace::record(|| {
            let (addr, len) = trace::place(part);
            What::End { addr, len, why: Why::Adopted }
        });
    }
    // Only now: more than one part may be in a chunk.
    for (at, part) in regions.parts(range).flat_map(ByteRange::chunks) {
        let chunk = table::known(at);
        let g = Guard::lock(chunk, at);
        if chunk.managed.get().is_empty() && chunk.kind() == Kind::Adopted {
            migrate::end_of_chunk(&g);
            chunk.set_kind(Kind::Unused);
            table::account(part, false);
        }
    }
    regions.cut(range);
}

/// Brings what is adopted of `range` home and stops managing it; the memory stays as it is.
fn leave(range: ByteRange) -> Result<()> {
    let mut waited = 0;
    loop {
        let mut locked = lock();
        match retract(&mut locked.regions, range, true) {
            Ok(()) => {
                for (at, part) in locked.regions.parts(range).flat_map(ByteRange::chunks) {
                    migrate::unwatch(&Guard::lock(table::known(at), at), PageMask::of(part));
                }
                forget(&mut locked.regions, range);
                drop(locked);
                release_windows(range);
                return Ok(());
            }
            Err(Stop::Fail(e)) => return Err(e),
            Err(Stop::Wait(b)) => {
                drop(locked);
                inflight::wait_or_busy(b, "addr", range.start, &mut waited)?;
            }
        }
    }
}

/// Gives back windows of device addresses that were made for `range` alone.
fn release_windows(range: ByteRange) {
    if !window::is_locked_by_me() {
        window::release(range);
    }
}

/// Brings adopted memory home and stops managing it.
pub(crate) fn disown(addr: *mut u8, len: usize) -> Result<()> {
    let range = page_range(addr, len)?;
    let whole = lock().around(range).ok_or(Error::NotManaged { arg: "addr", addr: range.start })?;
    if range.end > whole.end {
        return Err(Error::OutOfRange { arg: "len", addr: range.start, len, end: whole.end });
    }
    access::wait_until_unused(range, "addr")?;
    moves::bring_home(range, Why::Unmap, "addr")?; // the crew helps; what leaves again in between comes home one by one
    leave(range) // what was pinned is so still if this fails
}
