//! The record of one 2 MiB chunk: who has valid bytes for each page. 1 KiB a chunk, 0.05 % of the memory it describes.
//! The masks of states are written by `migrate` only, under the chunk's lock; `managed` belongs to the heap and to
//! adoption. All-zero bytes are a valid record of nothing. Signal-safe.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE, PAGES};
use crate::block::Block;
use crate::device::{Devices, MAX_DEVICES};
use crate::mask::{PageMask, SharedMask, SharedSpan};
use crate::sys::futex::FutexLock;
use crate::trace::Why;
use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

/// What a chunk's pages are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    /// Nothing of ours.
    Unused = 0,
    /// Blocks of the heap smaller than a chunk, all of one size.
    Slab = 1,
    /// Part of one large block of the heap.
    Large = 2,
    /// The program's own memory, wholly or in part.
    Adopted = 3,
}

/// One device's copy of a chunk.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Copy {
    /// Where it is on the device; 0: no device memory is committed.
    pub(crate) base: AtomicU64,
    /// The pages whose bytes there are valid.
    pub(crate) valid: SharedMask,
}

/// The record.
#[repr(C, align(1024))]
#[derive(Default)]
pub(crate) struct Chunk {
    lock: FutexLock,
    /// The block whose summary this chunk counts in, if any.
    block: AtomicPtr<Block>,
    kind: AtomicU16,
    /// What the program has asked to be ready for the kernel's writes, too, and no device has been given since.
    pub(crate) asked_for: SharedSpan,
    /// Slab: pages per block. Adopted: 1 if a range goes on here from the chunk before, or has done so.
    pub(crate) unit: AtomicU32,
    /// Large: the address of the block's first chunk.
    pub(crate) head: AtomicUsize,
    /// Advice bits (`policy`).
    pub(crate) advice: AtomicU32,
    /// Mappings this chunk is answerable for, an upper estimate.
    pub(crate) pieces: AtomicU16,
    /// Those of them that pages from elsewhere have made, and that no protection makes one again.
    pub(crate) strangers: AtomicU16,
    /// Pages whose protection could not be set, and some beside them: the fault path tries again.
    pub(crate) unsettled: SharedSpan,
    /// Not 0: so many pages, all of them, came home before anybody touched them, and are closed until somebody does.
    early: AtomicU16,
    /// Bits of the last summary: ready on device d, owned by device d (`<< 8`), to be looked at (`1 << 16`).
    summary: AtomicU32,
    /// 0: the lock was not held since all pages were as new and no device had memory for them.
    changed: AtomicU32,
    /// 1: userfaultfd watches what of it can move; 2: perhaps not all of that any more.
    watched: AtomicU16,
    /// 1: since its memory is this, a part had a protection of its own, so that a huge page is mapped in small ones.
    pub(crate) small: AtomicU16,
    /// Pages that belong to live blocks or adopted ranges.
    pub(crate) managed: SharedMask,
    /// Pages whose host bytes are valid (an untouched page's are zeros).
    pub(crate) host: SharedMask,
    /// Pages that the program itself made read-only.
    pub(crate) user_read_only: SharedMask,
    /// Pages that the program itself made inaccessible.
    pub(crate) user_none: SharedMask,
    /// Pages that are pinned to the host.
    pub(crate) pinned: SharedMask,
    /// Pages that a prefetch brought to a device and that nothing has used there yet.
    pub(crate) prefetched: SharedMask,
    /// The devices' copies.
    pub(crate) copies: [Copy; MAX_DEVICES],
}

const _: () = assert!(size_of::<Chunk>() == 1024);

/// How many devices there are to look at. Signal-safe.
pub(crate) fn device_count() -> usize {
    Devices::get().map_or(0, |d| d.count())
}

