//! The heap of managed blocks: address space in arenas, handed out by the chunk to large blocks and to slabs of smaller
//! ones. Every block has pages of its own (so that moving one never moves another), and all bookkeeping is outside of
//! managed memory: `free` touches no page. One lock; API context only, the fault path never comes here.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE, PAGES};
use crate::arenas::Arenas;
use crate::block::Block;
use crate::chunk::{Chunk, Guard, Kind};
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::mask::PageMask;
use crate::slab::{self, Slabs};
use crate::stats::STATS;
use crate::sys::futex::{Locked, LockedGuard};
use crate::sys::map::{self, Prot};
use crate::sys::signal::Blocked;
use crate::trace::{self, What, Why};
use crate::warm::Warm;
use crate::{migrate, table, window};
use core::sync::atomic::{AtomicBool, Ordering::*};

/// The heap's state.
pub(crate) struct Heap {
    /// Address space that is not in use.
    space: Arenas,
    pub(crate) slabs: Slabs,
    /// Chunks that are free and keep their memory: not in `free`.
    warm: Warm,
    /// How often a block got small pages at its end.
    small_tails: usize,
}

/// See [`Heap::small_tails`]. Address space that is used again keeps its pages, so few programs come here.
const MOST_SMALL_TAILS: usize = 8192;

static HEAP: Locked<Heap> =
    Locked::new(Heap { space: Arenas::new(), slabs: Slabs::new(), warm: Warm::new(), small_tails: 0 });

/// Huge pages are asked for once a device is open, and not before.
static HUGE_LATER: AtomicBool = AtomicBool::new(false);

/// Blocks may be any memory of a program that has nothing to do with a device, and touches it here and there: until one is open
/// they have the pages that its memory would have.
pub(crate) fn ask_for_huge_pages_later() {
    HUGE_LATER.store(true, Relaxed);
}

/// The heap, locked.
pub(crate) fn lock() -> LockedGuard<'static, Heap> {
    HEAP.lock()
}

/// [`lock`], if that can be had within about `ns`.
pub(crate) fn lock_within(ns: u64) -> Option<LockedGuard<'static, Heap>> {
    HEAP.lock_within(ns)
}

/// Whether this thread is inside the heap: it can't allocate managed memory now.
pub(crate) fn is_locked_by_me() -> bool {
    HEAP.held_by_me()
}

impl Heap {
    /// Takes `len` bytes of whole chunks, readable and writable, zero, with records in the table.
    pub(crate) fn take_chunks(&mut self, len: usize, align: usize) -> Result<ByteRange> {
        let range = self.space.take(len, align)?;
        if let Err(e) =
            table::ensure(range).and_then(|()| map::protect(HostAddr(range.start), len, Prot::ReadWrite))
        {
            self.space.insert(range);
            return Err(e);
        }
        table::account(range, true);
        Ok(range)
    }

    /// As [`Heap::take_chunks`], for a large block: of what was freed before, if there is such; then it is not zero. And
    /// whether it is.
    fn take_for_block(&mut self, used: usize, align: usize) -> Result<(ByteRange, bool)> {
        let len = used.next_multiple_of(CHUNK);
        if let Some(range) = self.warm.take(len, align) {
            // The program may have protected it behind our back.
            if map::protect(HostAddr(range.start), len, Prot::ReadWrite).is_ok() {
                table::account(range, true);
                return Ok((range, false));
            }
            self.cool(range);
        }
        let range = self.take_chunks(len, align)?;
        // The last chunk's pages are small if much of a huge one would be for nothing; once a device is open that does not
        // count, but for how many blocks, each of which is two mappings then.
        let tail = used % CHUNK;
        if HUGE_LATER.load(Relaxed) && Devices::get().is_none() {
            return Ok((range, true));
        }
        let small = tail != 0
            && tail < CHUNK / 4 * 3
            && Devices::get().is_none()
            && self.small_tails < MOST_SMALL_TAILS;
        self.small_tails += usize::from(small);
        let huge = if small { used - tail } else { len };
        if huge > 0 {
            map::huge_pages(HostAddr(range.start), huge, true);
        }
        Ok((range, true))
    }

    /// Takes chunks of a large block back whose records say nothing any more, with their memory if there is room for it.
    fn put_warm(&mut self, range: ByteRange) {
        let mut out = Vec::new();
        // A device would be sent what the memory had before.
        if Devices::get().is_some() || !self.warm.put(range, &mut out) {
            return self.put_chunks(range);
        }
        table::account(range, false);
        window::release(range);
        out.into_iter().for_each(|range| self.cool(range));
    }

    /// Gives the memory of free chunks back.
    fn cool(&mut self, range: ByteRange) {
        let at = HostAddr(range.start);
        let empty = map::replace(at, range.len(), Prot::None).or_else(|_| map::give_back(at, range.len()));
        // What can't be emptied is never used again: it would be taken for zeros.
        if empty.is_ok() {
            self.space.insert(range);
        }
    }

