//! mremap(2) of memory some of which is managed, or to a place where some is. What is away comes home first, and then its
//! page tables move, mapping by mapping: what the program takes for one mapping may be many, where pages came back from a
//! device. Contents of the heap's blocks are copied out of them or into them.

use super::follow::put_back;
use super::follow::{Fixed, map_fixed, unmap, wait};
use super::spans::{Owner, by_owner};
use super::{Closed, adopt_new, advise, enter, forget, lock, protect, release_windows, restore, retract};
use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::chunk::Guard;
use crate::inflight;
use crate::mask::PageMask;
use crate::migrate::{self, Stop};
use crate::sys::program::{self, Answer, Mapping};
use crate::sys::signal::Blocked;
use crate::sys::stderr;
use crate::sys::vma::Maps;
use crate::{moves, table};

/// What mremap(2) is asked for. The ranges are of whole pages and not empty.
#[derive(Clone, Copy)]
pub(crate) struct Remap {
    /// What there is.
    pub(crate) old: ByteRange,
    /// How long it is to be.
    pub(crate) new_len: usize,
    /// `MREMAP_*`, a valid combination.
    pub(crate) flags: i32,
    /// Where it is to be, with `MREMAP_FIXED`: apart from the old range.
    pub(crate) to: usize,
}

impl Remap {
    fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }
    /// What is replaced at the new place.
    pub(super) fn target(&self) -> Option<ByteRange> {
        self.has(program::MREMAP_FIXED).then(|| HostAddr(self.to).range(self.new_len))
    }
}

/// An ordinary mapping.
fn ordinary(prot: i32, flags: i32) -> Mapping {
    Mapping { prot, flags: program::MAP_PRIVATE | program::MAP_ANONYMOUS | flags, fd: -1, offset: 0 }
}

/// mremap(2).
pub(crate) fn remap(asked: &Remap) -> Answer {
    let Remap { mut old, new_len, .. } = *asked;
    if !program::is_mapped(old) {
        return Err(program::EFAULT);
    }
    if new_len < old.len() {
        let kept = ByteRange { start: old.start, end: old.start + new_len };
        unmap(ByteRange { start: kept.end, end: old.end })?;
        old = kept;
    }
    let stays = !asked.has(program::MREMAP_FIXED | program::MREMAP_DONTUNMAP);
    if stays && (new_len == old.len() || grow(old, new_len)) {
        return Ok(old.start);
    }
    if !asked.has(program::MREMAP_MAYMOVE) {
        return Err(program::ENOMEM);
    }
    wait(old)?;
    if let Some(target) = asked.target() {
        wait(target)?; // what was there goes
    }
    let asked = Remap { old, ..*asked };
    let heap = |range| by_owner(range).any(|(_, owner)| owner == Owner::Heap);
    if heap(old) || asked.target().is_some_and(heap) { copy(&asked) } else { shift(&asked) }
}

/// What the program may do with the page at `at`.
fn protection(at: usize) -> i32 {
    let addr = HostAddr(at);
    let page = addr.page_in_chunk();
    let _blocked = Blocked::new();
    // Locked, so that what the kernel says is the program's.
    let g = table::get(addr).filter(|c| c.managed.has(page)).map(|c| Guard::lock(c, addr.chunk_start()));
    let chunk = g.as_ref().map(|g| g.chunk);
    let settled = g.as_ref().is_none_or(|g| migrate::settle_again(g).is_ok());
    if settled
        && chunk.is_none_or(|c| c.is_plain(PageMask::span(page, 1)))
        && let Some(v) = Maps::open().at(addr)
    {
        let bit = |yes: bool, bit: i32| if yes { bit } else { 0 };
        return bit(v.read, program::PROT_READ)
            | bit(v.write, program::PROT_WRITE)
            | bit(v.exec, program::PROT_EXEC);
    }
    match chunk {
        Some(c) if c.user_none.has(page) => program::PROT_NONE,
        Some(c) if c.user_read_only.has(page) => program::PROT_READ,
        _ => program::PROT_READ | program::PROT_WRITE,
    }
}

