//! Pins: ranges that stay on the host while something outside of our sight uses them (a system call, a DMA). Each
//! `hmm_pin` is undone by one `hmm_unpin` of the same range. What is freed under a pin is no longer pinned, the rest is.
//! API context; one lock, taken before any chunk's, with signals blocked.

use crate::addr::ByteRange;
use crate::chunk::Guard;
use crate::error::{Error, Result};
use crate::inflight::{self, Intent};
use crate::mask::PageMask;
use crate::migrate::{self, Stop};
use crate::sys::futex::Locked;
use crate::sys::signal::Blocked;
use crate::table;
use crate::trace::Why;
use std::collections::BTreeMap;

/// The pins of one range.
struct Pin {
    /// How many there are.
    times: usize,
    /// What of the range has not been freed since the last of them was made.
    kept: Vec<ByteRange>,
}

type Pins = BTreeMap<(usize, usize), Pin>;

static PINS: Locked<Pins> = Locked::new(BTreeMap::new());

/// One more pin of `range`.
fn enter(pins: &mut Pins, range: ByteRange) {
    let pin = pins.entry((range.start, range.end)).or_insert(Pin { times: 0, kept: Vec::new() });
    pin.times += 1;
    pin.kept = vec![range];
}

/// One pin less of exactly `range`; what it kept, `None` if there is none.
fn leave(pins: &mut Pins, range: ByteRange) -> Option<Vec<ByteRange>> {
    let key = (range.start, range.end);
    let pin = pins.get_mut(&key)?;
    pin.times -= 1;
    if pin.times == 0 { pins.remove(&key).map(|pin| pin.kept) } else { Some(pin.kept.clone()) }
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
        enter(&mut PINS.lock(), range);
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
    let mut pins = PINS.lock();
    let not_pinned = Error::InvalidArgument { arg: "ptr", why: "this range was not pinned" };
    let kept = leave(&mut pins, range).ok_or(not_pinned)?;
    recompute(&pins, &kept);
    Ok(())
}

/// Undoes one pin of exactly this range inside of `part`: what it keeps outside gets pins of its own, which are the answer.
/// Nothing of it is free to go meanwhile.
pub(crate) fn unpin_part(range: ByteRange, part: ByteRange) -> Vec<ByteRange> {
    let _blocked = Blocked::new();
    let mut pins = PINS.lock();
    let kept = leave(&mut pins, range).unwrap_or_default();
    let rest: Vec<_> = kept.iter().flat_map(|of| outside(*of, part)).collect();
    rest.iter().for_each(|r| enter(&mut pins, *r));
    recompute(&pins, &kept);
    rest
}

/// Does something to pages that no pin keeps, and none begins to keep before it is done; if one of them is pinned, nothing.
pub(crate) fn while_unpinned(pages: ByteRange, what: impl FnOnce() -> Result<()>) -> Result<()> {
    let _blocked = Blocked::new();
    let pins = PINS.lock();
    let all = pins.values().flat_map(|pin| &pin.kept).map(|kept| kept.pages_out());
    match all.filter(|kept| kept.overlaps(pages)).map(|kept| kept.start.max(pages.start)).min() {
        Some(addr) => Err(Error::Busy { arg: "addr", addr, why: "it is pinned" }),
        None => what(),
    }
}

/// Sets the pinned pages of the chunks that `ranges` touch to what the list says.
fn recompute(pins: &Pins, ranges: &[ByteRange]) {
    for (at, part) in ranges.iter().flat_map(|range| range.chunks()) {
        let g = Guard::lock(table::known(at), at);
        let part = part.pages_out(); // other pins may have the rest of the first and the last page
        let mut still = PageMask::EMPTY;
        for kept in pins.values().flat_map(|pin| &pin.kept).filter(|kept| kept.overlaps(part)) {
            let both = ByteRange { start: kept.start.max(part.start), end: kept.end.min(part.end) };
            still = still | PageMask::of(both);
        }
        let outside = g.chunk.pinned.get() & !PageMask::of(part);
        migrate::set_pinned(&g, outside | still);
    }
}

/// Forgets what is pinned of a block that is freed or disowned.
pub(crate) fn forget(range: ByteRange) {
    crate::holds::forget(range);
    let _blocked = Blocked::new();
    PINS.lock().retain(|_, pin| {
        if pin.kept.iter().any(|kept| kept.overlaps(range)) {
            pin.kept = pin.kept.iter().flat_map(|kept| outside(*kept, range)).collect();
            return !pin.kept.is_empty();
        }
        true
    });
}
