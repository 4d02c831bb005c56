//! madvise(2) over memory some of which is managed. What gives contents up gives the devices' copies up; what needs the
//! pages has them brought home; what a move would not keep, and what the program would notice, ends the moving; the rest
//! is advice about host memory, which pages that come back from a device do not have any more.

use super::lock::pinned;
use super::protect::stay;
use super::spans::{Owner, Step, by_owner, steps};
use crate::addr::{ByteRange, PAGE};
use crate::chunk::Guard;
use crate::mask::PageMask;
use crate::sys::program::{self, Answer};
use crate::sys::signal::Blocked;
use crate::{access, migrate};

/// madvise(2).
pub(crate) fn advise(range: ByteRange, advice: i32) -> Answer {
    match advice {
        program::MADV_DONTNEED | program::MADV_DONTNEED_LOCKED | program::MADV_FREE => discard(range, advice),
        program::MADV_DONTFORK | program::MADV_WIPEONFORK => {
            stay(range)?;
            plainly(range, advice)
        }
        program::MADV_GUARD_INSTALL | program::MADV_GUARD_REMOVE => {
            // A guard is no page and no protection that could be looked up: as a kernel that has none says it.
            if by_owner(range).any(|(_, owner)| owner == Owner::Heap) {
                return Err(program::EINVAL);
            }
            if advice == program::MADV_GUARD_INSTALL {
                stay(range)?;
            }
            plainly(range, advice)
        }
        program::MADV_WILLNEED
        | program::MADV_POPULATE_READ
        | program::MADV_POPULATE_WRITE
        | program::MADV_COLLAPSE
        | program::MADV_HWPOISON
        | program::MADV_SOFT_OFFLINE => {
            let _pins = pinned(range)?;
            plainly(range, advice)
        }
        _ => plainly(range, advice),
    }
}

fn plainly(range: ByteRange, advice: i32) -> Answer {
    // SAFETY: the program asks for it.
    unsafe { program::advise(range, advice) }
}

fn discard(range: ByteRange, advice: i32) -> Answer {
    access::wait_until_unused(range, "addr").map_err(|_| program::EBUSY)?;
    let mut hole = false;
    // The kernel goes on behind a hole, and says so at the end.
    let mut go_on = |answer: Answer| match answer {
        Err(program::ENOMEM) => {
            hole = true;
            Ok(())
        }
        other => other.map(|_| ()),
    };
    for step in steps(range) {
        match step {
            Step::Plain(part) => go_on(plainly(part, advice))?,
            Step::Chunk(at, chunk, part) => {
                let _blocked = Blocked::new();
                let g = Guard::lock(chunk, at);
                let pages = PageMask::of(part);
                let ours = pages & chunk.managed.get();
                go_on(migrate::follow_discard(&g, ours, advice))?;
                for (first, count) in (pages & !ours).runs() {
                    go_on(plainly(g.page(first).range(count * PAGE), advice))?;
                }
            }
        }
    }
    if hole { Err(program::ENOMEM) } else { Ok(0) }
}
