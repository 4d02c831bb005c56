//! What the program does to its mappings, for pages that are managed: protection, advice, and mappings of its own over
//! blocks of the heap. API context with signals blocked and the chunk's lock held, never the signal handler.

use super::{apply_protection, settle};
use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::chunk::Guard;
use crate::error::Result;
use crate::list::List;
use crate::mask::PageMask;
use crate::stats::STATS;
use crate::sys::futex::Locked;
use crate::sys::map::{self, Prot};
use crate::sys::program::{self, Answer};
use crate::sys::signal::Blocked;
use crate::trace::{self, What};
use core::sync::atomic::{AtomicBool, Ordering::*};

/// Pages of the chunk as ranges of bytes.
fn bytes(g: &Guard, pages: PageMask) -> impl Iterator<Item = ByteRange> {
    let at = g.at;
    pages.runs().map(move |(first, count)| at.add(first * PAGE).range(count * PAGE))
}

/// Remembers the program's own protection of `pages`; what was remembered before.
pub(crate) fn note_protection(g: &Guard, pages: PageMask, prot: i32) -> (PageMask, PageMask) {
    let c = g.chunk;
    super::PROTECTION_CHANGES.fetch_add(1, AcqRel);
    let (none, read_only) = (prot == program::PROT_NONE, prot & program::PROT_WRITE == 0);
    let before = (c.user_none.get(), c.user_read_only.get());
    c.user_none.set(if none { before.0 | pages } else { before.0 & !pages });
    c.user_read_only.set(if read_only && !none { before.1 | pages } else { before.1 & !pages });
    before
}

/// mprotect(2) of managed pages: remembered, and applied as far as the states allow. What is plain gets exactly what the
/// program asked for; its mappings are its own.
pub(crate) fn follow_protection(g: &Guard, pages: PageMask, prot: i32) -> Answer {
    let c = g.chunk;
    let plain = if g.is_watched() { pages } else { pages & c.host.get() & !c.on_devices() };
    for run in bytes(g, plain) {
        // SAFETY: the program asks for it, for memory of its own.
        unsafe { program::protect(run, prot)? };
        note_protection(g, PageMask::of(run), prot);
    }
    let away = pages & !plain;
    if away.is_empty() {
        return Ok(0);
    }
    let before = note_protection(g, away, prot);
    apply_protection(g, away).map(|()| 0).map_err(|_| {
        c.user_none.set(before.0);
        c.user_read_only.set(before.1);
        let _ = settle(g, away);
        program::ENOMEM
    })
}

/// The program gives up the contents of `pages` with `advice`: copies are dropped, the pages are the host's, and the kernel
/// does the rest.
pub(crate) fn follow_discard(g: &Guard, pages: PageMask, advice: i32) -> Answer {
    let c = g.chunk;
    let away = pages & (!c.host.get() | c.on_devices());
    if !away.is_empty() {
        let lost = away & !c.host.get();
        super::account_prefetched(g, away, false);
        // Of what was away nothing is on the host: it may be anything but old bytes.
        for run in bytes(g, lost) {
            // SAFETY: pages of ours whose contents are given up.
            unsafe { program::advise(run, program::MADV_DONTNEED)? };
        }
        c.copies.iter().for_each(|copy| copy.valid.remove(away));
        c.host.add(away);
        settle(g, away).map_err(|_| program::ENOMEM)?;
        STATS.bytes_not_copied.add((lost.count() * PAGE) as u64);
        trace::record(|| {
            let (addr, len) = trace::place(g.span_of(away));
            What::Discard { addr, len, spared: (lost.count() * PAGE) as u64 }
        });
    }
    for run in bytes(g, pages) {
        // SAFETY: the program asks for it.
        unsafe { program::advise(run, advice)? };
    }
    Ok(0)
}

/// An ordinary mapping of the program's over managed pages of the heap: they are new pages, and stay managed.
pub(crate) fn follow_new_mapping(g: &Guard, pages: PageMask, m: program::Mapping) -> Answer {
    let c = g.chunk;
    super::account_prefetched(g, pages, false);
    for run in bytes(g, pages) {
        // SAFETY: the program asks for it, over memory of its own.
        unsafe { program::map(run, m)? };
        let new = PageMask::of(run);
        c.copies.iter().for_each(|copy| copy.valid.remove(new));
        c.host.add(new);
        note_protection(g, new, m.prot);
        g.has_new_mappings();
    }
    foreign_end(g, pages);
    Ok(0)
}

