//! States that begin and end: memory becomes managed, stops being managed, loses its contents, changes its protection or
//! is pinned. API context with signals blocked and the chunk's lock held, never the signal handler.

use super::{apply_protection, backing, settle, watched};
use crate::addr::{ByteRange, CHUNK, PAGE};
use crate::chunk::{Guard, Kind, Watched};
use crate::device::Devices;
use crate::error::Result;
use crate::mask::PageMask;
use crate::stats::STATS;
use crate::sys::map::{self, Prot};
use crate::trace::{self, What};
use core::sync::atomic::Ordering::*;

/// Pages of the heap or of the program become managed: all their bytes are the host's.
pub(crate) fn adopt(g: &Guard, pages: PageMask, read_only: PageMask, none: PageMask) {
    let c = g.chunk;
    debug_assert!(!c.managed.get().meets(pages));
    c.copies.iter().for_each(|copy| copy.valid.remove(pages));
    c.user_read_only.set(c.user_read_only.get() & !pages | read_only & pages);
    c.user_none.set(c.user_none.get() & !pages | none & pages);
    c.pinned.remove(pages);
    c.host.add(pages);
    c.managed.add(pages);
    g.has_new_mappings();
}

/// A whole chunk of the heap starts anew: host bytes everywhere, managed is set by the heap.
pub(crate) fn start_block(g: &Guard, managed: PageMask) {
    let c = g.chunk;
    c.copies.iter().for_each(|copy| copy.valid.set(PageMask::EMPTY));
    c.user_read_only.set(PageMask::EMPTY);
    c.user_none.set(PageMask::EMPTY);
    c.pinned.set(PageMask::EMPTY);
    c.prefetched.set(PageMask::EMPTY);
    c.host.set(PageMask::FULL);
    c.managed.set(managed);
    c.advice.store(0, Relaxed);
    c.asked_for.take();
    c.unsettled.take();
    g.set_watched(Watched::No);
}

/// The contents of `pages` do not matter any more: copies are dropped, host memory is given back, the pages read as
/// zeros and are the host's. The program's protection stays.
pub(crate) fn discard(g: &Guard, pages: PageMask) -> Result<()> {
    make_plain(g, pages)?;
    for (first, count) in pages.runs() {
        map::give_back(g.page(first), count * PAGE)?;
    }
    if pages.is_full() && g.chunk.kind() == Kind::Large {
        map::huge_pages(g.at, CHUNK, true); // coming back from a device may have cost the mapping its advice
    }
    STATS.bytes_not_copied.add((pages.count() * PAGE) as u64);
    trace::record(|| {
        let (addr, len) = trace::place(g.span_of(pages));
        What::Discard { addr, len, spared: (pages.count() * PAGE) as u64 }
    });
    Ok(())
}

/// As [`discard`], but what is on the host may stay: for blocks that are freed.
pub(crate) fn make_plain(g: &Guard, pages: PageMask) -> Result<()> {
    super::follow::reclaim(g, pages)?;
    let c = g.chunk;
    let away = pages & (!c.host.get() | c.on_devices());
    if away.is_empty() {
        return Ok(());
    }
    super::account_prefetched(g, away, false);
    super::account_early(g, false);
    c.copies.iter().for_each(|copy| copy.valid.remove(away));
    c.host.add(away);
    settle(g, away)
}

/// A whole chunk of the heap ends: its copies, pins and device memory go.
pub(crate) fn forget_chunk(g: &Guard) {
    let c = g.chunk;
    super::follow::reclaimed(g);
    super::account_prefetched(g, PageMask::FULL, false);
    super::account_early(g, false);
    c.copies.iter().for_each(|copy| copy.valid.set(PageMask::EMPTY));
    c.host.set(PageMask::EMPTY);
    c.pinned.set(PageMask::EMPTY);
    end_of_chunk(g);
}

/// Part of a chunk is the program's own again, or nobody's: what is on a device only was given up. Nothing is done to the
/// memory, which may be somebody else's already.
pub(crate) fn disown(g: &Guard, pages: PageMask) {
    let c = g.chunk;
    super::account_prefetched(g, pages, false);
    c.copies.iter().for_each(|copy| copy.valid.remove(pages));
    c.managed.remove(pages);
    c.host.remove(pages);
    c.pinned.remove(pages);
    c.user_none.remove(pages);
    c.user_read_only.remove(pages);
}

/// No page of the chunk is managed any more.
pub(crate) fn end_of_chunk(g: &Guard) {
    release_device(g);
    // Of the memory that was there, not of what comes to these addresses next.
    g.chunk.advice.store(0, Relaxed);
    g.chunk.asked_for.take();
    g.set_pieces(0);
    g.set_watched(Watched::No);
}

/// Gives the chunk's device memory back, on every device. Nothing there is valid or in use.
pub(crate) fn release_device(g: &Guard) {
    let Some(devices) = Devices::get() else { return };
    for d in 0..devices.count() {
        debug_assert!(g.chunk.copies[d].valid.get().is_empty());
        backing::decommit(g, devices, d);
    }
}

/// The program's own protection of `pages`: kept in the table, applied as far as the states allow.
pub(crate) fn set_user_protection(g: &Guard, pages: PageMask, read: bool, write: bool) -> Result<()> {
    let c = g.chunk;
    super::PROTECTION_CHANGES.fetch_add(1, AcqRel);
    let before = (c.user_none.get(), c.user_read_only.get());
    c.user_none.set(if read { before.0 & !pages } else { before.0 | pages });
    c.user_read_only.set(if read && !write { before.1 | pages } else { before.1 & !pages });
    let prot = match (read, write) {
        (false, _) => Prot::None,
        (true, false) => Prot::Read,
        (true, true) => Prot::ReadWrite,
    };
    let done = match g.is_watched() {
        true => watched::protect(g, pages, prot),
        false => apply_protection(g, pages),
    };
    done.inspect_err(|_| {
        c.user_none.set(before.0);
        c.user_read_only.set(before.1);
        let _ = settle(g, pages);
    })
}

/// Which pages of the chunk are pinned.
pub(crate) fn set_pinned(g: &Guard, pages: PageMask) {
    g.chunk.pinned.set(pages);
}

/// The bytes of `part` as pages of its chunk, those that it covers wholly.
impl PageMask {
    /// The pages of one chunk that lie wholly in `part`.
    pub(crate) fn inside(part: ByteRange) -> PageMask {
        let inner = part.pages_in();
        if inner.len() == 0 { PageMask::EMPTY } else { PageMask::of(inner) }
    }
}
