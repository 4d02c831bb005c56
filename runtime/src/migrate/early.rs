//! What came home before anybody asked for it (`ahead`): a chunk whose bytes are all in place, closed until it is touched. So the
//! touch is seen, and with it that the move was of use; a chunk that leaves closed was moved for nothing. `Guard::lock` opens it,
//! whoever takes it: nobody else has to know. With the chunk's lock held; signal-safe.

use super::{PAGE, settle};
use crate::addr::CHUNK;
use crate::chunk::{Guard, PREDICTED};
use crate::mask::PageMask;
use crate::policy;
use crate::stats::STATS;
use crate::sys::map::{self, Prot};

/// Gives a chunk that came home early the protection that its states ask for. One mapping, as it came.
#[cold]
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn open_early(g: &Guard) {
    let prot = if g.chunk.managed.get().meets(g.chunk.on_devices()) { Prot::Read } else { Prot::ReadWrite };
    if map::protect(g.at, CHUNK, prot).is_err() {
        g.chunk.unsettled.add(PageMask::FULL); // the fault path tries again
        let _ = settle(g, PageMask::FULL);
    }
}

/// What taking the lock has opened was of use, or leaves without having been.
#[inline]
pub(crate) fn account_early(g: &Guard, used: bool) {
    let pages = g.opened.take();
    if pages != 0 {
        account(g, pages & !PREDICTED, used);
    }
}

#[cold]
fn account(g: &Guard, pages: u16, used: bool) {
    let counter = if used { &STATS.prefetched_bytes_used } else { &STATS.prefetched_bytes_wasted };
    counter.add((usize::from(pages) * PAGE) as u64);
    policy::early_ended(g, used);
}