/// A call that was to replace managed pages of the heap has failed, and the kernel has unmapped them before: they are as after a
/// munmap. What somebody else has mapped there meanwhile stays, and is an error.
pub(crate) fn fill_holes(g: &Guard, pages: PageMask) -> Answer {
    let flags = program::MAP_PRIVATE | program::MAP_ANONYMOUS | program::MAP_FIXED_NOREPLACE;
    let mapping = program::Mapping { prot: program::PROT_NONE, flags, fd: -1, offset: 0 };
    super::account_prefetched(g, pages, false);
    for run in bytes(g, pages) {
        // SAFETY: replaces nothing.
        let at = unsafe { program::map(run, mapping)? };
        if at != run.start {
            // A kernel before 4.17 takes the flag for a hint.
            // SAFETY: mapped just now.
            let _ = unsafe { program::unmap(HostAddr(at).range(run.len())) };
            return Err(program::ENOMEM);
        }
        let new = PageMask::of(run);
        g.chunk.copies.iter().for_each(|copy| copy.valid.remove(new));
        g.chunk.host.add(new);
        note_protection(g, new, program::PROT_NONE);
        g.has_new_mappings();
    }
    Ok(0)
}

/// Pages of the heap with mappings of the program's over them that are not private anonymous memory: few, if any.
static FOREIGN: Locked<List<ByteRange>> = Locked::new(List::new(65_536, "a list of mappings"));
static ANY_FOREIGN: AtomicBool = AtomicBool::new(false);

/// The program is about to lay a mapping of another kind over pages of the heap, which are pinned.
pub(crate) fn foreign_begin(range: ByteRange) -> Result<()> {
    let _blocked = Blocked::new(); // others take it with a chunk locked, which a handler may wait for
    let mut foreign = FOREIGN.lock();
    foreign.make_room(1)?;
    let last = foreign.all().len();
    foreign.insert(last, range);
    ANY_FOREIGN.store(true, Release);
    Ok(())
}

/// It could not, and there is ordinary memory as before.
pub(crate) fn foreign_cancel(range: ByteRange) {
    let _blocked = Blocked::new();
    let mut foreign = FOREIGN.lock();
    if let Some(i) = foreign.all().iter().rposition(|r| *r == range) {
        foreign.remove(i, 1);
    }
    ANY_FOREIGN.store(!foreign.all().is_empty(), Release);
}

/// The pages of a chunk that have such a mapping.
fn foreign_pages(g: &Guard) -> PageMask {
    if !ANY_FOREIGN.load(Acquire) {
        return PageMask::EMPTY;
    }
    let all = g.range();
    FOREIGN.lock().all().iter().filter(|r| r.overlaps(all)).fold(PageMask::EMPTY, |m, r| {
        let part = ByteRange { start: r.start.max(all.start), end: r.end.min(all.end) };
        m | PageMask::of(part)
    })
}

/// There is ordinary memory again at `pages`.
fn foreign_end(g: &Guard, pages: PageMask) {
    if !foreign_pages(g).meets(pages) {
        return;
    }
    let mut foreign = FOREIGN.lock();
    for gone in bytes(g, pages) {
        while let Some(i) = foreign.all().iter().position(|r| r.overlaps(gone)) {
            let r = foreign.all()[i];
            foreign.remove(i, 1);
            let rest =
                [ByteRange { start: r.start, end: gone.start }, ByteRange { start: gone.end, end: r.end }];
            for part in rest.into_iter().filter(|r| r.start < r.end) {
                if foreign.make_room(1).is_ok() {
                    foreign.insert(i, part);
                }
            }
        }
    }
    ANY_FOREIGN.store(!foreign.all().is_empty(), Release);
}

/// The block that the program had laid mappings over is done with: the heap's own memory again.
pub(super) fn reclaim(g: &Guard, pages: PageMask) -> Result<()> {
    let foreign = foreign_pages(g) & pages;
    for run in bytes(g, foreign) {
        map::replace(crate::addr::HostAddr(run.start), run.len(), Prot::ReadWrite)?;
    }
    if !foreign.is_empty() {
        foreign_end(g, foreign);
        g.has_new_mappings();
    }
    Ok(())
}

/// [`reclaim`], for a chunk that ends: its memory is replaced as a whole.
pub(super) fn reclaimed(g: &Guard) {
    foreign_end(g, PageMask::FULL);
}
