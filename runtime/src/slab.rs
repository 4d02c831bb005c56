//! Blocks smaller than a chunk: each slab is one chunk cut into blocks of one size, whole pages each. Free blocks are
//! bits, kept outside of the memory itself. Under the heap's lock, API context only; the fault path only reads
//! `Chunk::managed`, which is written here for slabs.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE, PAGES};
use crate::chunk::{Guard, Kind};
use crate::error::{Error, Result};
use crate::mask::PageMask;
use crate::stats::STATS;
use crate::sys::map;
use crate::sys::signal::Blocked;
use crate::{access, heap, migrate, table};
use core::sync::atomic::{Ordering::*, fence};

/// Block sizes in pages: as many as fit n to a chunk, thinned out so that at most a sixth of a block is wasted.
const CLASSES: [u16; 28] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 21, 24, 28, 32, 36, 42, 51, 64, 73, 85, 102, 128, 170, 256,
];
/// The largest block that comes from a slab, in bytes.
pub(crate) const LARGEST: usize = 256 * PAGE;

struct Slab {
    at: HostAddr,
    class: u8,
    free: [u64; 8],
    count: u16,
    /// Whether it stands in its class's list of slabs with free blocks.
    listed: bool,
}

/// All slabs.
pub(crate) struct Slabs {
    all: Vec<Slab>,
    unused: Vec<u32>,
    /// Per class: slabs with free blocks, and how many slabs are wholly free.
    partial: [Vec<u32>; CLASSES.len()],
    empty: [u32; CLASSES.len()],
}

impl Slabs {
    pub(crate) const fn new() -> Slabs {
        Slabs {
            all: Vec::new(),
            unused: Vec::new(),
            partial: [const { Vec::new() }; CLASSES.len()],
            empty: [0; CLASSES.len()],
        }
    }
}

fn capacity(class: usize) -> usize {
    PAGES / CLASSES[class] as usize
}

/// A block of at least `pages` pages; the flag says whether it is known to be zero.
pub(crate) fn allocate(pages: usize) -> Result<(HostAddr, bool)> {
    let class = CLASSES.partition_point(|&c| (c as usize) < pages);
    let unit = CLASSES[class] as usize;
    let mut heap = heap::lock();
    let number = match heap.slabs.partial[class].last() {
        Some(&n) => n,
        None => make(&mut heap, class)?,
    };
    let slabs = &mut heap.slabs;
    let slab = &mut slabs.all[number as usize];
    if slab.count as usize == capacity(class) {
        slabs.empty[class] -= 1;
    }
    let word = slab
        .free
        .iter()
        .position(|w| *w != 0)
        .ok_or(Error::NoMemory { what: "a block", bytes: pages * PAGE })?;
    let index = word * 64 + slab.free[word].trailing_zeros() as usize;
    slab.free[word] &= slab.free[word] - 1;
    slab.count -= 1;
    if slab.count == 0 {
        slab.listed = false;
        slabs.partial[class].pop();
    }
    let at = slab.at.add(index * unit * PAGE);
    let chunk = table::known(at);
    chunk.managed.add(PageMask::span(index * unit, unit));
    drop(heap);
    STATS.managed_bytes.add((unit * PAGE) as u64);
    Ok((at, false))
}

fn make(heap: &mut heap::Heap, class: usize) -> Result<u32> {
    let range = heap.take_chunks(CHUNK, CHUNK)?;
    let at = HostAddr(range.start);
    map::huge_pages(at, CHUNK, false);
    let slabs = &mut heap.slabs;
    let number = slabs.unused.pop().unwrap_or(slabs.all.len() as u32);
    let chunk = table::known(at);
    {
        let _blocked = Blocked::new();
        let g = Guard::lock(chunk, at);
        migrate::start_block(&g, PageMask::EMPTY);
        chunk.unit.store(u32::from(CLASSES[class]), Relaxed);
        chunk.head.store(number as usize, Relaxed);
        chunk.set_kind(Kind::Slab);
    }
    let blocks = PageMask::span(0, capacity(class));
    let mut free = [0u64; 8];
    blocks.runs().for_each(|(f, n)| (f..f + n).for_each(|i| free[i / 64] |= 1 << (i % 64)));
    let slab = Slab { at, class: class as u8, free, count: capacity(class) as u16, listed: true };
    if (number as usize) < slabs.all.len() {
        slabs.all[number as usize] = slab;
    } else {
        slabs.all.push(slab);
    }
    slabs.partial[class].push(number);
    slabs.empty[class] += 1;
    Ok(number)
}