impl Chunk {
    /// What it is used for.
    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        match self.kind.load(Acquire) {
            1 => Kind::Slab,
            2 => Kind::Large,
            3 => Kind::Adopted,
            _ => Kind::Unused,
        }
    }
    /// Sets what it is used for: heap and adoption, before its pages become managed.
    pub(crate) fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u16, Release);
    }
    /// The pages valid on any device.
    pub(crate) fn on_devices(&self) -> PageMask {
        (0..device_count()).fold(PageMask::EMPTY, |m, d| m | self.copies[d].valid.get())
    }
    /// The pages valid on a device other than `device`.
    pub(crate) fn on_others(&self, device: usize) -> PageMask {
        (0..device_count())
            .filter(|d| *d != device)
            .fold(PageMask::EMPTY, |m, d| m | self.copies[d].valid.get())
    }
    /// Whether `pages` are plain host memory: no device copy, nothing protected by us. A look without the lock.
    pub(crate) fn is_plain(&self, pages: PageMask) -> bool {
        pages.within(self.host.get()) && !pages.meets(self.on_devices()) && !self.is_early()
    }
    /// Whether it came home early and nobody has touched it yet. A look without the lock. Signal-safe.
    pub(crate) fn is_early(&self) -> bool {
        self.early.load(Relaxed) != 0
    }
    /// Whether it did so behind a launch. Signal-safe.
    pub(crate) fn is_predicted(&self) -> bool {
        self.early.load(Relaxed) & PREDICTED != 0
    }
    /// Whether the pages `first..first + count` are plain, and nothing is left of pins and of the program's own
    /// protections, nor of any that could not be set. A look without the lock.
    pub(crate) fn is_as_new(&self, first: usize, count: usize) -> bool {
        if !self.unsettled.is_empty() {
            return false;
        }
        // Nothing is valid on a device without memory there.
        let mut copies = self.copies[..device_count()].iter().filter(|c| c.base.load(Relaxed) != 0);
        self.host.has_span(first, count)
            && !copies.any(|c| c.valid.meets_span(first, count))
            && ![&self.pinned, &self.user_none, &self.user_read_only]
                .iter()
                .any(|m| m.meets_span(first, count))
    }
    /// Whether nothing changed since [`Guard::note_if_new`], nor is changing: all pages are as new. A look without the
    /// lock.
    #[inline]
    pub(crate) fn is_unchanged(&self) -> bool {
        !self.is_locked() && self.changed.load(Relaxed) == 0
    }
    /// Whether touches of what is away come through userfaultfd. A look without the lock.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Relaxed) != 0
    }
    /// Whether this thread has it locked.
    pub(crate) fn is_locked_by_me(&self) -> bool {
        self.lock.held_by_me()
    }
    /// Whether a change is under way at this moment.
    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_held()
    }
    /// The block it counts in. A look without the lock: blocks are reused, never freed.
    pub(crate) fn block(&self) -> Option<&'static Block> {
        // SAFETY: only `Guard::link` stores here, and blocks are never freed.
        unsafe { self.block.load(Acquire).as_ref() }
    }
    /// To where device `device` may use all from here on for reading (or writing) as it is, if its block says so. A look without
    /// the lock: meanwhile the chunk may leave the block, and that may serve others. The use has been published.
    pub(crate) fn ready_to(&self, device: usize, write: bool) -> Option<usize> {
        let block = self.block()?;
        block.if_ready(device, write, || {
            self.block().filter(|now| core::ptr::eq(*now, block)).map(|_| block.counted_end())
        })
    }
    /// Whether device `device` may use the pages of `part` (some bytes of it) for reading (or writing) as they are. Looks at
    /// their words only: a launch asks for every block.
    pub(crate) fn ready(&self, part: ByteRange, device: usize, write: bool) -> bool {
        let pages = part.pages_out();
        let (first, count) = (HostAddr(pages.start).page_in_chunk(), pages.len() / PAGE);
        let mut others = (0..device_count()).filter(|d| *d != device);
        self.copies[device].valid.has_span(first, count)
            && ![&self.user_none, &self.prefetched].iter().any(|m| m.meets_span(first, count))
            && (!write
                || ![&self.host, &self.user_read_only].iter().any(|m| m.meets_span(first, count))
                    && !others.any(|d| self.copies[d].valid.meets_span(first, count)))
    }
}

/// How much of a chunk userfaultfd watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Watched {
    /// Nothing: touches are noticed by page protection.
    No = 0,
    /// All that can move.
    All = 1,
    /// There may be new mappings among it that are not watched.
    Some = 2,
}

