//! Chunks that userfaultfd watches: what the rest of `migrate` does by protections of mappings is done here page by page.
//! Away is missing; valid on both sides is write-protected; the mapping's own protection is the program's, always. `bring`,
//! `absent` and what they call are reached by the signal handler: signal-safe.
//!
//! A block is watched from the first time on that any of it leaves, so memory that no device ever had costs nothing more.
//! What of it was never touched is missing, too, and filled with zeros when it is (`absent`).

use super::extent;
use super::homeward::{arrived, fetch};
use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::{Chunk, Guard, Kind, Watched};
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::log::log;
use crate::mask::PageMask;
use crate::policy;
use crate::pool;
use crate::scratch;
use crate::sys::map::{self, Prot};
use crate::sys::pagemap::Pagemap;
use crate::sys::segv::Verdict;
use crate::sys::stderr;
use crate::sys::vma::Maps;
use crate::uffd::{self, Delivery};
use core::sync::atomic::{Ordering::SeqCst, fence};

/// So many pages come home as copies when they are read, and stay valid on the device: 64 KiB take 12 us so, and 7 as the
/// pages themselves. More come themselves, four times as fast, and are the host's alone: only copies can be write-protected
/// from their first moment on.
pub(crate) const FEW: usize = 16;

/// Sees to it that `want` is watched, before any of it leaves. Whether the chunk is: if its block can't be, or something is
/// away by protection still, that way it is.
pub(super) fn watch(g: &Guard, want: PageMask, around: ByteRange) -> Result<bool> {
    let c = g.chunk;
    let before = g.watched();
    match before {
        Watched::All => return Ok(true),
        Watched::No if uffd::is_off() => return Ok(false),
        Watched::No if c.managed.get().meets(!c.host.get() | c.on_devices()) => return Ok(false),
        _ => {}
    }
    let whole = match c.kind() {
        Kind::Adopted => around.pages_out(),
        Kind::Slab | Kind::Unused => g.range(),
        Kind::Large => {
            let start = around.start & !(CHUNK - 1);
            ByteRange { start, end: around.end.next_multiple_of(CHUNK) }
        }
    };
    let covers = |r: ByteRange| {
        let part = ByteRange { start: r.start.max(g.at.0), end: r.end.min(g.at.0 + CHUNK) };
        c.managed.get().within(PageMask::of(part))
    };
    if before == Watched::No && extent::watch_whole(g, whole) {
        g.set_watched(if covers(whole) { Watched::All } else { Watched::Some });
        if c.kind() == Kind::Slab {
            // Blocks of others, which the kernel may be given although nothing of them was ever touched; and one that begins now.
            fence(SeqCst);
            make_present(g, c.managed.get() & !want)?;
        }
        return Ok(true);
    }
    // Mappings of another kind are among it, or came later: page by page what is asked for.
    for (i, (first, count)) in want.runs().enumerate() {
        if let Err(e) = uffd::watch(g.page(first).range(count * PAGE)) {
            log!(Info, "{:#x} is not watched: {e}", g.page(first).0);
            if before != Watched::No {
                return Err(Error::NotMigratable { arg: "addr", addr: g.page(first).0 });
            }
            // All of it goes by protection: what is watched can't be filled through /proc/self/mem.
            for (first, count) in want.runs().take(i) {
                uffd::unwatch(g.page(first).range(count * PAGE));
            }
            return Ok(false);
        }
    }
    g.set_watched(Watched::Some);
    Ok(true)
}

/// Pages stay in the program's hands, which are not to be watched any more. They are home.
pub(crate) fn unwatch(g: &Guard, pages: PageMask) {
    // Whatever the chunk's record says: a block is watched as a whole when some chunk of it first leaves.
    if !uffd::is_off() {
        for (first, count) in pages.runs() {
            uffd::unwatch(g.page(first).range(count * PAGE));
        }
    }
}

/// Writers wait from here on.
pub(super) fn freeze(g: &Guard, pages: PageMask) -> Result<()> {
    if set_protected(g, pages, true).is_ok() {
        return Ok(());
    }
    // The program has mapped something new there without a word: that is to be watched first.
    for (first, count) in pages.runs() {
        uffd::watch(g.page(first).range(count * PAGE))?;
    }
    set_protected(g, pages, true)
}