/// Frees the block at `at`, whose bytes are `range`.
pub(crate) fn free(at: HostAddr, range: ByteRange) -> Result<()> {
    let chunk = table::known(at);
    let pages = PageMask::of(range);
    access::wait_until_unused(range, "ptr")?;
    let mut heap = heap::lock();
    // Only one thread may free a block: the bit in `managed` decides, under the heap's lock.
    if !chunk.managed.has(at.page_in_chunk()) || chunk.kind() != Kind::Slab {
        return Err(Error::NotManaged { arg: "ptr", addr: at.0 });
    }
    chunk.managed.remove(pages);
    // From here on no prefetch starts on these pages; one that holds the chunk's lock is waited for.
    fence(SeqCst);
    if chunk.is_locked() || !chunk.is_plain(pages) || !at_ease(chunk, pages) {
        let _blocked = Blocked::new();
        let g = Guard::lock(chunk, at.chunk_start());
        chunk.managed.add(pages);
        let done = migrate::make_plain(&g, pages);
        migrate::set_pinned(&g, chunk.pinned.get() & !pages);
        crate::pins::forget(range);
        let open = done.and_then(|()| migrate::set_user_protection(&g, pages, true, true));
        chunk.managed.remove(pages);
        if open.is_err() {
            return Ok(()); // its pages can't be made accessible now: never handed out again
        }
    }
    let number = chunk.head.load(Relaxed);
    let index = at.page_in_chunk() / (range.len() / PAGE);
    let slabs = &mut heap.slabs;
    let slab = &mut slabs.all[number];
    let class = slab.class as usize;
    slab.free[index / 64] |= 1 << (index % 64);
    slab.count += 1;
    if !slab.listed {
        slab.listed = true;
        slabs.partial[class].push(number as u32);
    }
    if slab.count as usize == capacity(class) {
        slabs.empty[class] += 1;
        if slabs.empty[class] > 1 {
            retire(&mut heap, number);
        } else if chunk.copies.iter().any(|c| c.base.load(Relaxed) != 0) {
            let _blocked = Blocked::new();
            migrate::release_device(&Guard::lock(chunk, at.chunk_start()));
        }
    }
    drop(heap);
    STATS.managed_bytes.sub(range.len() as u64);
    Ok(())
}

/// Whether nothing is left of pins and the program's own protections.
fn at_ease(chunk: &crate::chunk::Chunk, pages: PageMask) -> bool {
    !pages.meets(chunk.pinned.get() | chunk.user_none.get() | chunk.user_read_only.get())
}

/// A wholly free slab beyond the one that is kept: its chunk goes back.
fn retire(heap: &mut heap::Heap, number: usize) {
    let slabs = &mut heap.slabs;
    let (at, class) = (slabs.all[number].at, slabs.all[number].class as usize);
    slabs.empty[class] -= 1;
    slabs.partial[class].retain(|n| *n != number as u32);
    slabs.unused.push(number as u32);
    let chunk = table::known(at);
    {
        let _blocked = Blocked::new();
        let g = Guard::lock(chunk, at);
        chunk.set_kind(Kind::Unused);
        migrate::forget_chunk(&g);
    }
    heap.put_chunks(ByteRange { start: at.0, end: at.0 + CHUNK });
}
