//! The one module that writes page states. `outward` makes pages valid on a device, `homeward` on the host, `forget`
//! drops what is no longer needed; `watched` has the ways of chunks that userfaultfd watches, `probe` what the kernel is asked
//! first. Everything here runs with the chunk's lock held; `homeward` is reached by the signal
//! handler and signal-safe. What can't be done now because a kernel is using the pages comes back as
//! [`Stop::Wait`], and the caller waits without the lock.

mod backing;
mod early;
mod evict;
mod extent;
mod follow;
mod forget;
mod homeward;
mod outward;
mod probe;
mod relocate;
mod watched;

pub(crate) use backing::{Moment, Transit};
pub(crate) use early::{account_early, open_early};
pub(crate) use evict::{elsewhere, evict};
pub(crate) use extent::{Moving, unmanaged};
pub(crate) use follow::{
    fill_holes, follow_discard, follow_new_mapping, follow_protection, foreign_begin, foreign_cancel,
    note_protection,
};
pub(crate) use forget::{
    adopt, discard, disown, end_of_chunk, forget_chunk, make_plain, release_device, set_pinned,
    set_user_protection, start_block,
};
pub(crate) use homeward::to_host;
pub(crate) use outward::{Outward, to_device};
pub(crate) use probe::Probe;
pub(crate) use relocate::{move_chunks, move_plain, relocate};
pub(crate) use watched::{FEW, absent, close, fill_missing, make_present, seal_in_child, unwatch};

use crate::addr::{CHUNK, DeviceAddr, HostAddr, PAGE};
use crate::chunk::{Chunk, Guard, Kind};
use crate::device::Run;
use crate::error::{Error, Result};
use crate::fault;
use crate::inflight::Blocker;
use crate::mask::PageMask;
use crate::stats::STATS;
use crate::sys::map::{self, Prot};
use crate::sys::segv::Verdict;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

/// Why a move did not happen. What had been done is consistent; nothing is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// A kernel uses the pages: wait for it, without the lock, and try again.
    Wait(Blocker),
    /// It can't be done.
    Fail(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Fail(e)
    }
}

/// Pages of `pages` that a prefetch brought were used, or leave the device unused. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn account_prefetched(g: &Guard, pages: PageMask, used: bool) {
    let of_prefetch = g.chunk.prefetched.get() & pages;
    if !of_prefetch.is_empty() {
        g.chunk.prefetched.remove(of_prefetch);
        let counter = if used { &STATS.prefetched_bytes_used } else { &STATS.prefetched_bytes_wasted };
        counter.add((of_prefetch.count() * PAGE) as u64);
    }
}

/// The most mappings that a chunk counts for: each page one, and as many again for what is not known exactly.
const MOST_IN_CHUNK: u16 = 1024;

/// Fewer pieces of a chunk than this are left as they were counted.
const WORTH_COUNTING: u16 = 8;

/// How many mappings the runtime may be answerable for.
static VMA_BUDGET: AtomicUsize = AtomicUsize::new(32_765);

/// Sets the budget of mappings.
pub(crate) fn set_vma_budget(budget: usize) {
    VMA_BUDGET.store(budget, Relaxed);
}

/// Whether ways that add mappings should be avoided: chunks then move as a whole, both ways. Signal-safe.
pub(crate) fn near_vma_limit() -> bool {
    STATS.vmas.get() as usize + 64 >= VMA_BUDGET.load(Relaxed)
}

/// Whether nothing may be sent away any more that adds mappings, so that there is room for what has to come home.
fn at_vma_limit() -> bool {
    let budget = VMA_BUDGET.load(Relaxed);
    STATS.vmas.get() as usize >= budget.saturating_add(budget / 2)
}

impl Guard {
    /// Whether all host memory of the chunk is ours to exchange: no free block can be handed out from it meanwhile, and
    /// nothing of it is unmanaged memory of the program's. Signal-safe.
    fn is_exchangeable(&self) -> bool {
        match self.chunk.kind() {
            Kind::Large => true,
            Kind::Adopted => self.chunk.managed.get().is_full(),
            Kind::Slab | Kind::Unused => false,
        }
    }
}

