//! To the host: fill where nobody can see it, then put in place in one step. Reached by the signal handler: signal-safe
//! with a device that serves faults directly; with a driver, the service thread runs it.

use super::{Stop, near_vma_limit, settle, watched};
use crate::addr::{CHUNK, DeviceAddr, HostAddr, PAGE};
use crate::chunk::{Guard, Kind};
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::fork;
use crate::holds;
use crate::inflight;
use crate::mask::PageMask;
use crate::pool;
use crate::scratch;
use crate::stats::STATS;
use crate::sys::map::{self, Prot};
use crate::sys::procmem;
use crate::sys::reserve;
use crate::sys::thread;
use crate::sys::vma::Maps;
use crate::trace::{self, What};
use crate::uffd;
use core::sync::atomic::Ordering::*;

/// More mappings than this from elsewhere in one chunk, and what comes next is written where it lies, which adds none.
const MOST_PIECES: u16 = 96;

/// So many pages that come at once come out of a spare block, which has its memory: small pages come from the kernel one by one.
const MANY: usize = 128;

/// Makes `want` (managed pages of one chunk) valid on the host, and with `write` valid only there. The caller has made
/// sure that no kernel may be writing them. Returns how many pages came home. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn to_host(g: &Guard, want: PageMask, write: bool) -> core::result::Result<usize, Stop> {
    if near_vma_limit() && !g.is_watched() && may_flatten(g) {
        let all = want | g.chunk.managed.get() & g.chunk.on_devices() & !inflight::written_by_kernels(g.at);
        // What else is there may be lost, or in the way: then only what was asked for, as ever.
        if let Ok(came_home) = flatten(g, all) {
            return Ok(came_home);
        }
    }
    bring(g, want, write).or_else(|failed| bring_sound(g, want, write, failed))
}

/// What is on a device that is lost keeps nothing else of `want` away; `failed` is the answer all the same.
#[cold]
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn bring_sound(g: &Guard, want: PageMask, write: bool, failed: Stop) -> core::result::Result<usize, Stop> {
    let sound = want & sound(g);
    if matches!(failed, Stop::Fail(_)) && sound != want && !sound.within(g.chunk.host.get()) {
        let _ = bring(g, sound, write);
    }
    Err(failed)
}

/// The pages that can be had.
fn sound(g: &Guard) -> PageMask {
    Devices::get().map_or(g.chunk.host.get(), |devices| super::elsewhere(g.chunk, devices, usize::MAX))
}

/// [`to_host`], wherever it comes to lie.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn bring(g: &Guard, want: PageMask, write: bool) -> core::result::Result<usize, Stop> {
    let c = g.chunk;
    let mut want = want;
    if near_vma_limit() && !g.is_watched() && g.is_exchangeable() && !want.within(c.host.get()) {
        want = want | c.managed.get() & c.on_devices() & sound(g) & !inflight::written_by_kernels(g.at);
    }
    let missing = want & !c.host.get();
    if let Some(page) = (missing & !c.on_devices()).first() {
        return Err(Error::Lost { arg: "addr", addr: g.page(page).0 }.into());
    }
    if missing.is_empty() {
        return if write { take_from_devices(g, want) } else { Ok(0) };
    }
    if let Some(devices) = Devices::get() {
        if g.is_watched() {
            watched::bring(g, devices, missing, write)?;
        } else if missing == c.managed.get() & !c.host.get() && may_replace_chunk(g, missing) {
            whole(g, devices, missing, write)?;
        } else if near_vma_limit() || c.strangers.load(Relaxed) > MOST_PIECES {
            in_place(g, devices, missing, write)?;
        } else {
            parts(g, devices, missing, write)?;
        }
    }
    STATS.moves_to_host.add(1);
    came(g, missing, write);
    if write && want != missing {
        take_from_devices(g, want)?;
    }
    Ok(missing.count())
}

/// Records that pages were copied home. Signal-safe.
fn came(g: &Guard, pages: PageMask, write: bool) {
    trace::record(|| {
        let (addr, len) = trace::place(g.span_of(pages));
        What::Home { addr, len, why: g.why.get(), write, copied: (pages.count() * PAGE) as u64, spared: 0 }
    });
}

