//! Blocks smaller than a chunk: each slab is one chunk cut into blocks of one size, whole pages each. Free blocks are
//! bits, kept outside of the memory itself. Under the heap's lock, API context only; the fault path only reads
//! `Chunk::managed`, which is written here for slabs. `allocate` and `free` are four locked instructions and one more
//! as a barrier, which is most of what they take: nothing else in them may wait for memory.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE, PAGES};
use crate::chunk::{Chunk, Guard, Kind};
use crate::error::{Error, Result};
use crate::mask::PageMask;
use crate::stats::STATS;
use crate::sys::map;
use crate::sys::signal::Blocked;
use crate::{access, heap, inflight, migrate, table, uffd};
use core::sync::atomic::{Ordering::*, fence};

/// Block sizes in pages: as many as fit n to a chunk, thinned out so that at most a sixth of a block is wasted.
const CLASSES: [u16; 28] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 21, 24, 28, 32, 36, 42, 51, 64, 73, 85, 102, 128, 170, 256,
];
/// The least class for a number of pages.
const CLASS_OF: [u8; 257] = {
    let mut table = [0; 257];
    let mut pages = 1;
    while pages < table.len() {
        let class = table[pages - 1];
        table[pages] = if CLASSES[class as usize] as usize >= pages { class } else { class + 1 };
        pages += 1;
    }
    table
};
/// The largest block that comes from a slab, in bytes.
pub(crate) const LARGEST: usize = 256 * PAGE;

struct Slab {
    at: HostAddr,
    chunk: &'static Chunk,
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

/// Blocks in a slab of each class.
const CAPACITY: [u16; CLASSES.len()] = {
    let mut table = [0; CLASSES.len()];
    let mut class = 0;
    while class < table.len() {
        table[class] = PAGES as u16 / CLASSES[class];
        class += 1;
    }
    table
};

/// A block of at least `pages` pages at a multiple of `align` pages, a power of two that divides `pages`; the flag says
/// whether it is known to be zero.
pub(crate) fn allocate(pages: usize, align: usize) -> Result<(HostAddr, bool)> {
    let mut class = CLASS_OF[pages] as usize;
    while CLASSES[class] as usize & (align - 1) != 0 {
        class += 1; // ends at 256 pages: `align` is not more than `pages`
    }
    let unit = CLASSES[class] as usize;
    let mut heap = heap::lock();
    let number = match heap.slabs.partial[class].last() {
        Some(&n) => n,
        None => make(&mut heap, class)?,
    };
    let slabs = &mut heap.slabs;
    let slab = &mut slabs.all[number as usize];
    if slab.count == CAPACITY[class] {
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
    slab.chunk.managed.add_span(index * unit, unit);
    STATS.slab_bytes.add((unit * PAGE) as u64);
    if uffd::delivery() != uffd::Delivery::Off {
        fence(SeqCst); // who begins to watch the chunk sees the block, or this sees that it is watched
    }
    if slab.chunk.is_watched() {
        let chunk = slab.chunk;
        drop(heap);
        begin_watched(chunk, at, unit).inspect_err(|_| _ = free(chunk, at))?;
    }
    Ok((at, false))
}

/// A new block among others that touches of are noticed by userfaultfd: the kernel may be given it at once, and who clears it needs
/// no memory for that.
#[cold]
fn begin_watched(chunk: &'static Chunk, at: HostAddr, unit: usize) -> Result<()> {
    let _blocked = Blocked::new();
    let g = Guard::lock(chunk, at.chunk_start());
    migrate::fill_missing(&g, PageMask::span(at.page_in_chunk(), unit))
}

/// Another slab, wholly free.
#[cold]
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
        g.note_if_new();
    }
    let blocks = PageMask::span(0, CAPACITY[class] as usize);
    let mut free = [0u64; 8];
    blocks.runs().for_each(|(f, n)| (f..f + n).for_each(|i| free[i / 64] |= 1 << (i % 64)));
    let slab = Slab { at, chunk, class: class as u8, free, count: CAPACITY[class], listed: true };
    if (number as usize) < slabs.all.len() {
        slabs.all[number as usize] = slab;
    } else {
        slabs.all.push(slab);
    }
    slabs.partial[class].push(number);
    slabs.empty[class] += 1;
    Ok(number)
}

/// Which block of its slab `at` lies in, and how many pages each has. A look without the lock.
#[inline]
pub(crate) fn locate(chunk: &Chunk, at: HostAddr) -> Option<(usize, usize)> {
    let unit = chunk.unit.load(Relaxed);
    // 32 bits: a long division takes longer.
    Some(((at.page_in_chunk() as u32).checked_div(unit)? as usize, unit as usize))
}