fn set_protected(g: &Guard, pages: PageMask, on: bool) -> Result<()> {
    pages.runs().try_for_each(|(first, count)| uffd::protect(g.page(first), count * PAGE, on))
}

/// Takes pages from the CPU; their memory goes into the pool of spare blocks, or is given back. What is gone counts as such,
/// also when the rest fails.
pub(super) fn hide(g: &Guard, pages: PageMask) -> Result<()> {
    if pages.is_full()
        && let Some(spare) = pool::take_cold()
    {
        let moved = map::move_pages(g.at, spare.at, CHUNK, Prot::ReadWrite).is_ok();
        pool::put(spare, moved);
        if moved {
            g.chunk.host.remove(pages);
            return Ok(());
        }
    }
    for (first, count) in pages.runs() {
        map::take_away(g.page(first), count * PAGE)?;
        g.chunk.host.remove(PageMask::span(first, count));
    }
    Ok(())
}

/// Lets the CPU do with `pages` what their states allow. What is away is missing, and needs nothing.
pub(super) fn apply(g: &Guard, pages: PageMask) -> Result<()> {
    let here = pages & g.chunk.host.get();
    let shared = here & g.chunk.on_devices();
    set_protected(g, shared, true)?;
    set_protected(g, here & !shared, false)
}

/// Gives the mappings of `pages` the program's protection, after [`close`].
pub(super) fn open(g: &Guard, pages: PageMask) -> Result<()> {
    let c = g.chunk;
    let managed = pages & c.managed.get();
    let (none, read_only) = (managed & c.user_none.get(), managed & c.user_read_only.get());
    for (set, prot) in
        [(none, Prot::None), (read_only, Prot::Read), (managed & !none & !read_only, Prot::ReadWrite)]
    {
        protect(g, set, prot)?;
    }
    Ok(())
}

/// The program's own protection.
pub(super) fn protect(g: &Guard, pages: PageMask, prot: Prot) -> Result<()> {
    pages.runs().try_for_each(|(first, count)| map::protect(g.page(first), count * PAGE, prot))
}

/// Makes a page inaccessible: whoever touches it gets SIGSEGV, and with it an answer, and who finds the page so opens it again.
/// Without the chunk's lock: the toucher may have it, or a thread that a driver does not let go.
pub(crate) fn close(chunk: &Chunk, addr: HostAddr) -> Result<()> {
    let one = PageMask::span(addr.page_in_chunk(), 1);
    chunk.unsettled.add(one);
    let closed = map::protect(HostAddr(addr.0 & !(PAGE - 1)), PAGE, Prot::None);
    chunk.unsettled.add(one); // somebody may have settled it in between, before there was anything to open
    if !chunk.managed.has(addr.page_in_chunk()) {
        // It is the program's own again, and nobody would open it.
        return map::protect(HostAddr(addr.0 & !(PAGE - 1)), PAGE, Prot::ReadWrite);
    }
    closed
}

/// How often what got lost on its way home is fetched again.
const TRIES: usize = 3;

/// Brings `missing` home.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(super) fn bring(g: &Guard, devices: &Devices, missing: PageMask, write: bool) -> Result<()> {
    let mut rest = missing;
    for _ in 0..TRIES {
        bring_once(g, devices, rest, write)?;
        rest = missing & !g.chunk.host.get();
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(Error::System { call: "UFFDIO_MOVE", errno: uffd::NOWHERE })
}

/// Brings `missing` home. On success what is not there got lost on its way, and the devices have it still.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn bring_once(g: &Guard, devices: &Devices, missing: PageMask, write: bool) -> Result<()> {
    if missing.is_full()
        && let Some(spare) = pool::take()
    {
        let placed = fetch(g, devices, missing, spare.at).map(|()| place(g, missing, spare.at, write));
        // What is left of it after a part has gone is as good as none.
        let gone = matches!(placed, Ok(Landed { moved: true, .. }));
        pool::put(spare, !gone);
        return placed?.result;
    }
    let Some(scratch) = scratch::take(missing) else {
        return Err(Error::NoMemory { what: "a scratch block", bytes: CHUNK });
    };
    let placed =
        fetch(g, devices, missing, scratch.mirror).map(|()| place(g, missing, scratch.mirror, write));
    let emptied = matches!(placed, Ok(Landed { moved: true, result: Ok(()) }));
    if !emptied && missing.count() > FEW {
        scratch.empty();
    }
    placed?.result
}