/// Whether the pages of a chunk that can't be exchanged can all get one protection: the free ones of a slab have that
/// already.
fn may_flatten(g: &Guard) -> bool {
    g.chunk.kind() == Kind::Slab && !thread::forked() && !fork::is_forking()
}

/// Near the limit of mappings all of a slab comes home, to one protection: this adds no mapping, and block by block there
/// would be no end of them. How many pages came; on failure all is as it was.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn flatten(g: &Guard, want: PageMask) -> Result<usize> {
    let c = g.chunk;
    let missing = want & !c.host.get();
    if let Some(page) = (missing & !c.on_devices()).first() {
        return Err(Error::Lost { arg: "addr", addr: g.page(page).0 });
    }
    let stayed = c.managed.get() & c.host.get() & !c.on_devices();
    if let Some(devices) = Devices::get().filter(|_| !missing.is_empty()) {
        fill_in_place(g, devices, missing)?;
        STATS.moves_to_host.add(1);
        came(g, missing, true);
    }
    drop_copies(g, want);
    c.host.add(missing);
    // Pinned pages may be a mapping of the program's own.
    let special =
        c.user_none.get() | c.user_read_only.get() | c.on_devices() | !c.host.get() | c.pinned.get();
    if !c.managed.get().meets(special)
        && is_open(g, stayed)
        && map::protect(g.at, CHUNK, Prot::ReadWrite).is_ok()
    {
        g.merged();
    } else {
        let _ = settle(g, want); // the fault path tries again what can't be set now
    }
    Ok(missing.count())
}

/// Pages that are valid on both sides become the CPU's alone. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn take_from_devices(g: &Guard, pages: PageMask) -> core::result::Result<usize, Stop> {
    let both = pages & g.chunk.on_devices();
    if !both.is_empty() {
        drop_copies(g, both);
        settle(g, both)?;
        trace::record(|| {
            let (addr, len) = trace::place(g.span_of(both));
            What::Taken { addr, len, why: g.why.get() }
        });
    }
    Ok(0)
}

pub(super) fn drop_copies(g: &Guard, pages: PageMask) {
    super::account_prefetched(g, pages, false);
    for copy in &g.chunk.copies[..crate::chunk::device_count()] {
        if copy.valid.get().meets(pages) {
            copy.valid.remove(pages);
        }
    }
}

/// Whether to exchange the whole chunk: nothing stays on the host that would have to be copied along, and closed for that, or
/// mappings are short. There a chunk of one mapping is filled in place instead, which adds none.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn may_replace_chunk(g: &Guard, missing: PageMask) -> bool {
    let alone = missing == g.chunk.managed.get();
    let pieces = g.chunk.pieces.load(Relaxed);
    let near = near_vma_limit();
    // What is in use by the kernel, or by a DMA, stays the memory that it is; and what the program has closed is opened for
    // nobody, which copying it along would do.
    let kept = g.chunk.pinned.get() | g.chunk.user_none.get() | holds::pages_in(g.at);
    if !alone && g.chunk.managed.get().meets(kept & !missing) {
        return false;
    }
    let wanted = if alone { !near || pieces > 1 } else { near };
    let stayed = g.chunk.managed.get() & !missing & !g.chunk.on_devices();
    g.is_exchangeable() && wanted && is_open(g, stayed)
}

/// Whether the program can read and write all of `pages`, which were not away, and nothing else can be done with them: what it
/// has done to them itself (made them executable, or put other memory there) is learnt only when they leave.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn is_open(g: &Guard, pages: PageMask) -> bool {
    if pages.is_empty() {
        return true;
    }
    let maps = Maps::open();
    pages.runs().all(|(first, count)| {
        let (mut at, end) = (g.page(first), g.page(first + count));
        while at < end {
            match maps.at(at) {
                Some(v) if v.read && v.write && !v.exec && v.private_anonymous => at = HostAddr(v.end),
                _ => return false,
            }
        }
        true
    })
}