/// The chunk's lock, held. Dropping it brings the block's summary up to date.
pub(crate) struct Guard {
    /// The record.
    pub(crate) chunk: &'static Chunk,
    /// The chunk's address.
    pub(crate) at: HostAddr,
    block: Option<&'static Block>,
    /// The lock is the forking thread's already, and stays so.
    borrowed: bool,
    /// What it was taken for, as traces have it.
    pub(crate) why: Cell<Why>,
    /// Pages that had come home early and that taking the lock has opened, and [`PREDICTED`].
    pub(crate) opened: Cell<u16>,
    /// What comes home now is closed until it is touched, where that can be.
    pub(crate) early: Cell<bool>,
}

/// Beside the number of pages that came early: for what a launch is followed by, and not ahead of a reader.
pub(crate) const PREDICTED: u16 = 1 << 15;

impl Guard {
    /// Takes the lock of the chunk at `at`, and opens it if it came home early: whoever has it finds the protections that the
    /// masks ask for. Signals are blocked, or this is the signal handler. Signal-safe.
    pub(crate) fn lock(chunk: &'static Chunk, at: HostAddr) -> Guard {
        Guard::lock_as_it_is(chunk, at).open()
    }

    /// [`Guard::lock`], if the lock is free. Signal-safe.
    pub(crate) fn try_lock(chunk: &'static Chunk, at: HostAddr) -> Option<Guard> {
        chunk.lock.try_lock().then(|| Guard::locked(chunk, at).open())
    }

    /// [`Guard::lock`], if the lock can be had within about `ns`. Signal-safe.
    pub(crate) fn lock_within(chunk: &'static Chunk, at: HostAddr, ns: u64) -> Option<Guard> {
        chunk.lock.lock_within(ns).then(|| Guard::locked(chunk, at).open())
    }

    fn open(self) -> Guard {
        if self.chunk.is_early() {
            self.opened.set(self.chunk.early.swap(0, Relaxed));
            crate::migrate::open_early(&self);
        }
        self
    }

    /// [`Guard::lock`], for who only looks, or leaves alone what came home early.
    pub(crate) fn lock_as_it_is(chunk: &'static Chunk, at: HostAddr) -> Guard {
        if !chunk.lock.try_lock() {
            if chunk.lock.held_by_me() && crate::fork::is_forking() {
                let mut g = Guard::new(chunk, at, None);
                g.borrowed = true;
                return g;
            }
            chunk.lock.lock();
        }
        Guard::locked(chunk, at)
    }

    /// The lock has just been taken.
    fn locked(chunk: &'static Chunk, at: HostAddr) -> Guard {
        #[cfg(not(target_arch = "x86_64"))]
        core::sync::atomic::fence(SeqCst); // with `slab::free`: one of the two sees the other
        chunk.changed.store(1, Relaxed);
        let block = chunk.block();
        if let Some(b) = block {
            b.begin_change();
        }
        Guard::new(chunk, at, block)
    }

    fn new(chunk: &'static Chunk, at: HostAddr, block: Option<&'static Block>) -> Guard {
        let why = Cell::new(Why::Other);
        Guard { chunk, at, block, borrowed: false, why, opened: Cell::new(0), early: Cell::new(false) }
    }

    /// All that is managed of the chunk came home early, and nobody can reach it: until the lock is taken again.
    pub(crate) fn close_early(&self, pages: usize) {
        let predicted = if self.why.get() == Why::Predicted { PREDICTED } else { 0 };
        self.chunk.early.store(pages as u16 | predicted, Relaxed);
    }

    /// The guard of a lock that is held, and whose guard was forgotten.
    ///
    /// # Safety
    /// This thread took the lock with [`Guard::lock`] and forgot that guard, and only that one.
    pub(crate) unsafe fn held(chunk: &'static Chunk, at: HostAddr) -> Guard {
        Guard::new(chunk, at, chunk.block())
    }

