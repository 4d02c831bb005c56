//! mprotect(2) and pkey_mprotect(2) over memory some of which is managed. Protections that a move would not keep (code,
//! protection keys) end the management of adopted memory, and keep blocks of the heap on the host.

use super::lock::keep_no_more;
use super::spans::{Owner, Step, by_owner, steps};
use super::{keep, leave};
use crate::addr::ByteRange;
use crate::chunk::Guard;
use crate::mask::PageMask;
use crate::migrate;
use crate::sys::program::{self, Answer};
use crate::sys::signal::Blocked;

/// mprotect(2).
pub(crate) fn protect(range: ByteRange, prot: i32) -> Answer {
    if prot & !(program::PROT_READ | program::PROT_WRITE) != 0 {
        return settled(range, prot, |part| {
            // SAFETY: the program asks for it, for memory that is not going to move.
            unsafe { program::protect(part, prot) }
        });
    }
    for step in steps(range) {
        match step {
            // SAFETY: the program asks for it.
            Step::Plain(part) => unsafe { program::protect(part, prot)? },
            Step::Chunk(at, chunk, part) => {
                let _blocked = Blocked::new();
                let g = Guard::lock(chunk, at);
                let pages = PageMask::of(part);
                let ours = pages & chunk.managed.get();
                for (first, count) in (pages & !ours).runs() {
                    let run = g.page(first).range(count * crate::addr::PAGE);
                    // SAFETY: the program asks for it.
                    unsafe { program::protect(run, prot)? };
                }
                migrate::follow_protection(&g, ours, prot)?
            }
        };
    }
    Ok(0)
}

/// pkey_mprotect(2).
pub(crate) fn protect_with_key(range: ByteRange, prot: i32, key: i32) -> Answer {
    if key == -1 {
        return protect(range, prot);
    }
    settled(range, prot, |part| {
        // SAFETY: as above.
        unsafe { program::protect_with_key(part, prot, key) }
    })
}

/// Does what does not go together with moving: adopted memory is the program's own first, and the heap's stays on the host
/// until it is freed.
fn settled(range: ByteRange, prot: i32, mut call: impl FnMut(ByteRange) -> Answer) -> Answer {
    stay(range)?;
    let mut start = range.start; // of what it has not been done to
    let done = settle(range, prot, |part| call(part).inspect(|_| start = part.end));
    if done.is_err() {
        stay_no_more(range, start);
    }
    done
}

fn settle(range: ByteRange, prot: i32, mut call: impl FnMut(ByteRange) -> Answer) -> Answer {
    for (part, owner) in by_owner(range) {
        if owner == Owner::Program {
            call(part)?;
            continue;
        }
        for step in steps(part) {
            match step {
                Step::Plain(part) => call(part)?,
                Step::Chunk(at, chunk, part) => {
                    let _blocked = Blocked::new();
                    let g = Guard::lock(chunk, at);
                    call(part)?;
                    let pages = PageMask::of(part) & chunk.managed.get();
                    migrate::note_protection(&g, pages, prot);
                    0
                }
            };
        }
    }
    Ok(0)
}

/// From here on nothing of `range` moves: what is adopted is not managed any more, what is the heap's is pinned.
pub(super) fn stay(range: ByteRange) -> Result<(), i32> {
    for (part, owner) in by_owner(range) {
        let done = match owner {
            Owner::Heap => keep(part),
            Owner::Program => leave(part).map_err(|_| program::EBUSY),
        };
        done.inspect_err(|_| stay_no_more(ByteRange { end: part.start, ..range }, range.start))?;
    }
    Ok(())
}

/// What it was for has failed from `start` on: what the heap has there moves again. What was adopted is the program's own.
fn stay_no_more(range: ByteRange, start: usize) {
    by_owner(range)
        .filter(|(part, owner)| *owner == Owner::Heap && part.start >= start)
        .for_each(|(part, _)| keep_no_more(part));
}
