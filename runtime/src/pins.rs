//! Pins: ranges that stay on the host while something outside of our sight uses them (a system call, a DMA). Each
//! `hmm_pin` is undone by one `hmm_unpin` of the same range. What is freed under a pin is no longer pinned, the rest is.
//! API context, and undoing one from signal handlers that have interrupted malloc: the list calls no allocator. One lock,
//! taken before any chunk's, with signals blocked.

use crate::addr::ByteRange;
use crate::chunk::Guard;
use crate::error::{Error, Result};
use crate::inflight::{self, Intent};
use crate::list::List;
use crate::mask::PageMask;
use crate::migrate::{self, Stop};
use crate::sys::futex::Locked;
use crate::sys::signal::Blocked;
use crate::table;
use crate::trace::Why;

/// A part of a pinned range that has not been freed since the last pin of that range was made.
#[derive(Clone, Copy)]
struct Pin {
    /// The range that was pinned.
    range: ByteRange,
    /// The part.
    kept: ByteRange,
    /// How many pins there are of the range, the same in all its parts.
    times: usize,
}

/// In the order of the ranges.
type Pins = List<Pin>;

static PINS: Locked<Pins> = Locked::new(List::new(1 << 18, "a list of pins"));

/// Where in the list the parts of `range` are, or would be.
fn parts(pins: &Pins, range: ByteRange) -> core::ops::Range<usize> {
    let key = |r: ByteRange| (r.start, r.end);
    let first = pins.all().partition_point(|pin| key(pin.range) < key(range));
    let count = pins.all()[first..].iter().take_while(|pin| key(pin.range) == key(range)).count();
    first..first + count
}

/// One more pin of `range`, for which there is room.
fn enter(pins: &mut Pins, range: ByteRange) {
    let old = parts(pins, range);
    let times = pins.all()[old.clone()].first().map_or(0, |pin| pin.times);
    pins.remove(old.start, old.len());
    pins.insert(old.start, Pin { range, kept: range, times: times + 1 });
}

/// One pin less of exactly `range`, and the pages that no other keeps are free to go; whether there was one.
fn leave(pins: &mut Pins, range: ByteRange) -> bool {
    let parts = parts(pins, range);
    let all = &mut pins.all_mut()[parts.clone()];
    all.iter_mut().for_each(|pin| pin.times -= 1);
    if all.first().is_some_and(|pin| pin.times == 0) {
        for i in parts.clone().rev() {
            let kept = pins.all()[i].kept;
            pins.remove(i, 1);
            recompute(pins, kept);
        }
    }
    !parts.is_empty()
}

/// The parts of `of` that are not in `range`.
fn outside(of: ByteRange, range: ByteRange) -> impl Iterator<Item = ByteRange> {
    let before = ByteRange { start: of.start, end: of.end.min(range.start.max(of.start)) };
    let after = ByteRange { start: of.start.max(range.end.min(of.end)), end: of.end };
    [before, after].into_iter().filter(|r| r.start < r.end)
}

/// Brings `range` home, writable, and keeps it there. The list's lock is not held while a kernel is waited for.
pub(crate) fn pin(range: ByteRange) -> Result<()> {
    {
        let _blocked = Blocked::new();
        let mut pins = PINS.lock();
        pins.make_room(1)?;
        enter(&mut pins, range);
    }
    range.chunks().try_for_each(|(at, part)| pin_chunk(at, part)).inspect_err(|_| {
        let _ = unpin(range);
    })
}

fn pin_chunk(at: crate::addr::HostAddr, part: ByteRange) -> Result<()> {
    let mut waited = 0;
    loop {
        let blocked = Blocked::new();
        let g = Guard::lock(table::known(at), at);
        g.why.set(Why::Pin);
        migrate::account_early(&g, true);
        let pages = PageMask::of(part) & g.chunk.managed.get();
        let blocker = match inflight::blocker(part.pages_out(), Intent::Take { to: None }) {
            Some(b) => b,
            None => match migrate::to_host(&g, pages, true) {
                Ok(_) => {
                    migrate::make_present(&g, pages)?;
                    migrate::settle_again(&g)?;
                    migrate::set_pinned(&g, g.chunk.pinned.get() | pages);
                    return Ok(());
                }
                Err(Stop::Fail(e)) => return Err(e),
                Err(Stop::Wait(b)) => b,
            },
        };
        drop(g);
        drop(blocked);
        inflight::wait_or_busy(blocker, "ptr", part.start, &mut waited)?;
    }
}

