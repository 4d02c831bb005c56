//! The stand-in's mappings: each is an allocation, with a byte for every page that says what the kernel would know of it.
//! Addresses can't be chosen: a mapping at a given place is refused, unless it replaces one that is there. One lock.

use super::pointer;
use crate::addr::PAGE;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// More than any test needs at once; the heap asks for a TiB first, and then for less.
const MOST: usize = 400 << 20;

/// A page's state is its protection (`PROT_*`), and these.
const UNMAPPED: u8 = 1 << 7;
/// It may hold something: it could be written since it was last zero.
const USED: u8 = 1 << 6;
const PROT: u8 = 7;

/// What was mapped in one call.
struct Region {
    /// The allocation that it is in.
    at: usize,
    layout: Layout,
    pages: Vec<u8>,
}

type Regions = BTreeMap<usize, Region>;
static REGIONS: Mutex<Regions> = Mutex::new(BTreeMap::new());

fn regions() -> MutexGuard<'static, Regions> {
    REGIONS.lock().unwrap_or_else(|e| e.into_inner())
}

type Answer = Result<usize, i32>;

/// The states of the pages of `at..at + len`, which are in one region.
fn pages(all: &mut Regions, at: usize, len: usize) -> Result<&mut [u8], i32> {
    let whole = at.is_multiple_of(PAGE) && len != 0;
    let len = len.checked_next_multiple_of(PAGE).filter(|_| whole).ok_or(libc::EINVAL)?;
    let (base, region) = all.range_mut(..=at).next_back().ok_or(libc::ENOMEM)?;
    let first = (at - base) / PAGE;
    region.pages.get_mut(first..first + len / PAGE).ok_or(libc::ENOMEM)
}

/// As [`pages`], all of them mapped.
fn mapped(all: &mut Regions, at: usize, len: usize) -> Result<&mut [u8], i32> {
    pages(all, at, len).and_then(|pages| match pages.iter().any(|p| p & UNMAPPED != 0) {
        true => Err(libc::ENOMEM),
        false => Ok(pages),
    })
}

fn state_of(prot: i32) -> u8 {
    prot as u8 | if prot & libc::PROT_WRITE != 0 { USED } else { 0 }
}

/// Makes pages zero.
fn clear(at: usize, pages: &mut [u8]) {
    for (i, page) in pages.iter_mut().enumerate().filter(|(_, page)| **page & USED != 0) {
        // SAFETY: a page of a region; who writes it while it is given back is out of luck with a kernel, too.
        unsafe { pointer::<u8>(at + i * PAGE).write_bytes(0, PAGE) };
        *page &= !USED;
    }
    // What is writable may hold something in a moment.
    pages.iter_mut().for_each(|page| *page |= if *page & PROT & 2 != 0 { USED } else { 0 });
}

/// mmap(2) of anonymous memory.
pub(super) fn map(at: usize, len: usize, prot: i32, flags: i32) -> Answer {
    let mut all = regions();
    if flags & libc::MAP_FIXED_NOREPLACE == libc::MAP_FIXED_NOREPLACE {
        return Err(libc::EEXIST);
    }
    if flags & libc::MAP_FIXED != 0 {
        let pages = pages(&mut all, at, len)?;
        clear(at, pages);
        pages.fill(state_of(prot));
        return Ok(at);
    }
    if len == 0 || len > MOST {
        return Err(if len == 0 { libc::EINVAL } else { libc::ENOMEM });
    }
    // With no alignment asked for, so that the allocator gives what the kernel has zeroed.
    let len = len.next_multiple_of(PAGE);
    let layout = Layout::from_size_align(len + PAGE, 1).map_err(|_| libc::ENOMEM)?;
    // SAFETY: the layout has a size.
    let at = unsafe { alloc_zeroed(layout) };
    if at.is_null() {
        return Err(libc::ENOMEM);
    }
    let at = at.expose_provenance();
    let base = at.next_multiple_of(PAGE);
    all.insert(base, Region { at, layout, pages: vec![state_of(prot); len / PAGE] });
    Ok(base)
}

/// munmap(2): an allocation goes when nothing of it is mapped.
pub(super) fn unmap(at: usize, len: usize) -> Answer {
    let mut all = regions();
    let gone = pages(&mut all, at, len)?;
    gone.fill(UNMAPPED);
    let Some((&base, region)) = all.range(..=at).next_back() else { return Err(libc::EINVAL) };
    if region.pages.iter().all(|p| p & UNMAPPED != 0) {
        let (at, layout) = (region.at, region.layout);
        all.remove(&base);
        // SAFETY: allocated with this layout, and nobody has it any more.
        unsafe { dealloc(pointer(at), layout) };
    }
    Ok(0)
}