/// Copies the devices' bytes of `pages` to `to`, which mirrors the chunk. Where one fails, another may have them. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(super) fn fetch(g: &Guard, devices: &Devices, pages: PageMask, to: HostAddr) -> Result<()> {
    let (mut rest, mut failed) = (pages, Ok(()));
    for d in devices.sound_first() {
        let copy = &g.chunk.copies[d];
        let here = rest & copy.valid.get();
        let base = DeviceAddr(copy.base.load(Relaxed));
        if here.is_empty() {
            continue;
        }
        let copy = || devices.at(d).copy_out(&mut g.copy_runs(here, base, to));
        match copy().or_else(|_| copy()).or_else(|_| copy()) {
            Ok(()) => {
                STATS.copied_home(g.why.get(), here.count() * PAGE);
                rest = rest & !here;
            }
            Err(e) => failed = Err(e),
        }
    }
    match rest.first() {
        None => Ok(()),
        Some(page) => failed.and(Err(Error::Lost { arg: "addr", addr: g.page(page).0 })),
    }
}

/// The states after `pages` came home.
pub(super) fn arrived(g: &Guard, pages: PageMask, write: bool) {
    if write {
        drop_copies(g, pages);
    }
    g.chunk.host.add(pages);
}

/// Exchanges the whole chunk by a filled spare block: one mapping, one huge page if it can be.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn whole(g: &Guard, devices: &Devices, missing: PageMask, write: bool) -> Result<()> {
    let c = g.chunk;
    let here = c.managed.get() & !missing;
    let Some(spare) = pool::take() else { return parts(g, devices, missing, write) };
    let filled = (|| {
        fetch(g, devices, missing, spare.at)?;
        if !here.is_empty() {
            // Pages that live in place come along; while they are copied nobody may write them.
            super::protect(g, here, Prot::Read)?;
            let _reading = uffd::reading(g.at);
            // A page may be missing, or have been closed a moment ago.
            reserve::staying(|| {
                for (first, count) in here.runs() {
                    // SAFETY: readable managed pages that nobody can write now, into a block only we know.
                    unsafe {
                        let (to, from) = (spare.at.add(first * PAGE).ptr(), g.page(first).ptr());
                        core::ptr::copy_nonoverlapping(from.cast_const(), to, count * PAGE);
                    }
                }
            });
        }
        for (first, count) in (!(missing | here)).runs() {
            map::zero(spare.at.add(first * PAGE), count * PAGE); // the block may hold another chunk's bytes
        }
        Ok(())
    })();
    let special = c.user_none.get() | c.user_read_only.get();
    let uniform = here.is_empty() && special.is_empty();
    let closed = uniform && g.early.get();
    let came_along = filled.is_ok() && !here.is_empty();
    let placed = filled.and_then(|()| {
        let prot = match (uniform && !closed, write) {
            (false, _) => Prot::None,
            (true, true) => Prot::ReadWrite,
            (true, false) => Prot::Read,
        };
        if prot != Prot::ReadWrite {
            map::protect(spare.at, CHUNK, prot)?;
        }
        map::move_pages(spare.at, g.at, CHUNK, prot)
    });
    if placed.is_err() && came_along {
        put_back(g, here, spare.at);
    }
    pool::put(spare, placed.is_err());
    if let Err(e) = placed {
        if !here.is_empty() {
            let _ = settle(g, here);
        }
        return match e {
            Error::NoMemory { .. } | Error::System { .. } => in_place(g, devices, missing, write),
            e => Err(e),
        };
    }
    g.set_pieces(1);
    arrived(g, missing, write);
    if closed {
        g.close_early(missing.count());
    }
    if uniform { Ok(()) } else { settle(g, PageMask::FULL) }
}

/// A block that `here` has been copied into could not be put in place, and the attempt may have taken away what was there.
#[cold]
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn put_back(g: &Guard, here: PageMask, from: HostAddr) {
    let back = map::protect(from, CHUNK, Prot::ReadWrite).and_then(|()| write_through(g, here, from));
    if back.is_err() {
        g.chunk.host.remove(here); // lost, and said to be, but for what a device has
    }
}

/// Where parts of a chunk are filled before they are put in place.
enum Source {
    Scratch(scratch::Scratch),
    /// What lies between the runs is given back in the end.
    Spare(Option<pool::Spare>, HostAddr),
}

