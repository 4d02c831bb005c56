//! munmap(2) and mmap(2) at a fixed address, over memory some of which is managed. The contents are not needed any more:
//! nothing is copied, and devices give their memory back. Kernels that use it are waited for.

use super::lock::keep_no_more;
use super::regions::Regions;
use super::spans::{Owner, by_owner};
use super::{Closed, closed_to, enter, forget, keep, lock, release_windows, restore, retract};
use crate::addr::{ByteRange, PAGE};
use crate::chunk::Guard;
use crate::mask::PageMask;
use crate::sys::program::{self, Answer, Mapping};
use crate::sys::signal::Blocked;
use crate::sys::stderr;
use crate::{access, migrate, pins, table};

/// Waits for the kernels that use any of `range`.
pub(super) fn wait(range: ByteRange) -> Result<(), i32> {
    access::wait_until_unused(range, "addr").map_err(|_| program::EBUSY)
}

/// munmap(2). Parts of the heap's blocks become inaccessible instead: the address space stays the heap's.
pub(crate) fn unmap(range: ByteRange) -> Answer {
    wait(range)?;
    for (part, owner) in by_owner(range) {
        match owner {
            Owner::Heap => seal(part)?,
            Owner::Program => {
                let mut locked = lock();
                // Without `home` it can only be that there is no room in the list.
                retract(&mut locked.regions, part, false).map_err(|_| program::ENOMEM)?;
                // SAFETY: the program asks for it; nothing of ours touches the pages from here on.
                if let Err(e) = unsafe { program::unmap(part) } {
                    restore(&locked.regions, part);
                    return Err(e);
                }
                forget(&mut locked.regions, part);
                drop(locked);
                release_windows(part);
            }
        }
    }
    Ok(0)
}

/// Managed pages of the heap lose their contents and are inaccessible; what else is in `range` is not the program's.
pub(super) fn seal(range: ByteRange) -> Result<(), i32> {
    for (at, part) in range.chunks() {
        let Some(chunk) = table::get(at) else { continue };
        if chunk.pinned.get().meets(PageMask::of(part)) {
            // What is locked can't be given back, and is no longer after a munmap.
            let _ = program::unlock(part);
            pins::forget(part);
        }
        let _blocked = Blocked::new();
        let g = Guard::lock(chunk, at);
        let pages = PageMask::of(part) & chunk.managed.get();
        let pinned = chunk.pinned.get() & !pages;
        migrate::set_pinned(&g, pinned);
        migrate::discard(&g, pages)
            .and_then(|()| migrate::set_user_protection(&g, pages, false, false))
            .map_err(|_| program::ENOMEM)?;
    }
    Ok(())
}

/// mmap(2) with `MAP_FIXED`.
pub(crate) struct Fixed {
    /// Where.
    pub(crate) range: ByteRange,
    /// What.
    pub(crate) mapping: Mapping,
    /// Whether the new memory is to be managed, if it is not the heap's.
    pub(crate) adopt: bool,
}

/// Maps over memory some of which is managed.
pub(crate) fn map_fixed(asked: &Fixed) -> Answer {
    wait(asked.range)?;
    for (part, owner) in by_owner(asked.range) {
        let behind = (part.start - asked.range.start) as i64;
        let mapping = Mapping { offset: asked.mapping.offset.wrapping_add(behind), ..asked.mapping };
        match owner {
            Owner::Heap if mapping.is_ordinary() => renew(part, mapping)?,
            Owner::Heap => lay_over(part, mapping)?,
            Owner::Program => {
                let adopt = asked.adopt && mapping.is_ordinary();
                let closed = adopt.then_some(closed_to(mapping.reads(), mapping.writes()));
                // SAFETY: the program asks for it; nothing of ours touches the pages meanwhile.
                over(part, closed, || unsafe { program::map(part, mapping) })?;
            }
        }
    }
    Ok(asked.range.start)
}

/// Has `replace` put a mapping of another kind at `range`.
pub(crate) fn replace(range: ByteRange, replace: &mut dyn FnMut() -> Answer) -> Answer {
    wait(range)?;
    let blocks: Vec<ByteRange> =
        by_owner(range).filter(|(_, owner)| *owner == Owner::Heap).map(|(part, _)| part).collect();
    let mut at = 0;
    let none: Option<fn(ByteRange) -> Closed> = None;
    let begun = blocks.iter().take_while(|part| begin_over(**part).is_ok()).count();
    let done = match begun == blocks.len() {
        true => over(range, none, || replace().inspect(|address| at = *address)),
        false => Err(program::ENOMEM),
    };
    if done.is_err() {
        blocks[..begun].iter().for_each(|part| cancel_over(*part));
    }
    done?;
    blocks.into_iter().for_each(|part| laid_over(part, program::PROT_READ | program::PROT_WRITE));
    Ok(at)
}