    fn cool_all(&mut self) {
        while let Some(range) = self.warm.pop() {
            self.cool(range);
        }
    }

    /// Takes chunks back whose records say nothing any more; their memory is given back at once.
    pub(crate) fn put_chunks(&mut self, range: ByteRange) {
        table::account(range, false);
        window::release(range);
        self.cool(range);
    }

    /// All chunks of live blocks and slabs.
    pub(crate) fn chunks_in_use(&self) -> Vec<HostAddr> {
        let mut all = Vec::new();
        for arena in self.space.ranges() {
            let mut at = arena.start;
            let free = self.space.free_in(arena);
            let warm = self.warm.runs().filter(|r| r.overlaps(arena)).map(|r| (r.start, r.len()));
            let mut unused: Vec<_> = free.chain(warm).collect();
            unused.sort_unstable();
            for (start, len) in unused {
                all.extend((at..start).step_by(CHUNK).map(HostAddr));
                at = start + len;
            }
            all.extend((at..arena.end).step_by(CHUNK).map(HostAddr));
        }
        all
    }
}

/// A block of at least `size` bytes at a multiple of `align` (a power of two). Fresh memory is zero; `zeroed` says
/// whether this is.
pub(crate) fn allocate(size: usize, align: usize) -> Result<(HostAddr, bool)> {
    if size > isize::MAX as usize - CHUNK {
        return Err(Error::NoMemory { what: "a block", bytes: size });
    }
    let align_pages = align.div_ceil(PAGE).max(1);
    let size = size.max(1); // a block of nothing would be no block: the next one would have its address
    let pages = (size.div_ceil(PAGE) + align_pages - 1) & !(align_pages - 1);
    let made = if pages * PAGE <= slab::LARGEST {
        slab::allocate(pages, align_pages)
    } else {
        allocate_large(size, align)
    };
    if let Ok((at, _)) = made {
        trace::record(|| {
            let (addr, len) =
                trace::place(find(at).map_or(ByteRange { start: at.0, end: at.0 }, |f| f.range));
            What::Begin { addr, len, why: Why::Heap }
        });
    }
    made
}

#[inline(never)] // the other kind of block is the one that is to be fast
fn allocate_large(size: usize, align: usize) -> Result<(HostAddr, bool)> {
    let len = size.div_ceil(PAGE) * PAGE;
    let (range, zeroed) = HEAP.lock().take_for_block(len, align.max(CHUNK))?;
    let used = ByteRange { start: range.start, end: range.start + len };
    let _blocked = Blocked::new();
    let block = Block::take(used);
    for (at, part) in used.chunks() {
        let chunk = table::known(at);
        let mut g = Guard::lock(chunk, at);
        chunk.head.store(range.start, Relaxed);
        migrate::start_block(&g, PageMask::of(part));
        chunk.set_kind(Kind::Large);
        g.link(block);
    }
    block.join();
    STATS.managed_bytes.add(len as u64);
    Ok((HostAddr(range.start), zeroed))
}

/// Lets the large block at `addr` have `size` bytes, more than it has, in the chunks that it has; whether it can.
pub(crate) fn extend(addr: HostAddr, size: usize) -> bool {
    let Some(found) = find(addr).filter(|f| f.large && f.range.start == addr.0) else { return false };
    let (old, len) = (found.range, size.checked_next_multiple_of(PAGE).unwrap_or(usize::MAX));
    let end = addr.0.saturating_add(len);
    if end > old.end.next_multiple_of(CHUNK) {
        return false;
    }
    let last = HostAddr(old.end - 1).chunk_start();
    let more = PageMask::of(ByteRange { start: old.end, end });
    let chunk = table::known(last);
    let _blocked = Blocked::new();
    let g = Guard::lock(chunk, last);
    // What is behind the block has been through nothing: not so if the chunk was away.
    let new = chunk.is_as_new(0, PAGES) && chunk.copies.iter().all(|c| c.base.load(Relaxed) == 0);
    if !new || map::protect(HostAddr(old.end), end - old.end, Prot::ReadWrite).is_err() {
        return false;
    }
    chunk.managed.add(more);
    if let Some(block) = chunk.block() {
        block.extend(end);
    }
    drop(g);
    STATS.managed_bytes.add((end - old.end) as u64);
    if trace::is_on() {
        let (addr, len) = trace::place(old);
        trace::record(|| What::End { addr, len, why: Why::Heap });
        trace::record(|| What::Begin { addr, len: (end - old.start) as u64, why: Why::Heap });
    }
    true
}

/// A live block of the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its usable bytes.
    pub(crate) range: ByteRange,
    /// Whether it has chunks of its own.
    pub(crate) large: bool,
}

