//! Which pages hold something: PAGEMAP_SCAN (Linux 6.7), else /proc/self/pagemap, else "all of them". Called by migrate
//! on write-protected pages and by query. No descriptor is kept open: a program that closes all descriptors and opens
//! its own under the same number must not be read by mistake. Signal-safe.

use super::kernel;
use crate::addr::{HostAddr, PAGE, PAGES};
use crate::mask::PageMask;

const PAGEMAP_SCAN: core::ffi::c_ulong = 0xC060_6610;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const PFNZERO: u64 = 1 << 5;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// An open pagemap, for one operation.
pub(crate) struct Pagemap(Option<i32>);

impl Pagemap {
    /// Opens it; where there is none, every page counts as touched.
    pub(crate) fn open() -> Pagemap {
        Pagemap(super::open_read(c"/proc/self/pagemap"))
    }

    /// As where there is none.
    #[cfg(all(test, not(hmmrt_standin)))]
    pub(crate) fn nowhere() -> Pagemap {
        Pagemap(None)
    }

    /// The pages of the chunk at `chunk` that hold anything but zeros the kernel knows of.
    pub(crate) fn touched(&self, chunk: HostAddr) -> PageMask {
        let Some(fd) = self.0 else { return PageMask::FULL };
        scan(fd, chunk).or_else(|| read(fd, chunk)).unwrap_or(PageMask::FULL)
    }

    /// Whether there is nothing at this page, if that can be said. Needs little stack.
    pub(crate) fn is_hole(&self, page: HostAddr) -> Option<bool> {
        let (mut entry, at) = (0_u64, (page.0 / PAGE * 8) as i64);
        // SAFETY: the buffer is valid for its size.
        let read = unsafe { kernel::pread(self.0?, (&raw mut entry).cast(), 8, at) };
        (read == 8).then_some(entry >> 62 == 0) // neither present (63) nor swapped (62)
    }

    /// The pages of the chunk that are there, zero pages too; if the kernel can say it (Linux 6.7). Needs little stack.
    pub(crate) fn present(&self, chunk: HostAddr) -> Option<PageMask> {
        scan_small(self.0?, chunk)
    }
}

impl Drop for Pagemap {
    fn drop(&mut self) {
        if let Some(fd) = self.0 {
            super::close(fd);
        }
    }
}

/// The pages that are there, but for zero pages. With room for all runs there can be: too much for a small stack.
fn scan(fd: i32, chunk: HostAddr) -> Option<PageMask> {
    let mut regions = [Region::default(); PAGES / 2 + 1];
    let (found, end) = scan_from(fd, chunk, chunk.0, &mut regions, false)?;
    (end == chunk.0 + PAGES * PAGE).then_some(found)
}

/// As [`scan`], zero pages too; with little stack.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn scan_small(fd: i32, chunk: HostAddr) -> Option<PageMask> {
    let mut regions = [Region::default(); 8];
    let (mut all, mut at) = (PageMask::EMPTY, chunk.0);
    while at < chunk.0 + PAGES * PAGE {
        let (found, end) = scan_from(fd, chunk, at, &mut regions, true)?;
        if end <= at {
            return None;
        }
        (all, at) = (all | found, end);
    }
    Some(all)
}

/// The pages of the chunk from `from` on that are there, as far as `regions` has room for runs of them; and how far that is.
fn scan_from(
    fd: i32,
    chunk: HostAddr,
    from: usize,
    regions: &mut [Region],
    zero_pages: bool,
) -> Option<(PageMask, usize)> {
    let mut arg = ScanArg {
        size: size_of::<ScanArg>() as u64,
        start: from as u64,
        end: (chunk.0 + PAGES * PAGE) as u64,
        vec: regions.as_mut_ptr().expose_provenance() as u64,
        vec_len: regions.len() as u64,
        category_anyof_mask: PRESENT | SWAPPED,
        return_mask: if zero_pages { PRESENT } else { PFNZERO },
        ..ScanArg::default()
    };
    // SAFETY: the argument and the vector it points to are valid for their sizes; another file than a pagemap
    // answers ENOTTY.
    let n = unsafe { kernel::ioctl(fd, PAGEMAP_SCAN, &raw mut arg) };
    let mut found = PageMask::EMPTY;
    for r in regions.get(..usize::try_from(n).ok()?)? {
        if zero_pages || r.categories & PFNZERO == 0 {
            found = found
                | PageMask::span((r.start as usize - chunk.0) / PAGE, (r.end - r.start) as usize / PAGE);
        }
    }
    Some((found, arg.walk_end as usize))
}

fn read(fd: i32, chunk: HostAddr) -> Option<PageMask> {
    let mut entries = [0u64; PAGES];
    let (bytes, at) = (size_of_val(&entries), (chunk.0 / PAGE * 8) as i64);
    // SAFETY: the buffer is valid for its size.
    if unsafe { kernel::pread(fd, entries.as_mut_ptr().cast(), bytes, at) } != bytes as isize {
        return None;
    }
    let mut touched = PageMask::EMPTY;
    for (page, e) in entries.iter().enumerate() {
        if e >> 62 != 0 {
            touched = touched | PageMask::span(page, 1); // present (63) or swapped (62)
        }
    }
    Some(touched)
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself does
mod tests {
    use super::*;
    use crate::addr::CHUNK;
    use crate::sys::map::{self, Prot};

    #[test]
    fn tells_touched_pages_both_ways() {
        let at = map::map(CHUNK, CHUNK, Prot::ReadWrite, "test").unwrap();
        map::huge_pages(at, CHUNK, false);
        for page in [0usize, 1, 5, 511] {
            // SAFETY: freshly mapped writable memory.
            unsafe { at.add(page * PAGE).ptr().write_volatile(1) };
        }
        let expected = PageMask::span(0, 2) | PageMask::span(5, 1) | PageMask::span(511, 1);
        let pagemap = Pagemap::open();
        assert_eq!(read(pagemap.0.unwrap(), at), Some(expected));
        assert_eq!(pagemap.touched(at), expected);
        assert_eq!([2, 5].map(|page| pagemap.is_hole(at.add(page * PAGE))), [Some(true), Some(false)]);
        assert_eq!(Pagemap::nowhere().is_hole(at.add(2 * PAGE)), None);
        // SAFETY: as above; a read maps the zero page, which holds nothing.
        unsafe { at.add(7 * PAGE).ptr().read_volatile() };
        if let Some(scanned) = scan(pagemap.0.unwrap(), at) {
            assert_eq!(scanned, expected);
            assert_eq!(pagemap.present(at), Some(expected | PageMask::span(7, 1)));
            for page in (20..500).step_by(2) {
                // SAFETY: as above.
                unsafe { at.add(page * PAGE).ptr().write_volatile(1) };
            }
            let many = (20..500).step_by(2).fold(expected, |m, page| m | PageMask::span(page, 1));
            assert_eq!(pagemap.present(at), Some(many | PageMask::span(7, 1)));
        }
        map::unmap(at, CHUNK);
    }
}
