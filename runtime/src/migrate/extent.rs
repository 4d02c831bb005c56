//! How much userfaultfd watches at a time: with a page of a block all of the block, with one of an adopted range what lies near
//! it; never what mremap is about to move, nor what the program has had back. API context with signals blocked.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::{Guard, Kind, Watched};
use crate::mask::PageMask;
use crate::sys::futex::Locked;
use crate::sys::signal::Blocked;
use crate::table;
use crate::uffd;

/// What mremap(2) is about to move: no block that it is part of is watched as a whole meanwhile. The first is the program's, for
/// there is one such move at a time.
static MOVING: Locked<[Option<ByteRange>; 8]> = Locked::new([None; 8]);

/// Memory that mremap(2) is about to move, and which is watched by nobody until this is dropped. A mapping that moves may become one
/// with its new neighbours first, if those are watched as it is, and the kernel then takes the watch from all of what they have
/// become.
pub(crate) struct Moving(usize);

impl Moving {
    /// Of adopted memory, with the regions locked until this is dropped.
    pub(crate) fn of_program(range: ByteRange) -> Option<Moving> {
        Moving::begin(range, 0..1)
    }

    /// Of the heap's. `None`: there are too many at this moment.
    fn of_heap(range: ByteRange) -> Option<Moving> {
        Moving::begin(range, 1..8)
    }

    fn begin(range: ByteRange, places: core::ops::Range<usize>) -> Option<Moving> {
        // Also where nothing is watched yet: the engine may start meanwhile.
        let _blocked = Blocked::new();
        let mut moving = MOVING.lock();
        let place = places.into_iter().find(|place| moving[*place].is_none())?;
        moving[place] = Some(range);
        Some(Moving(place))
    }

    /// Ends the watch of a chunk's `pages`, which are home: they are watched anew when some of their chunk leaves. Whether that
    /// worked.
    pub(crate) fn unwatch(&self, g: &Guard, pages: PageMask) -> bool {
        if uffd::is_off() {
            return true;
        }
        g.has_new_mappings();
        pages.runs().all(|(first, count)| uffd::unwatch_all(g.page(first).range(count * PAGE)))
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let _blocked = Blocked::new();
        MOVING.lock()[self.0] = None;
    }
}

/// Watches all of a block, or of an adopted range what is near, unless some of it is about to move.
pub(super) fn watch_whole(g: &Guard, whole: ByteRange) -> bool {
    let moving = MOVING.lock();
    let whole = if g.chunk.kind() == Kind::Adopted { adopted_around(g, whole) } else { whole };
    !moving.iter().flatten().any(|m| m.overlaps(whole)) && whole.len() > 0 && uffd::watch(whole).is_ok()
}

/// So many chunks of an adopted range are watched with one of them, on both sides.
const NEAR: usize = 64;

/// What is near a chunk of an adopted range and belongs to it still: the program may have had a part back since the range was looked up.
/// Nothing, if that is a part of this chunk.
fn adopted_around(g: &Guard, whole: ByteRange) -> ByteRange {
    let part =
        |at: usize| ByteRange { start: at.max(whole.start), end: at.saturating_add(CHUNK).min(whole.end) };
    let is_adopted = |at: &usize| {
        let part = part(*at);
        part.start < part.end
            && table::get(HostAddr(*at))
                .is_some_and(|c| c.kind() == Kind::Adopted && PageMask::of(part).within(c.managed.get()))
    };
    let here = g.at.0;
    if !is_adopted(&here) {
        return ByteRange { start: here, end: here };
    }
    let near = |at: Option<usize>| at.map_or(part(here), part);
    let below = (1..=NEAR).map(|n| here.wrapping_sub(n * CHUNK)).take_while(is_adopted).last();
    let above = (1..=NEAR).map(|n| here.wrapping_add(n * CHUNK)).take_while(is_adopted).last();
    ByteRange { start: near(below).start, end: near(above).end }
}

/// Pages of adopted ranges have ceased to be managed: who saw them managed has watched them by now, or never will.
pub(crate) fn unmanaged() {
    let _blocked = Blocked::new();
    drop(MOVING.lock());
}

/// [`Moving`] of one chunk of the heap, which is locked: its pages are not watched, and its block is when some of it leaves again.
pub(super) fn begin_move(source: &Guard, len: usize) -> Option<Moving> {
    let moving = Moving::of_heap(source.at.range(len))?;
    if !moving.unwatch(source, PageMask::span(0, len / PAGE)) {
        return None;
    }
    source.set_watched(Watched::No);
    Some(moving)
}