/// Undoes one pin of exactly this range.
pub(crate) fn unpin(range: ByteRange) -> Result<()> {
    let _blocked = Blocked::new();
    if leave(&mut PINS.lock(), range) {
        return Ok(());
    }
    Err(Error::InvalidArgument { arg: "ptr", why: "this range was not pinned" })
}

/// Undoes one pin of exactly this range inside of `part`: what it keeps outside gets pins of its own, which are the answer.
/// Nothing of that is free to go meanwhile. If there is no room for them, all of it stays.
pub(crate) fn unpin_part(range: ByteRange, part: ByteRange) -> Vec<ByteRange> {
    let _blocked = Blocked::new();
    let mut rest = Vec::with_capacity(4);
    loop {
        let mut pins = PINS.lock();
        let count = 2 * parts(&pins, range).len();
        if count > rest.capacity() {
            // Nothing is allocated with the list locked: who waits for it may have interrupted malloc.
            drop(pins);
            rest.reserve(count);
            continue;
        }
        let kept = pins.all()[parts(&pins, range)].iter().map(|pin| pin.kept);
        rest.extend(kept.flat_map(|of| outside(of, part)));
        if pins.make_room(rest.len()).is_err() {
            rest.clear();
            rest.push(range);
            return rest;
        }
        rest.iter().for_each(|r| enter(&mut pins, *r));
        leave(&mut pins, range);
        return rest;
    }
}

/// Does something to pages that no pin keeps, and none begins to keep before it is done; if one of them is pinned, nothing.
pub(crate) fn while_unpinned(pages: ByteRange, what: impl FnOnce() -> Result<()>) -> Result<()> {
    let _blocked = Blocked::new();
    let pins = PINS.lock();
    let all = pins.all().iter().map(|pin| pin.kept.pages_out());
    match all.filter(|kept| kept.overlaps(pages)).map(|kept| kept.start.max(pages.start)).min() {
        Some(addr) => Err(Error::Busy { arg: "addr", addr, why: "it is pinned" }),
        None => what(),
    }
}

/// Sets the pinned pages of the chunks that `range` touches to what the list says.
fn recompute(pins: &Pins, range: ByteRange) {
    for (at, part) in range.chunks() {
        let g = Guard::lock(table::known(at), at);
        let part = part.pages_out(); // other pins may have the rest of the first and the last page
        let mut still = PageMask::EMPTY;
        for kept in pins.all().iter().map(|pin| pin.kept).filter(|kept| kept.overlaps(part)) {
            let both = ByteRange { start: kept.start.max(part.start), end: kept.end.min(part.end) };
            still = still | PageMask::of(both);
        }
        let outside = g.chunk.pinned.get() & !PageMask::of(part);
        migrate::set_pinned(&g, outside | still);
    }
}

/// Forgets what is pinned of a block that is freed or disowned. What would become two where the list is full stays whole.
pub(crate) fn forget(range: ByteRange) {
    crate::holds::forget(range);
    let _blocked = Blocked::new();
    let mut pins = PINS.lock();
    let mut i = 0;
    while let Some(&pin) = pins.all().get(i) {
        i += 1;
        let more = outside(pin.kept, range).count().saturating_sub(1);
        if !pin.kept.overlaps(range) || pins.make_room(more).is_err() {
            continue;
        }
        i -= 1;
        pins.remove(i, 1);
        for kept in outside(pin.kept, range) {
            pins.insert(i, Pin { kept, ..pin });
            i += 1;
        }
    }
}