/// Frees the block at `at`.
#[inline]
pub(crate) fn free(chunk: &'static Chunk, at: HostAddr) -> Result<()> {
    let unknown = Error::NotManaged { arg: "ptr", addr: at.0 };
    let Some((index, unit)) = locate(chunk, at) else { return Err(unknown) };
    let first = index * unit;
    if at.0 != at.chunk_start().0 + first * PAGE {
        return Err(heap::INSIDE);
    }
    let range = ByteRange { start: at.0, end: at.0 + unit * PAGE };
    if !inflight::is_empty() {
        access::wait_until_unused(range, "ptr")?;
    }
    let mut heap = heap::lock();
    // Only one thread may free a block: the bit in `managed` decides, under the heap's lock.
    let same = chunk.kind() == Kind::Slab && chunk.unit.load(Relaxed) as usize == unit;
    if !same || !chunk.managed.has(first) {
        return Err(unknown);
    }
    // From here on no prefetch starts on these pages (it looks at `managed` after it has taken the chunk's lock); one
    // that holds the lock is waited for.
    chunk.managed.remove_span_and_fence(first, unit);
    crate::holds::forget(range); // what was jumped out of, or left by a child of vfork
    let unchanged = chunk.is_unchanged();
    if !unchanged && (chunk.is_locked() || !chunk.is_as_new(first, unit)) && !clean_up(chunk, range) {
        return Ok(()); // its pages can't be made accessible now: never handed out again
    }
    STATS.slab_bytes.sub(range.len() as u64);
    let number = chunk.head.load(Relaxed);
    let slabs = &mut heap.slabs;
    let slab = &mut slabs.all[number];
    let class = slab.class as usize;
    slab.free[index / 64] |= 1 << (index % 64);
    slab.count += 1;
    if !slab.listed {
        slab.listed = true;
        slabs.partial[class].push(number as u32);
    }
    if slab.count == CAPACITY[class] {
        slabs.empty[class] += 1;
        if slabs.empty[class] > 1 {
            retire(&mut heap, number);
        } else if !unchanged {
            rest(chunk, at.chunk_start());
        }
    }
    Ok(())
}

/// Makes the pages of a block that is being freed plain again, whatever was done with them; whether that worked.
#[cold]
fn clean_up(chunk: &'static Chunk, range: ByteRange) -> bool {
    let pages = PageMask::of(range);
    crate::pins::forget(range); // its lock comes before any chunk's
    let _blocked = Blocked::new();
    let g = Guard::lock(chunk, HostAddr(range.start).chunk_start());
    chunk.managed.add(pages);
    let done = migrate::make_plain(&g, pages);
    migrate::set_pinned(&g, chunk.pinned.get() & !pages);
    let open = done.and_then(|()| migrate::set_user_protection(&g, pages, true, true));
    if open.is_err() {
        migrate::disown(&g, pages); // devices' memory goes without a look at these again
    }
    chunk.managed.remove(pages);
    g.note_if_new();
    open.is_ok()
}

/// The wholly free slab that is kept holds no device memory.
#[cold]
fn rest(chunk: &'static Chunk, at: HostAddr) {
    let _blocked = Blocked::new();
    let g = Guard::lock(chunk, at);
    migrate::release_device(&g);
    g.note_if_new();
}

/// A wholly free slab beyond the one that is kept: its chunk goes back.
#[cold]
fn retire(heap: &mut heap::Heap, number: usize) {
    let slabs = &mut heap.slabs;
    let Slab { at, chunk, class, .. } = slabs.all[number];
    let class = class as usize;
    slabs.empty[class] -= 1;
    slabs.partial[class].retain(|n| *n != number as u32);
    slabs.unused.push(number as u32);
    {
        let _blocked = Blocked::new();
        let g = Guard::lock(chunk, at);
        chunk.set_kind(Kind::Unused);
        migrate::forget_chunk(&g);
    }
    heap.put_chunks(ByteRange { start: at.0, end: at.0 + CHUNK });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins;

    /// A block of so many bytes; the heap needs no runtime that has started.
    fn block(size: usize, align: usize) -> ByteRange {
        heap::allocate(size, align).unwrap().0.range(size)
    }

    fn give_back(block: ByteRange) {
        heap::free(HostAddr(block.start)).unwrap();
    }

    #[test]
    fn the_least_class_that_fits() {
        for (pages, &class) in CLASS_OF.iter().enumerate().skip(1) {
            assert_eq!(class as usize, CLASSES.partition_point(|&c| (c as usize) < pages));
        }
    }

    #[test]
    fn blocks_are_aligned_as_asked() {
        for shift in 0..=9 {
            let align = PAGE << shift;
            for pages in [1, 11, 44, 100, 255] {
                let blocks = [0; 3].map(|_| block(pages * PAGE, align));
                assert!(blocks.iter().all(|b| b.start.is_multiple_of(align)), "{pages} pages at {align}");
                blocks.into_iter().for_each(give_back);
            }
        }
    }

    #[test]
    fn pins_and_frees_of_neighbours_do_not_wait_for_each_other() {
        const TIMES: usize = if cfg!(miri) { 30 } else { 50_000 };
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    for _ in 0..TIMES {
                        let [kept, other] = [0; 2].map(|_| block(7 * PAGE, 1));
                        pins::pin(kept).unwrap();
                        pins::pin(other).unwrap();
                        pins::unpin(kept).unwrap();
                        give_back(other);
                        give_back(kept);
                    }
                });
            }
        });
    }
}