impl Guard {
    /// The copies of `pages` between the chunk at `base` on a device and `host`, which mirrors the chunk. Signal-safe.
    fn copy_runs(&self, pages: PageMask, base: DeviceAddr, host: HostAddr) -> impl Iterator<Item = Run> {
        pages.runs().map(move |(first, count)| Run {
            device: base.add(first * PAGE),
            host: host.add(first * PAGE),
            len: count * PAGE,
        })
    }
    /// The chunk is exchanged as a whole: sets how many mappings it is answerable for. Signal-safe.
    fn set_pieces(&self, n: u16) {
        self.chunk.strangers.store(0, Relaxed);
        self.chunk.small.store(0, Relaxed);
        self.count_pieces(n);
    }
    fn count_pieces(&self, n: u16) {
        let n = n.min(MOST_IN_CHUNK);
        STATS.vmas.add(u64::from(n));
        STATS.vmas.sub(u64::from(self.chunk.pieces.swap(n, Relaxed)));
    }
    /// A run of pages got a protection of its own, or (`strangers`) pages from elsewhere. Signal-safe.
    fn split(&self, strangers: bool) {
        let c = self.chunk;
        c.small.store(1, Relaxed);
        if strangers {
            c.strangers.store((c.strangers.load(Relaxed) + 2).min(MOST_IN_CHUNK), Relaxed);
        }
        self.count_pieces(c.pieces.load(Relaxed) + 2);
    }
    /// Forgets splits that are none any more: of what each change of protection may have added the pages' states say what
    /// is left, for equal neighbours are one mapping. By whoever unlocks the chunk. Signal-safe.
    #[inline]
    pub(crate) fn recount_pieces(&self) {
        if self.chunk.pieces.load(Relaxed) > WORTH_COUNTING {
            self.recount();
        }
    }
    #[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
    fn recount(&self) {
        let c = self.chunk;
        if self.is_watched() || !c.unsettled.is_empty() {
            return;
        }
        let (none, read) = closed(c);
        let now = 1 + c.strangers.load(Relaxed) + PageMask::borders([none, read]) as u16;
        if now < c.pieces.load(Relaxed) {
            self.count_pieces(now);
        }
    }
    /// All of the chunk has one protection: what had split it by protections is one mapping again. Signal-safe.
    fn merged(&self) {
        self.count_pieces(1 + self.chunk.strangers.load(Relaxed));
    }
}

/// How often the program's protections were changed through us: changes under the lock of the chunk that it is about.
static PROTECTION_CHANGES: AtomicU32 = AtomicU32::new(0);

/// See [`PROTECTION_CHANGES`].
fn protection_changes() -> u32 {
    PROTECTION_CHANGES.load(Acquire)
}

/// Gives the managed pages of `pages` the CPU protection that their states ask for. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn apply_protection(g: &Guard, pages: PageMask) -> Result<()> {
    let c = g.chunk;
    let pages = pages & c.managed.get();
    if g.is_watched() {
        return watched::apply(g, pages);
    }
    let (none, read) = closed(c);
    let (none, read) = (pages & none, pages & read);
    for (set, prot) in [(none, Prot::None), (read, Prot::Read), (pages & !none & !read, Prot::ReadWrite)] {
        protect(g, set, prot)?;
    }
    Ok(())
}

/// The pages that are to be inaccessible, and those to be read-only. Signal-safe.
fn closed(c: &Chunk) -> (PageMask, PageMask) {
    let none = c.managed.get() & (!c.host.get() | c.user_none.get());
    (none, c.managed.get() & !none & (c.on_devices() | c.user_read_only.get()))
}

/// As [`apply_protection`]; when that fails, the fault path is told to try again before it believes the table.
/// Signal-safe.
pub(crate) fn settle(g: &Guard, pages: PageMask) -> Result<()> {
    apply_protection(g, pages).inspect_err(|_| g.chunk.unsettled.add(pages))
}

/// Tries again what [`settle`] could not do. Whether there was anything to do. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn settle_again(g: &Guard) -> Result<bool> {
    if g.chunk.unsettled.is_empty() {
        return Ok(false);
    }
    // First, and again if it fails: who closes a page without the lock must not be forgotten.
    let span = g.chunk.unsettled.take();
    // What is pinned had its protection before, and may have got another from the program since.
    let pages = span & !g.chunk.pinned.get();
    let opened = if g.is_watched() { watched::open(g, pages) } else { Ok(()) };
    opened.and_then(|()| apply_protection(g, pages)).inspect_err(|_| g.chunk.unsettled.add(span))?;
    Ok(!span.is_empty())
}

/// This thread, which has the chunk locked, reads a page for a device and finds it closed: by the program, which is noted, or so that
/// somebody be told something at his touch ([`close`]). It can be read from here on, and is settled afterwards.
#[cold]
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn open_to_read(chunk: &Chunk, addr: HostAddr) -> Verdict {
    const GONE: Verdict = Verdict::Bus("the program has taken the page away while it was copied");
    let page = addr.page_in_chunk();
    let ours = chunk.unsettled.get().has(page);
    // Not by its protection, or by somebody again and again.
    if !ours && chunk.user_none.has(page) || fault::is_again(addr) {
        return GONE;
    }
    let one = PageMask::span(page, 1);
    chunk.unsettled.add(one);
    if !ours {
        chunk.user_none.add(one);
    }
    match map::protect(HostAddr(addr.0 & !(PAGE - 1)), PAGE, Prot::Read) {
        Ok(()) => Verdict::Resolved,
        Err(_) => GONE,
    }
}

/// Pages of the host's alone: writers wait from here on.
fn freeze(g: &Guard, pages: PageMask) -> Result<()> {
    match g.is_watched() {
        true => watched::freeze(g, pages),
        false => protect(g, pages & !g.chunk.user_read_only.get(), Prot::Read),
    }
}

/// Sets one protection for all pages of `pages`. Signal-safe.
fn protect(g: &Guard, pages: PageMask, prot: Prot) -> Result<()> {
    if pages.is_full() {
        map::protect(g.at, CHUNK, prot)?;
        g.merged();
        return Ok(());
    }
    for (first, count) in pages.runs() {
        map::protect(g.page(first), count * PAGE, prot)?;
        g.split(false);
    }
    Ok(())
}