/// The live block that `addr` lies in.
pub(crate) fn find(addr: HostAddr) -> Option<Found> {
    let chunk = table::get(addr)?;
    if !chunk.managed.has(addr.page_in_chunk()) {
        return None;
    }
    match chunk.kind() {
        Kind::Slab => {
            let (index, unit) = slab::locate(chunk, addr)?;
            let start = addr.chunk_start().0 + index * unit * PAGE;
            Some(Found { range: ByteRange { start, end: start + unit * PAGE }, large: false })
        }
        Kind::Large => Some(Found { range: chunk.block()?.range(), large: true }),
        Kind::Adopted | Kind::Unused => None,
    }
}

/// Frees the block that starts at `addr`.
pub(crate) fn free(addr: HostAddr) -> Result<()> {
    free_with(addr, true)
}

/// As [`free`]; whether its memory is worth keeping.
pub(crate) fn free_with(addr: HostAddr, keep: bool) -> Result<()> {
    let unknown = Error::NotManaged { arg: "ptr", addr: addr.0 };
    let Some(chunk) = table::get(addr) else { return Err(unknown) };
    if trace::is_on() {
        trace_free(addr);
    }
    match chunk.kind() {
        _ if !chunk.managed.has(addr.page_in_chunk()) => Err(unknown),
        Kind::Slab => slab::free(chunk, addr),
        Kind::Large => free_large(chunk, addr, keep),
        Kind::Adopted | Kind::Unused => Err(unknown),
    }
}

/// Records that a block ends, before it does: afterwards another thread may have its address.
#[cold]
fn trace_free(addr: HostAddr) {
    if let Some(found) = find(addr).filter(|found| found.range.start == addr.0) {
        let (addr, len) = trace::place(found.range);
        trace::record(|| What::End { addr, len, why: Why::Heap });
    }
}

/// What `free` says about an address inside of a block.
pub(crate) const INSIDE: Error =
    Error::InvalidArgument { arg: "ptr", why: "it points into a block, not at its start" };

#[inline(never)] // as `allocate_large`
fn free_large(chunk: &Chunk, addr: HostAddr, mut keep: bool) -> Result<()> {
    let block = chunk.block().ok_or(Error::NotManaged { arg: "ptr", addr: addr.0 })?;
    let range = block.range();
    if range.start != addr.0 {
        return Err(INSIDE);
    }
    crate::access::wait_until_unused(range, "ptr")?;
    crate::pins::forget(range);
    {
        let _blocked = Blocked::new();
        block.part();
        for (at, _) in range.chunks() {
            let chunk = table::known(at);
            let mut g = Guard::lock(chunk, at);
            keep &= chunk.is_as_new(0, PAGES) && chunk.copies.iter().all(|c| c.base.load(Relaxed) == 0);
            g.unlink();
            chunk.managed.set(PageMask::EMPTY);
            chunk.set_kind(Kind::Unused);
            migrate::forget_chunk(&g);
        }
        Block::put(block);
    }
    STATS.managed_bytes.sub(range.len() as u64);
    let whole = ByteRange { start: range.start, end: range.end.next_multiple_of(CHUNK) };
    window::release(whole); // here already: a driver may wait for its kernels, and others should not wait for the heap then
    let mut heap = HEAP.lock();
    if keep {
        heap.put_warm(whole)
    } else {
        heap.put_chunks(whole)
    }
    Ok(())
}

/// Gives the memory of free chunks back that was kept.
pub(crate) fn cool() {
    HEAP.lock().cool_all();
}

/// Devices were opened: what there is of the heap gets the same addresses on one of them, if its driver can reserve
/// addresses that are in use.
pub(crate) fn devices_opened(devices: &Devices) {
    let mut heap = HEAP.lock();
    heap.cool_all();
    heap.space.mirror_in_place(devices);
    if HUGE_LATER.load(Relaxed) {
        // What is touched from here on; what there is gets them when it comes home.
        let chunks = heap.chunks_in_use();
        let is_large = |at: &HostAddr| table::known(*at).kind() == Kind::Large;
        for run in chunks.chunk_by(|a, b| a.0 + CHUNK == b.0 && is_large(a) == is_large(b)) {
            if is_large(&run[0]) {
                map::huge_pages(run[0], run.len() * CHUNK, true);
            }
        }
    }
}

/// Whether a device has the addresses of all blocks that there are, and of those to come.
pub(crate) fn is_mirrored() -> bool {
    let mut heap = HEAP.lock();
    heap.cool_all();
    heap.space.are_mirrored()
}

/// All chunks in use, for shutdown and fork. Slabs come as whole chunks.
pub(crate) fn chunks_in_use() -> Vec<HostAddr> {
    HEAP.lock().chunks_in_use()
}