/// Longer where it is, if there is room behind it. Whether that worked.
fn grow(old: ByteRange, new_len: usize) -> bool {
    if by_owner(old).any(|(_, owner)| owner == Owner::Heap) {
        return false; // its address space is not the program's to take
    }
    let Some(more) = ByteRange::new(old.end, new_len - old.len()) else { return false };
    let mapping = ordinary(protection(old.end - PAGE), program::MAP_FIXED_NOREPLACE);
    // SAFETY: replaces nothing.
    match unsafe { program::map(more, mapping) } {
        Ok(at) if at == more.start => {}
        Ok(at) => {
            // A kernel before 4.17 takes the flag for a hint.
            // SAFETY: mapped just now.
            let _ = unsafe { program::unmap(HostAddr(at).range(more.len())) };
            return false;
        }
        Err(_) => return false,
    }
    if mapping.is_ordinary() && lock().regions.cover(old) {
        let _ = adopt_new(more, mapping.reads(), mapping.writes()); // it works unmanaged, too
    }
    true
}

/// Moves page tables.
fn shift(asked: &Remap) -> Answer {
    let old = asked.old;
    let mut waited = 0;
    loop {
        let mut locked = lock();
        match retract(&mut locked.regions, old, true) {
            Ok(()) => {}
            Err(Stop::Fail(_)) => return Err(program::ENOMEM),
            Err(Stop::Wait(b)) => {
                drop(locked);
                inflight::wait_or_busy(b, "addr", old.start, &mut waited).map_err(|_| program::EBUSY)?;
                continue;
            }
        }
        let regions = &mut locked.regions;
        let moving = migrate::Moving::of_program(old).filter(|moving| {
            regions.parts(old).flat_map(ByteRange::chunks).fold(true, |all, (at, part)| {
                moving.unwatch(&Guard::lock(table::known(at), at), PageMask::of(part)) && all
            })
        });
        if moving.is_none() {
            restore(regions, old);
            return Err(program::ENOMEM);
        }
        let target = asked.target();
        if let Some(target) = target
            && retract(regions, target, false).is_err()
        {
            restore(regions, old);
            return Err(program::ENOMEM);
        }
        let moved = place(asked);
        drop(moving);
        let Ok(new) = moved else {
            restore(regions, old);
            if let Some(target) = target {
                put_back(regions, target);
            }
            return moved.map(|r| r.start);
        };
        if let Some(target) = target {
            forget(regions, target);
        }
        if regions.cover(old) {
            let last = protection(new.end - PAGE);
            let _ = enter(regions, new, &|part| closed_as(part, new, old, last)); // it works unmanaged, too
        }
        if asked.has(program::MREMAP_DONTUNMAP) {
            restore(regions, old); // plain pages, empty now
        } else {
            forget(regions, old);
        }
        drop(locked);
        release_windows(old);
        target.into_iter().for_each(release_windows);
        return Ok(new.start);
    }
}

/// What was closed at the old place is so at the new one; what is longer is as `last`.
fn closed_as(part: ByteRange, new: ByteRange, old: ByteRange, last: i32) -> Closed {
    let mut closed = Closed { read_only: PageMask::EMPTY, none: PageMask::EMPTY };
    for at in (part.start..part.end).step_by(PAGE) {
        let from = HostAddr(old.start + (at - new.start));
        let page = from.page_in_chunk();
        let (none, read_only) = if from.0 < old.end {
            let chunk = table::get(from);
            (chunk.is_some_and(|c| c.user_none.has(page)), chunk.is_some_and(|c| c.user_read_only.has(page)))
        } else {
            (last == program::PROT_NONE, last == program::PROT_READ)
        };
        let page = PageMask::span(HostAddr(at).page_in_chunk(), 1);
        if none {
            closed.none = closed.none | page;
        } else if read_only {
            closed.read_only = closed.read_only | page;
        }
    }
    closed
}

