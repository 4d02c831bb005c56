//! Filled pages are put where pages are missing: the pages themselves, or copies of them; and what has become of those that the
//! kernel moved without saying so. Signal-safe.

use super::{MOVES, answer, half, make};
use crate::addr::{HostAddr, PAGE};
use crate::error::Result;
use crate::mask::PageMask;
use crate::sys::map;
use crate::sys::pagemap::Pagemap;
use crate::sys::uffd::{self as kernel, Request};
use core::sync::atomic::Ordering::Relaxed;

/// The error for pages that are [`Placed::nowhere`].
pub(crate) const NOWHERE: i32 = kernel::ENOENT;

/// How far pages were put in place.
pub(crate) struct Placed {
    /// So many bytes, whole pages.
    pub(crate) bytes: usize,
    /// Some of the source's pages are in place themselves: they are gone from where they were.
    pub(crate) moved: bool,
    /// Those of them that are nowhere: not where they were filled, nor in place. Counted from the first, among `bytes`.
    pub(crate) nowhere: PageMask,
    /// Why not all.
    pub(crate) result: Result<()>,
}

/// Whether a page that could not be moved is not where it was any more, and so is in place: Linux 6.18 says less than it has
/// moved, or that it has moved nothing, where the kernel itself moves pages at the same time (compaction), and refuses those then
/// as there already. A page that is zero, and that something is in the place of, may be either: where there is no /proc, or where a huge
/// page has been made of what is left of the source. What is in place stays.
fn has_gone(pagemap: &Pagemap, page: HostAddr, errno: i32) -> bool {
    pagemap.is_hole(page) == Some(true) || errno == kernel::EEXIST && map::is_zero(page)
}

/// Puts filled pages where pages are missing, each in one step: the pages themselves, or copies of them. Only copies can be
/// write-protected from the first moment on, and only pages of writable mappings can be moved.
pub(crate) fn place(to: HostAddr, from: HostAddr, len: usize, protected: bool, movable: bool) -> Placed {
    let mut moving = movable && !protected && MOVES.load(Relaxed);
    let may_have_gone = moving;
    let (mut bytes, mut most, mut moved, mut idle, mut nowhere) = (0, len, false, 0, PageMask::EMPTY);
    while bytes < len {
        let (to, from, rest) = (to.add(bytes), from.add(bytes), most.min(len - bytes));
        let mut request = match moving {
            true => Request::move_pages(to, from, rest),
            false => Request::copy(to, from, rest, protected),
        };
        let errno = make(&mut request);
        let done = if errno == 0 { rest } else { request.done() };
        bytes += done;
        moved |= moving && done > 0;
        idle = if done > 0 { 0 } else { idle + 1 };
        match errno {
            0 => {}
            kernel::EAGAIN if idle < 1000 => {}
            _ if may_have_gone && has_gone(&Pagemap::open(), from.add(done), errno) => {
                // What is nowhere can't be copied: zeros would be taken for it. Whoever filled it does so again.
                if Pagemap::open().is_hole(to.add(done)) == Some(true) {
                    nowhere = nowhere | PageMask::span(bytes / PAGE, 1);
                }
                bytes += PAGE;
                (moved, idle) = (true, 0);
            }
            // Something is there that nobody has put there: written by a debugger, or through /proc/self/mem.
            kernel::EEXIST if idle < 3 => {
                let _ = map::give_back(to.add(done), PAGE);
            }
            _ if moving => moving = false, // in use by somebody, say: a copy does
            kernel::ENOENT if rest > PAGE => most = half(rest),
            errno => {
                return Placed { bytes, moved, nowhere, result: answer(errno, "UFFDIO_COPY", rest) };
            }
        }
    }
    Placed { bytes, moved, nowhere, result: Ok(()) }
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself does
mod tests {
    use super::*;
    use crate::sys::map::Prot;
    use crate::sys::own_file;
    use crate::sys::thread::is_so_in_child;
    use crate::sys::uffd::{Mode, feature};
    use crate::uffd::{unwatch, watch};

    const PAGES: usize = 4;

    /// Four pages to be placed, one of which has gone already, and may have become zero: what is in place of them, and how placing
    /// ended.
    fn placed_without_one(is_there: bool, is_zero: bool) -> Option<([u8; PAGES], Placed)> {
        let (fd, offered) = kernel::open(Mode::UserOnly, feature::MOVE).ok()?;
        if offered & feature::MOVE == 0 {
            return None;
        }
        own_file::set(fd);
        MOVES.store(true, Relaxed);
        let [to, from] = [0, 1].map(|_| map::map(PAGES * PAGE, PAGE, Prot::ReadWrite, "test").unwrap());
        for page in 0..PAGES {
            // SAFETY: memory of the test's.
            unsafe { from.add(page * PAGE).ptr().write_bytes(1 + page as u8, PAGE) };
        }
        watch(to.range(PAGES * PAGE)).ok()?;
        let second = place(to.add(PAGE), from.add(PAGE), PAGE, false, true);
        assert!(second.moved && second.result.is_ok());
        if !is_there {
            map::give_back(to.add(PAGE), PAGE).unwrap();
        }
        if is_zero {
            map::zero(from.add(PAGE), PAGE);
        }
        let placed = place(to, from, PAGES * PAGE, false, true);
        unwatch(to.range(PAGES * PAGE)); // what is missing can be read
        // SAFETY: memory of the test's.
        Some((core::array::from_fn(|page| unsafe { to.add(page * PAGE).ptr().read_volatile() }), placed))
    }

    /// Catches: a page that has been moved is given up for what was left in its place, which is nothing.
    #[test]
    fn what_has_gone_is_in_place() {
        assert!(is_so_in_child(|| {
            [false, true].into_iter().filter_map(|is_zero| placed_without_one(true, is_zero)).all(
                |(bytes, placed)| {
                    bytes == [1, 2, 3, 4]
                        && placed.bytes == PAGES * PAGE
                        && placed.moved
                        && placed.nowhere.is_empty()
                        && placed.result.is_ok()
                },
            )
        }));
    }

    /// Catches, where there is no /proc: what was there is given up for a page that has gone, or taken for one that has not.
    #[test]
    fn what_has_gone_is_zero() {
        let at = map::map(PAGE, PAGE, Prot::ReadWrite, "test").unwrap();
        let nothing = Pagemap::nowhere();
        assert!(has_gone(&nothing, at, kernel::EEXIST) && !has_gone(&nothing, at, kernel::ENOENT));
        // SAFETY: memory of the test's.
        unsafe { at.add(PAGE - 1).ptr().write_volatile(1) };
        assert!(!has_gone(&nothing, at, kernel::EEXIST));
        map::unmap(at, PAGE);
    }

    /// Catches: zeros for a page that is nowhere.
    #[test]
    fn what_is_nowhere_is_not_placed() {
        assert!(is_so_in_child(|| {
            placed_without_one(false, false).is_none_or(|(bytes, placed)| {
                bytes == [1, 0, 3, 4]
                    && placed.bytes == PAGES * PAGE
                    && placed.nowhere == PageMask::span(1, 1)
                    && placed.result.is_ok()
            })
        }));
    }
}