struct Landed {
    moved: bool,
    result: Result<()>,
}

/// Puts what is in `from`, which mirrors the chunk, where it is missing. What is in place is the host's, also when the rest
/// fails.
fn place(g: &Guard, missing: PageMask, from: HostAddr, write: bool) -> Landed {
    let mut landed = Landed { moved: false, result: Ok(()) };
    let closed = g.chunk.user_none.get() | g.chunk.user_read_only.get();
    for (first, count) in missing.runs() {
        let movable = !closed.meets(PageMask::span(first, count));
        let placed = uffd::place(g.page(first), from.add(first * PAGE), count * PAGE, !write, movable);
        landed.moved |= placed.moved;
        if placed.bytes > 0 {
            let lost = placed.nowhere.runs().map(|(n, count)| PageMask::span(first + n, count));
            let lost = lost.fold(PageMask::EMPTY, |all, run| all | run);
            arrived(g, PageMask::span(first, placed.bytes / PAGE) & !lost, write);
        }
        if placed.result.is_err() {
            landed.result = placed.result;
            break;
        }
    }
    landed
}

const NO_MEMORY: Verdict = Verdict::Bus("there is no memory for the page");

/// A touch of a page that is missing or write-protected: the answer, unless the page is on a device and has to come home, or
/// its copies there have to go.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn absent(g: &Guard, page: usize, write: bool) -> Option<Verdict> {
    let c = g.chunk;
    let one = PageMask::span(page, 1);
    if !g.is_watched() {
        // Not any more, or what is left of it: freed memory, or the end of the runtime. Or it has never been, and is the
        // program's own affair.
        if let Err(Error::NoMemory { .. }) = uffd::zero(g.page(page), PAGE) {
            return Some(NO_MEMORY);
        }
        // Filled while it was read for a device, in a block that is watched for another chunk.
        let _ = uffd::protect(g.page(page), PAGE, false);
        let ours = Maps::open().at(g.page(page)).is_none_or(|v| v.private_anonymous);
        return Some(if ours { Verdict::Resolved } else { Verdict::NotOurs });
    }
    if c.managed.has(page) {
        if !c.host.has(page) {
            return None;
        }
        if one.meets(c.on_devices()) {
            return if write { None } else { Some(uffd::fill_hole(g.page(page))) };
        }
    }
    let filled = fill(g, page, write).and_then(|()| set_protected(g, one, false));
    Some(match filled {
        Ok(()) => Verdict::Resolved,
        Err(Error::NoMemory { .. }) => NO_MEMORY,
        // Not watched: it may be a file's mapping, whose touches are not ours.
        Err(_) => match Maps::open().at(g.page(page)) {
            Some(v) if !v.private_anonymous => Verdict::NotOurs,
            _ => Verdict::Resolved,
        },
    })
}

/// Zeros for a page that holds nothing, and for its neighbours that hold nothing either.
fn fill(g: &Guard, page: usize, write: bool) -> Result<()> {
    let c = g.chunk;
    let block = policy::same_block(c, page) & c.host.get() & !c.on_devices();
    if write
        && block.is_full()
        && g.is_open()
        && Pagemap::open().present(g.at).is_some_and(|p| p.is_empty())
        && let Some(spare) = pool::take()
    {
        map::zero(spare.at, CHUNK);
        let placed = uffd::place(g.at, spare.at, CHUNK, false, true);
        pool::put(spare, !placed.moved);
        if placed.bytes > 0 {
            return Ok(());
        }
    }
    let near = PageMask::span(page / FEW * FEW, FEW) & block | PageMask::span(page, 1);
    match near.runs().try_for_each(|(first, count)| uffd::zero(g.page(first), count * PAGE)) {
        Ok(()) => Ok(()),
        // Neighbours of another adopted range may not be watched: then for this page alone.
        Err(_) => uffd::zero(g.page(page), PAGE),
    }
}