/// mprotect(2).
pub(super) fn protect(at: usize, len: usize, prot: i32) -> Answer {
    for page in mapped(&mut regions(), at, len)? {
        *page = *page & USED | state_of(prot);
    }
    Ok(0)
}

/// mremap(2) with MREMAP_MAYMOVE, MREMAP_FIXED and MREMAP_DONTUNMAP: the one that the runtime makes of its own accord.
pub(super) fn remap(from: usize, len: usize, new_len: usize, flags: i32, to: usize) -> Answer {
    let all_three = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    if flags != all_three || new_len != len || from.abs_diff(to) < len {
        return Err(libc::EINVAL);
    }
    let mut all = regions();
    let source = mapped(&mut all, from, len)?;
    let state = source[0];
    if source.iter().any(|p| p & PROT != state & PROT) {
        return Err(libc::EFAULT); // of several mappings
    }
    pages(&mut all, to, len)?.fill(state | USED);
    // SAFETY: both are in regions, and do not overlap.
    unsafe { pointer::<u8>(to).copy_from_nonoverlapping(pointer::<u8>(from), len) };
    let source = mapped(&mut all, from, len)?;
    source.fill(state | USED);
    clear(from, source);
    Ok(to)
}

/// madvise(2).
pub(super) fn advise(at: usize, len: usize, advice: i32) -> Answer {
    let mut all = regions();
    let pages = mapped(&mut all, at, len)?;
    match advice {
        libc::MADV_DONTNEED => clear(at, pages),
        libc::MADV_HUGEPAGE
        | libc::MADV_NOHUGEPAGE
        | libc::MADV_DOFORK
        | libc::MADV_KEEPONFORK
        | libc::MADV_DODUMP => {}
        _ => return Err(libc::EINVAL),
    }
    Ok(0)
}

/// pread(2) and pwrite(2) of /proc/self/mem: whatever the protection is, if it is mapped.
///
/// # Safety
/// There are `len` bytes at `other`, and nobody else uses those at `at`.
pub(super) unsafe fn copy(at: usize, other: usize, len: usize, write: bool) -> Answer {
    let start = at / PAGE * PAGE;
    let mut all = regions();
    let pages = mapped(&mut all, start, at - start + len).map_err(|_| libc::EIO)?;
    let (to, from) = if write { (at, other) } else { (other, at) };
    // SAFETY: the caller's promise, and the memory is there.
    unsafe { pointer::<u8>(to).copy_from_nonoverlapping(pointer::<u8>(from), len) };
    pages.iter_mut().for_each(|page| *page |= if write { USED } else { 0 });
    Ok(len)
}

/// The mapping that covers `addr`, or the next one: pages of one protection.
pub(super) fn mapping(addr: usize) -> Option<(usize, usize, u8)> {
    let all = regions();
    let before = all.range(..=addr).next_back();
    before.into_iter().chain(all.range(addr..)).find_map(|(base, region)| {
        let mut at = 0;
        let runs = region.pages.chunk_by(|a, b| a & !USED == b & !USED);
        runs.map(|run| {
            let start = base + at * PAGE;
            at += run.len();
            (start, base + at * PAGE, run[0] & !USED)
        })
        .find(|(_, end, state)| *end > addr && state & UNMAPPED == 0)
    })
}

/// Whether a page of ours may not be read (or written). Memory that is no mapping's is whoever's it is.
pub(super) fn forbids(at: usize, write: bool) -> bool {
    let wanted = if write { 3 } else { 1 };
    pages(&mut regions(), at / PAGE * PAGE, 1)
        .is_ok_and(|pages| pages[0] & UNMAPPED != 0 || pages[0] & wanted != wanted)
}

/// Whether the CPU may read (or write) all of `len` bytes: else it would fault.
#[cfg(test)]
pub(super) fn may(at: usize, len: usize, write: bool) -> bool {
    let wanted = if write { 3 } else { 1 };
    let start = at / PAGE * PAGE;
    mapped(&mut regions(), start, at - start + len)
        .is_ok_and(|pages| pages.iter().all(|p| p & wanted == wanted))
}