    /// How much of it is watched. Not in a forked child, whose memory no descriptor watches.
    pub(crate) fn watched(&self) -> Watched {
        match self.chunk.watched.load(Relaxed) {
            0 => Watched::No,
            _ if crate::uffd::is_off() => Watched::No,
            1 => Watched::All,
            _ => Watched::Some,
        }
    }
    /// Whether touches of what is away come through userfaultfd.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched() != Watched::No
    }
    /// Sets how much of it is watched.
    pub(crate) fn set_watched(&self, watched: Watched) {
        self.chunk.watched.store(watched as u16, Relaxed);
    }
    /// New mappings are among its pages.
    pub(crate) fn has_new_mappings(&self) {
        if self.chunk.is_watched() {
            self.set_watched(Watched::Some);
        }
    }

    /// The host address of page `page`.
    pub(crate) fn page(&self, page: usize) -> HostAddr {
        self.at.add(page * PAGE)
    }
    /// The block that a page belongs to; of the program's own memory only what fills chunks is known here.
    pub(crate) fn block_around(&self, page: usize) -> Option<ByteRange> {
        match (self.chunk.kind(), self.chunk.unit.load(Relaxed) as usize) {
            (Kind::Slab, unit) if unit > 0 => Some(self.page(page / unit * unit).range(unit * PAGE)),
            (Kind::Large | Kind::Adopted, _) => self.chunk.block().map(|b| b.range()),
            _ => None,
        }
    }
    /// All bytes of the chunk.
    pub(crate) fn range(&self) -> crate::addr::ByteRange {
        crate::addr::ByteRange { start: self.at.0, end: self.at.0 + CHUNK }
    }
    /// The bytes from the first page of `pages` to the last.
    pub(crate) fn span_of(&self, pages: PageMask) -> crate::addr::ByteRange {
        let first = pages.first().unwrap_or(0);
        let end = pages.runs().last().map_or(first, |(f, n)| f + n);
        crate::addr::ByteRange { start: self.at.0 + first * PAGE, end: self.at.0 + end * PAGE }
    }

    /// Notes it if all pages are as new and no device has memory for them: then `free` need not look at them, until
    /// the lock is taken again.
    pub(crate) fn note_if_new(&self) {
        let c = self.chunk;
        let committed = c.copies.iter().any(|copy| copy.base.load(Relaxed) != 0);
        c.changed.store(u32::from(committed || !c.is_as_new(0, PAGES)), Relaxed);
    }

    /// Lets the chunk count in `block`, which is joined once all its chunks are linked.
    pub(crate) fn link(&mut self, block: &'static Block) {
        debug_assert!(self.block.is_none() && !block.is_joined());
        block.begin_change();
        block.add_chunk();
        self.chunk.summary.store(0, Relaxed);
        self.block = Some(block);
        self.chunk.block.store(core::ptr::from_ref(block).cast_mut(), Release);
    }

    /// Takes the chunk out of its block's summary, which has parted before.
    pub(crate) fn unlink(&mut self) {
        if let Some(block) = self.block.take() {
            debug_assert!(!block.is_joined());
            block.count(self.chunk.summary.swap(0, Relaxed), 0);
            self.chunk.block.store(core::ptr::null_mut(), Release);
            block.remove_chunk();
            block.end_change();
        }
    }

    /// [`Guard::unlink`], if it is `block` that the chunk counts in.
    pub(crate) fn unlink_from(&mut self, block: &'static Block) {
        if self.block.is_some_and(|b| core::ptr::eq(b, block)) {
            self.unlink();
        }
    }

    fn summarize(&self) -> u32 {
        let c = self.chunk;
        let managed = c.managed.get();
        let host = c.host.get() & managed;
        let mut bits = 0;
        for d in 0..device_count() {
            if c.copies[d].base.load(Relaxed) != 0 && managed.within(c.copies[d].valid.get()) {
                bits |= 1 << d;
                if host.is_empty() && !managed.meets(c.on_others(d)) {
                    bits |= 1 << (8 + d);
                }
            }
        }
        if managed.meets(c.user_none.get() | c.user_read_only.get()) {
            bits |= 1 << 16;
        }
        if !c.prefetched.get().is_empty() {
            bits |= 1 << 16; // the first acquire looks at each chunk, to count what was of use
        }
        bits
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.recount_pieces();
        if let Some(block) = self.block {
            let now = self.summarize();
            let before = self.chunk.summary.swap(now, Relaxed);
            block.count(before, now);
            block.end_change();
        }
        if !self.borrowed {
            self.chunk.lock.unlock();
        }
    }
}