impl Guard {
    /// Whether the program has closed none of it.
    fn is_open(&self) -> bool {
        !self.chunk.managed.get().meets(self.chunk.user_none.get() | self.chunk.user_read_only.get())
    }
}

/// The kernel is about to touch `pages`, which are home, and a missing one is an error to it where touches are signals.
/// Whatever the chunk's record says: a block is watched as a whole when some chunk of it first leaves, now or later.
pub(crate) fn make_present(g: &Guard, pages: PageMask) -> Result<()> {
    if uffd::delivery() != Delivery::Signal {
        return Ok(());
    }
    let here = pages & g.chunk.host.get() & !g.chunk.user_none.get();
    if g.is_watched() {
        return fill_watched(g, here);
    }
    here.runs().try_for_each(|(first, count)| fill_empty(g, first, count))
}

/// `pages`, which are home, are about to be touched: whose touches are noticed by userfaultfd are made to be there, so that it needs
/// neither memory nor an answer then.
pub(crate) fn fill_missing(g: &Guard, pages: PageMask) -> Result<()> {
    if uffd::is_off() {
        return Ok(());
    }
    let here = pages & g.chunk.host.get() & !g.chunk.user_none.get();
    if g.is_watched() {
        return fill_watched(g, here);
    }
    here.runs().try_for_each(|(first, count)| {
        // One page tells what is not watched, which is nearly all of it: the kernel fills it by itself.
        match uffd::zero_if_watched(g.page(first), PAGE) {
            None => Ok(()),
            Some(Err(e)) => Err(e),
            Some(Ok(())) => uffd::zero_if_watched(g.page(first), count * PAGE).unwrap_or(Ok(())),
        }
    })
}

/// Fills what is empty of `here`, pages of a chunk that is watched; what devices share is protected from the first moment on.
fn fill_watched(g: &Guard, here: PageMask) -> Result<()> {
    let empty = here & !Pagemap::open().present(g.at).unwrap_or(PageMask::EMPTY);
    let shared = empty & g.chunk.on_devices();
    (empty & !shared).runs().try_for_each(|(first, count)| fill_empty(g, first, count))?;
    shared.runs().try_for_each(|(first, count)| uffd::zero_protected(g.page(first), count * PAGE))
}

/// Sees to it that host pages are there, zeros where nothing is: those that may be written without being noticed by
/// userfaultfd.
fn fill_empty(g: &Guard, first: usize, count: usize) -> Result<()> {
    // Where touches are messages, the kernel's own would wait for the chunk's lock.
    let quick = uffd::delivery() == Delivery::Signal;
    let fill = |page: usize, count: usize| match quick && map::populate_read(g.page(page), count * PAGE) {
        true => Some(Ok(())),
        false => uffd::zero_if_watched(g.page(page), count * PAGE),
    };
    if let Some(result) = fill(first, count) {
        return result;
    }
    // Mapping by mapping: each is watched, or is not. Where it costs much to ask which there are, page by page.
    let (maps, end) = (Maps::open(), first + count);
    let mut page = first;
    while page < end {
        let mapping = if maps.is_quick() { maps.at(g.page(page)) } else { None };
        let next = mapping.map_or(page + 1, |v| end.min((v.end - g.at.0) / PAGE));
        // Neither: the kernel can fill it when it touches it, or there is nothing that can be.
        fill(page, next - page).unwrap_or(Ok(()))?;
        page = next;
    }
    Ok(())
}

/// In a forked child nothing is watched, and what was away would read as zeros: it is made inaccessible. The child has
/// one thread, and it holds the chunk's lock.
pub(crate) fn seal_in_child(chunk: &'static Chunk, at: HostAddr) {
    if !chunk.is_watched() {
        return;
    }
    let away = chunk.managed.get() & !chunk.host.get();
    for (first, count) in away.runs() {
        if map::protect(at.add(first * PAGE), count * PAGE, Prot::None).is_err() {
            stderr::fatal("a forked child can't be kept from memory that it does not have", at.0);
        }
    }
}
