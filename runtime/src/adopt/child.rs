//! The same calls in a forked child, which has the table and no runtime: no lock is taken, as its holder may not be there.
//! What a page's record says is kept true for the fault handler: it answers faults on what was protected for the sake of
//! the parent's devices, and says what was on a device only.

use super::follow::Fixed;
use super::remap::{Remap, place};
use super::spans::{Step, steps};
use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::chunk::{Chunk, Kind};
use crate::mask::PageMask;
use crate::sys::program::{self, Answer};

/// The parts of `range` with managed pages: the chunk's address, its record, the managed pages.
fn marked(range: ByteRange) -> impl Iterator<Item = (HostAddr, &'static Chunk, PageMask)> {
    steps(range).filter_map(|step| match step {
        Step::Plain(_) => None,
        Step::Chunk(at, chunk, part) => Some((at, chunk, PageMask::of(part) & chunk.managed.get())),
    })
}

fn bytes(at: HostAddr, pages: PageMask) -> impl Iterator<Item = ByteRange> {
    pages.runs().map(move |(first, count)| at.add(first * PAGE).range(count * PAGE))
}

/// What was at `range` is not there any more; faults there are the program's.
pub(crate) fn unmark(range: ByteRange) {
    for (_, chunk, pages) in marked(range) {
        chunk.host.add(pages);
        chunk.copies.iter().for_each(|copy| copy.valid.remove(pages));
        match chunk.kind() {
            Kind::Adopted => chunk.managed.remove(pages),
            _ => chunk.user_none.add(pages), // the block is still to be freed
        }
    }
}

/// munmap(2).
pub(crate) fn unmap_in_child(range: ByteRange) -> Answer {
    // SAFETY: the program asks for it.
    unsafe { program::unmap(range) }.inspect(|_| unmark(range))
}

/// mmap(2) with `MAP_FIXED`.
pub(crate) fn map_in_child(asked: &Fixed) -> Answer {
    // SAFETY: the program asks for it.
    unsafe { program::map(asked.range, asked.mapping) }.inspect(|_| unmark(asked.range))
}

/// mprotect(2). Pages that are not there stay inaccessible, and are said to be so when they are touched.
pub(crate) fn protect_in_child(range: ByteRange, prot: i32) -> Answer {
    for step in steps(range) {
        let (at, chunk, part) = match step {
            Step::Chunk(at, chunk, part) => (at, chunk, PageMask::of(part)),
            Step::Plain(part) => {
                // SAFETY: the program asks for it.
                unsafe { program::protect(part, prot)? };
                continue;
            }
        };
        let ours = part & chunk.managed.get();
        let there = part & !(ours & !chunk.host.get());
        for run in bytes(at, there) {
            // SAFETY: as above.
            unsafe { program::protect(run, prot)? };
        }
        let (none, read_only) = (prot == program::PROT_NONE, prot & program::PROT_WRITE == 0);
        chunk.copies.iter().for_each(|copy| copy.valid.remove(ours & there));
        chunk.user_none.remove(ours);
        chunk.user_read_only.remove(ours);
        if none {
            chunk.user_none.add(ours);
        } else if read_only {
            chunk.user_read_only.add(ours);
        }
    }
    Ok(0)
}

/// What the program itself allows of `pages`, which are on the host, is allowed.
fn open(at: HostAddr, chunk: &Chunk, pages: PageMask) -> Answer {
    let (none, read_only) = (chunk.user_none.get(), chunk.user_read_only.get());
    let all = program::PROT_READ | program::PROT_WRITE;
    for (pages, prot) in [(pages & !none & !read_only, all), (pages & read_only & !none, program::PROT_READ)]
    {
        for run in bytes(at, pages) {
            // SAFETY: memory of the program's, as it has it.
            unsafe { program::protect(run, prot)? };
        }
    }
    Ok(0)
}

/// madvise(2).
pub(crate) fn advise_in_child(range: ByteRange, advice: i32) -> Answer {
    let discards =
        [program::MADV_DONTNEED, program::MADV_DONTNEED_LOCKED, program::MADV_FREE].contains(&advice);
    for (at, chunk, pages) in marked(range).filter(|_| discards) {
        let lost = pages & !chunk.host.get();
        for run in bytes(at, lost) {
            // SAFETY: the program gives the contents up.
            unsafe { program::advise(run, program::MADV_DONTNEED)? };
        }
        chunk.host.add(lost);
        chunk.copies.iter().for_each(|copy| copy.valid.remove(lost));
        open(at, chunk, lost)?;
    }
    // SAFETY: the program asks for it.
    unsafe { program::advise(range, advice) }
}

/// mremap(2). What is not there is inaccessible at the new place, too.
pub(crate) fn remap_in_child(asked: &Remap) -> Answer {
    for (at, chunk, pages) in marked(asked.old) {
        let both = pages & chunk.host.get() & chunk.on_devices();
        chunk.copies.iter().for_each(|copy| copy.valid.remove(both));
        open(at, chunk, both)?;
    }
    // SAFETY: the program asks for it.
    let mut answer = unsafe { program::remap(asked.old, asked.new_len, asked.flags, asked.to) };
    let may_move = asked.flags & program::MREMAP_MAYMOVE != 0;
    if answer == Err(program::EFAULT) && may_move && asked.new_len >= asked.old.len() {
        // What the program takes for one mapping may be many.
        answer = place(asked).map(|new| new.start);
    }
    let at = answer?;
    asked.target().into_iter().for_each(unmark);
    if at != asked.old.start && asked.flags & program::MREMAP_DONTUNMAP == 0 {
        unmark(asked.old);
    } else if asked.new_len < asked.old.len() {
        unmark(ByteRange { start: asked.old.start + asked.new_len, end: asked.old.end });
    }
    Ok(at)
}
