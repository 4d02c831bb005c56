//! Pins: ranges that stay on the host while something outside of our sight uses them (a system call, a DMA). Each
//! `hmm_pin` is undone by one `hmm_unpin` of the same range. API context; one lock, taken before any chunk's, with signals blocked.

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

static PINS: Locked<BTreeMap<(usize, usize), usize>> = Locked::new(BTreeMap::new());

/// Brings `range` home, writable, and keeps it there. The list's lock is not held while a kernel is waited for.
pub(crate) fn pin(range: ByteRange) -> Result<()> {
    {
        let _blocked = Blocked::new();
        *PINS.lock().entry((range.start, range.end)).or_insert(0) += 1;
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
        let pages = PageMask::of(part) & g.chunk.managed.get();
        let blocker = match inflight::blocker(part.pages_out(), Intent::Take { to: None }) {
            Some(b) => b,
            None => match migrate::to_host(&g, pages, true) {
                Ok(_) => {
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
    let key = (range.start, range.end);
    match pins.get_mut(&key) {
        None => return Err(Error::InvalidArgument { arg: "ptr", why: "this range was not pinned" }),
        Some(n) if *n > 1 => {
            *n -= 1;
            return Ok(());
        }
        Some(_) => pins.remove(&key),
    };
    recompute(&pins, range);
    Ok(())
}

/// Sets the pinned pages of the chunks that `range` touches to what the list says.
fn recompute(pins: &BTreeMap<(usize, usize), usize>, range: ByteRange) {
    for (at, part) in range.chunks() {
        let g = Guard::lock(table::known(at), at);
        let mut still = PageMask::EMPTY;
        for &(start, end) in pins.keys().filter(|(s, e)| *s < part.end && part.start < *e) {
            still = still | PageMask::of(ByteRange { start: start.max(part.start), end: end.min(part.end) });
        }
        let outside = g.chunk.pinned.get() & !PageMask::of(part);
        migrate::set_pinned(&g, outside | still);
    }
}

/// Forgets the pins inside a block that is freed or disowned.
pub(crate) fn forget(range: ByteRange) {
    crate::holds::forget(range);
    let _blocked = Blocked::new();
    PINS.lock().retain(|&(start, end), _| end <= range.start || range.end <= start);
}
