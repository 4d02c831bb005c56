//! The program's own memory, managed in place: which ranges are adopted, and taking them in and out. API context; the
//! fault path never comes here. One lock, taken before any chunk's.

use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::block::Block;
use crate::chunk::{Guard, Kind};
use crate::error::{Error, Result};
use crate::mask::PageMask;
use crate::stats::STATS;
use crate::sys::futex::{self, LockedGuard};
use crate::sys::signal::Blocked;
use crate::sys::vma::Maps;
use crate::{access, migrate, moves, pins, table};
use std::collections::BTreeMap;

struct Region {
    end: usize,
    block: &'static Block,
}

static REGIONS: futex::Locked<BTreeMap<usize, Region>> = futex::Locked::new(BTreeMap::new());

/// The adopted bytes without a gap around the start of `range`, from the start of its region on.
pub(crate) fn around(range: ByteRange) -> Option<ByteRange> {
    let regions = REGIONS.lock();
    let (&start, first) = regions.range(..=range.start).next_back()?;
    if range.start >= first.end {
        return None;
    }
    let mut end = first.end;
    while end < range.end {
        let Some(next) = regions.get(&end) else { break };
        end = next.end;
    }
    Some(ByteRange { start, end })
}

/// The list of adopted ranges, locked.
pub(crate) struct Locked(LockedGuard<'static, BTreeMap<usize, Region>>);

/// Locks the list of adopted ranges.
pub(crate) fn lock() -> Locked {
    Locked(REGIONS.lock())
}

impl Locked {
    /// The adopted ranges.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = ByteRange> {
        self.0.iter().map(|(&start, r)| ByteRange { start, end: r.end })
    }
}

/// All adopted ranges.
pub(crate) fn all() -> Vec<ByteRange> {
    REGIONS.lock().iter().map(|(&start, r)| ByteRange { start, end: r.end }).collect()
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

/// Begins to manage the caller's private anonymous memory where it is. The length is rounded up to whole pages.
pub(crate) fn adopt(addr: *mut u8, len: usize) -> Result<()> {
    let range = page_range(addr, len)?;
    let runs = examine(range)?;
    let mut regions = REGIONS.lock();
    table::ensure(range)?;
    for (at, part) in range.chunks() {
        let chunk = table::known(at);
        let ours = matches!(chunk.kind(), Kind::Slab | Kind::Large);
        if ours || chunk.managed.get().meets(PageMask::of(part)) {
            return Err(Error::InvalidArgument { arg: "addr", why: "part of it is managed already" });
        }
    }
    let block = Block::take(range);
    let _blocked = Blocked::new();
    for (at, part) in range.chunks() {
        let chunk = table::known(at);
        let g = Guard::lock(chunk, at);
        if chunk.kind() == Kind::Unused {
            chunk.set_kind(Kind::Adopted);
            table::account(part, true);
        }
        let pages = |keep: &dyn Fn(bool, bool) -> bool| {
            let of = |r: &ByteRange| {
                let cut = ByteRange { start: r.start.max(part.start), end: r.end.min(part.end) };
                if cut.start < cut.end { PageMask::of(cut) } else { PageMask::EMPTY }
            };
            runs.iter().filter(|(_, r, w)| keep(*r, *w)).fold(PageMask::EMPTY, |m, (r, ..)| m | of(r))
        };
        migrate::adopt(&g, PageMask::of(part), pages(&|r, w| r && !w), pages(&|r, _| !r));
        link(g, block);
    }
    regions.insert(range.start, Region { end: range.end, block });
    STATS.managed_bytes.add(range.len() as u64);
    Ok(())
}

/// A chunk that is managed as a whole counts in its region's summary.
fn link(mut g: Guard, block: &'static Block) {
    let r = block.range();
    if g.chunk.managed.get().is_full() && r.start <= g.at.0 && g.range().end <= r.end {
        g.link(block);
    }
}

/// Brings adopted memory home and stops managing it.
pub(crate) fn disown(addr: *mut u8, len: usize) -> Result<()> {
    let range = page_range(addr, len)?;
    let whole = around(range).ok_or(Error::NotManaged { arg: "addr", addr: range.start })?;
    if range.end > whole.end {
        return Err(Error::OutOfRange { arg: "len", addr: range.start, len, end: whole.end });
    }
    access::wait_until_unused(range, "addr")?;
    moves::bring_home(range, "addr")?;
    pins::forget(range);
    let mut regions = REGIONS.lock();
    let _blocked = Blocked::new();
    let mut at = range.start;
    while at < range.end {
        let found = regions.range(..=at).next_back().map(|(s, r)| (*s, r.end));
        let Some((start, end)) = found.filter(|(_, e)| *e > at) else {
            return Err(Error::NotManaged { arg: "addr", addr: at });
        };
        at = end;
        let Some(region) = regions.remove(&start) else { continue };
        let gone = ByteRange { start: start.max(range.start), end: end.min(range.end) };
        for (chunk_at, _) in (ByteRange { start, end }).chunks() {
            let mut g = Guard::lock(table::known(chunk_at), chunk_at);
            g.unlink_from(region.block);
        }
        for (chunk_at, part) in gone.chunks() {
            let chunk = table::known(chunk_at);
            let g = Guard::lock(chunk, chunk_at);
            // A prefetch may have come in between: a second look under the lock.
            if let Err(migrate::Stop::Fail(e)) = migrate::to_host(&g, PageMask::of(part), true) {
                return Err(e);
            }
            migrate::disown(&g, PageMask::of(part));
            if chunk.managed.get().is_empty() {
                chunk.set_kind(Kind::Unused);
                table::account(part, false);
            }
        }
        STATS.managed_bytes.sub(gone.len() as u64);
        Block::put(region.block);
        for rest in [ByteRange { start, end: gone.start }, ByteRange { start: gone.end, end }] {
            if rest.start < rest.end {
                let block = Block::take(rest);
                for (chunk_at, _) in rest.chunks() {
                    link(Guard::lock(table::known(chunk_at), chunk_at), block);
                }
                regions.insert(rest.start, Region { end: rest.end, block });
            }
        }
    }
    crate::window::release(range);
    Ok(())
}