impl Source {
    #[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
    fn take(pages: PageMask) -> Option<Source> {
        if pages.count() >= MANY
            && let Some(spare) = pool::take()
        {
            let at = spare.at;
            return Some(Source::Spare(Some(spare), at));
        }
        scratch::take(pages).map(Source::Scratch)
    }
    /// Page n of them is filled here + n pages.
    fn mirror(&self) -> HostAddr {
        match self {
            Source::Scratch(scratch) => scratch.mirror,
            Source::Spare(_, at) => *at,
        }
    }
    /// A part was made less than writable.
    fn reopen(&self, from: HostAddr, len: usize) {
        match self {
            Source::Scratch(scratch) => scratch.reopen(from, len),
            // One mapping again; whoever takes it makes it writable if this fails.
            Source::Spare(..) => drop(map::protect(from, len, Prot::ReadWrite)),
        }
    }
    /// Not all of it was put in place.
    fn empty(&self) {
        if let Source::Scratch(scratch) = self {
            scratch.empty();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Spare(spare, at) = self
            && let Some(spare) = spare.take()
        {
            let _ = map::give_back(*at, CHUNK);
            pool::put(spare, false);
        }
    }
}

/// Puts runs of pages in place from a scratch block, or many of them from a spare one, each in one step. What is there already
/// stays as it is: the kernel may be at work on it.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn parts(g: &Guard, devices: &Devices, missing: PageMask, write: bool) -> Result<()> {
    let c = g.chunk;
    let Some(source) = Source::take(missing) else { return in_place(g, devices, missing, write) };
    let mirror = source.mirror();
    if let Err(e) = fetch(g, devices, missing, mirror) {
        source.empty();
        return Err(e);
    }
    let mut result = Ok(());
    for (first, count) in missing.runs() {
        let run = PageMask::span(first, count);
        let (from, len) = (HostAddr(mirror.0 + first * PAGE), count * PAGE);
        let uniform = !run.meets(c.user_none.get() | c.user_read_only.get());
        let prot = match (uniform, write) {
            (false, _) => Prot::None,
            (true, true) => Prot::ReadWrite,
            (true, false) => Prot::Read,
        };
        result = if prot == Prot::ReadWrite { Ok(()) } else { map::protect(from, len, prot) };
        result = result.and_then(|()| map::move_pages(from, g.page(first), len, prot));
        if prot != Prot::ReadWrite {
            source.reopen(from, len);
        }
        if result.is_err() {
            break;
        }
        g.split(true);
        arrived(g, run, write);
        if !uniform {
            settle(g, run)?;
        }
    }
    let Err(e) = result else { return Ok(()) };
    source.empty();
    drop(source);
    match e {
        Error::NoMemory { .. } | Error::System { .. } => in_place(g, devices, missing & !c.host.get(), write),
        e => Err(e),
    }
}

/// Fills the pages where they are, through /proc/self/mem: slower, but adds no mapping that would not merge again.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn in_place(g: &Guard, devices: &Devices, missing: PageMask, write: bool) -> Result<()> {
    fill_in_place(g, devices, missing)?;
    // The bytes are in place. If the protection can't be set now, the fault path tries again.
    arrived(g, missing, write);
    settle(g, missing)
}

/// Writes the devices' bytes into the pages as they are.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn fill_in_place(g: &Guard, devices: &Devices, missing: PageMask) -> Result<()> {
    let Some(spare) = pool::take() else {
        return Err(Error::NoMemory { what: "a spare block", bytes: CHUNK });
    };
    let filled = fetch(g, devices, missing, spare.at).and_then(|()| {
        write_through(g, missing, spare.at).or_else(|e| {
            if uffd::is_off() {
                return Err(e);
            }
            // What is away by protection can lie in a block that another chunk has had watched: what is missing there can't be
            // written so. Nobody may find it open and empty meanwhile.
            super::protect(g, missing, Prot::None)?;
            watched::unwatch(g, missing);
            write_through(g, missing, spare.at)
        })
    });
    pool::put(spare, true);
    filled
}

/// Writes `pages`, which are filled at `mirror`, whatever their protection.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn write_through(g: &Guard, pages: PageMask, mirror: HostAddr) -> Result<()> {
    pages.runs().try_for_each(|(first, n)| procmem::fill(g.page(first), mirror.add(first * PAGE), n * PAGE))
}