/// Has `replace` put another mapping at `range`, none of it the heap's, which is managed from then on if it is `closed` to
/// somebody.
pub(super) fn over(
    range: ByteRange,
    closed: Option<impl Fn(ByteRange) -> Closed>,
    replace: impl FnOnce() -> Answer,
) -> Result<(), i32> {
    let mut locked = lock();
    let regions = &mut locked.regions;
    retract(regions, range, false).map_err(|_| program::ENOMEM)?;
    if let Err(e) = replace() {
        put_back(regions, range);
        return Err(e);
    }
    forget(regions, range);
    if let Some(closed) = closed {
        let _ = enter(regions, range, &closed); // it works unmanaged, too
    }
    drop(locked);
    release_windows(range);
    Ok(())
}

/// What was to be replaced is not: adopted as before, unless the kernel has unmapped it before it failed. What else of `range` is a
/// hole has been one.
pub(super) fn put_back(regions: &mut Regions, range: ByteRange) {
    if regions.parts(range).all(program::is_mapped) {
        restore(regions, range);
    } else {
        forget(regions, range);
    }
}

/// New ordinary pages in the heap.
fn renew(range: ByteRange, mapping: Mapping) -> Result<(), i32> {
    for (at, part) in range.chunks() {
        let Some(chunk) = table::get(at) else { continue };
        let _blocked = Blocked::new();
        let g = Guard::lock(chunk, at);
        let pages = PageMask::of(part) & g.chunk.managed.get();
        migrate::follow_new_mapping(&g, pages, mapping).inspect_err(|_| {
            if fill_holes(&g, part).is_err() {
                stderr::fatal("pages that a failed mmap has unmapped could not be had back", part.start);
            }
        })?;
    }
    Ok(())
}

/// A mapping of another kind over blocks of the heap: its pages stay where they are until the block is freed.
fn lay_over(range: ByteRange, mapping: Mapping) -> Result<(), i32> {
    begin_over(range)?;
    // SAFETY: the program asks for it; pages that are pinned are on the host, and nothing of ours touches them.
    unsafe { program::map(range, mapping) }.inspect_err(|_| cancel_over(range))?;
    laid_over(range, mapping.prot);
    Ok(())
}

/// What is to lie over blocks of the heap is about to come.
fn begin_over(range: ByteRange) -> Result<(), i32> {
    keep(range)?;
    migrate::foreign_begin(range).map_err(|_| {
        keep_no_more(range);
        program::ENOMEM
    })
}

/// It could not. Where somebody else's mapping lies now, the block's pages are not to move with it.
fn cancel_over(range: ByteRange) {
    let _blocked = Blocked::new();
    let filled = range.chunks().fold(true, |all, (at, part)| {
        table::get(at).is_none_or(|chunk| fill_holes(&Guard::lock(chunk, at), part).is_ok()) && all
    });
    if filled {
        migrate::foreign_cancel(range);
        keep_no_more(range);
    }
}

/// A call has failed that was to replace `part` of a chunk of the heap. If the kernel has unmapped pages before it failed (a driver
/// refuses late), they are as after a munmap, and the address space stays the heap's.
fn fill_holes(g: &Guard, part: ByteRange) -> Answer {
    if program::is_mapped(part) {
        return Ok(0);
    }
    let all =
        (PageMask::of(part) & g.chunk.managed.get()).runs().flat_map(|(first, count)| first..first + count);
    let is_hole = |page: &usize| !program::is_mapped(g.page(*page).range(PAGE));
    let holes = all.filter(is_hole).fold(PageMask::EMPTY, |m, page| m | PageMask::span(page, 1));
    migrate::fill_holes(g, holes)
}

fn laid_over(range: ByteRange, prot: i32) {
    let _blocked = Blocked::new();
    for (at, part) in range.chunks() {
        let Some(chunk) = table::get(at) else { continue };
        let g = Guard::lock(chunk, at);
        migrate::note_protection(&g, PageMask::of(part), prot);
    }
}