/// A new place with the old pages in it.
pub(super) fn place(asked: &Remap) -> Result<ByteRange, i32> {
    let old = asked.old;
    let fixed = if asked.target().is_some() { program::MAP_FIXED } else { 0 };
    let mapping = ordinary(protection(old.end - PAGE), fixed);
    // SAFETY: at a place that the kernel chooses, or over what the program wants replaced.
    let at = unsafe {
        program::map(HostAddr(if fixed == 0 { 0 } else { asked.to }).range(asked.new_len), mapping)?
    };
    let new = HostAddr(at).range(asked.new_len);
    carry(old, new.start, asked.flags & program::MREMAP_DONTUNMAP).inspect_err(|_| {
        // SAFETY: mapped just now.
        let _ = unsafe { program::unmap(new) };
    })?;
    Ok(new)
}

/// Moves the page tables of `from`, one mapping after the other, over what is mapped at `to`. All of it or nothing.
fn carry(from: ByteRange, to: usize, flags: i32) -> Result<(), i32> {
    let maps = Maps::open();
    let mut at = from.start;
    while at < from.end {
        let end = maps.at(HostAddr(at)).map_or(from.end, |v| v.end.min(from.end));
        let piece = ByteRange { start: at, end };
        let flags = flags | program::MREMAP_MAYMOVE | program::MREMAP_FIXED;
        // SAFETY: the program's pages, to a place that was made for them.
        if let Err(e) = unsafe { program::remap(piece, piece.len(), flags, to + at - from.start) } {
            let done = HostAddr(to).range(at - from.start);
            if done.len() > 0 && carry(done, from.start, 0).is_err() {
                stderr::fatal("pages of an mremap could not be put back", from.start);
            }
            return Err(e);
        }
        at = end;
    }
    Ok(())
}

/// Copies between the heap and elsewhere: the heap's pages stay the heap's.
fn copy(asked: &Remap) -> Answer {
    let old = asked.old;
    let prot = protection(old.start);
    if (old.start..old.end).step_by(PAGE).any(|at| protection(at) != prot) {
        return Err(program::EFAULT); // more than one mapping, as the kernel says it
    }
    let open = ordinary(program::PROT_READ | program::PROT_WRITE, 0);
    let new = match asked.target() {
        Some(range) => {
            let mapping = Mapping { flags: open.flags | program::MAP_FIXED, ..open };
            map_fixed(&Fixed { range, mapping, adopt: true })?
        }
        None => {
            // SAFETY: at a place that the kernel chooses.
            let new = unsafe { program::map(HostAddr(0).range(asked.new_len), open)? };
            let _ = adopt_new(HostAddr(new).range(asked.new_len), true, true); // it works unmanaged, too
            new
        }
    };
    // The old place is to be read; if it stays, also to be written, for the case that it can't be emptied otherwise.
    let stays = asked.has(program::MREMAP_DONTUNMAP);
    let needed = if stays { open.prot } else { program::PROT_READ };
    let opened = prot & needed != needed;
    let (len, there) = (old.len().min(asked.new_len), HostAddr(new).range(asked.new_len));
    let give_up = |e: i32| {
        if opened {
            let _ = protect(old, prot);
        }
        let _ = unmap(there);
        Err(e)
    };
    let copied = (|| {
        if opened {
            protect(old, needed)?;
        }
        // SAFETY: both are mapped and may be accessed; they are apart.
        unsafe { moves::copy(HostAddr(old.start), HostAddr(new), len, "addr") }
            .map_err(|_| program::ENOMEM)?;
        if prot != open.prot { protect(there, prot) } else { Ok(0) }
    })();
    if let Err(e) = copied {
        return give_up(e);
    }
    if !stays {
        let _ = unmap(old); // the bytes are there; what can't be given up here, some of which may be gone, is a leak
        return Ok(new);
    }
    if let Err(e) = advise(old, program::MADV_DONTNEED)
        && moves::clear(old, "addr").is_err()
    {
        // SAFETY: as above.
        let back = protect(there, open.prot).is_ok()
            && unsafe { moves::copy(HostAddr(new), HostAddr(old.start), len, "addr") }.is_ok();
        if back {
            return give_up(e);
        }
    }
    if opened {
        let _ = protect(old, prot);
    }
    Ok(new)
}
