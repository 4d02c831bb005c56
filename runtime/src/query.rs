//! Looking without touching: `hmm_query`. Reads the table and asks the kernel about pages; takes each chunk's lock for
//! the time of a copy of its masks, and once more where the kernel's protection is not the one remembered. API context.

use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::chunk::Guard;
use crate::device::MAX_DEVICES;
use crate::error::{Error, Result};
use crate::mask::PageMask;
use crate::sys::pagemap::Pagemap;
use crate::sys::signal::Blocked;
use crate::sys::vma::{Maps, Vma};
use crate::table;

/// What is known of one page (`hmm_page`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Page {
    /// The `HMM_PAGE_*` bits; 0: nothing is mapped there.
    pub flags: u32,
    /// The device with a valid copy, -1 if none.
    pub device: i32,
}

impl Page {
    /// Never written: zeros, with no memory behind them.
    pub const UNTOUCHED: u32 = 1;
    /// The host's bytes are valid.
    pub const HOST: u32 = 2;
    /// A device's bytes are valid.
    pub const DEVICE: u32 = 4;
    /// The program's own protection allows reading.
    pub const READ: u32 = 8;
    /// The program's own protection allows writing.
    pub const WRITE: u32 = 16;
    /// Pinned to the host.
    pub const PINNED: u32 = 32;
    /// Mapped, but not managed.
    pub const FOREIGN: u32 = 64;
}

/// Fills `out` with one entry for each page that `range` touches.
pub(crate) fn query(range: ByteRange, out: &mut [Page]) -> Result<()> {
    let pages = range.pages_out();
    if out.len() < pages.len() / PAGE {
        return Err(Error::InvalidArgument { arg: "count", why: "there are more pages in the range" });
    }
    let (maps, pagemap) = (Maps::open(), Pagemap::open());
    let mut last: Option<Vma> = None;
    for (at, part) in pages.chunks() {
        let first = (part.start - pages.start) / PAGE;
        let count = part.len() / PAGE;
        query_chunk(at, part, &maps, &pagemap, &mut last, &mut out[first..first + count]);
    }
    Ok(())
}

fn query_chunk(
    at: HostAddr,
    part: ByteRange,
    maps: &Maps,
    pagemap: &Pagemap,
    last: &mut Option<Vma>,
    out: &mut [Page],
) {
    let managed = table::get(at).map(|chunk| {
        let _blocked = Blocked::new();
        let g = Guard::lock_as_it_is(chunk, at);
        let c = g.chunk;
        // Nothing is allocated with the chunk locked: who has the allocator's locks may be waiting for it, in a signal handler.
        let mut devices = [PageMask::EMPTY; MAX_DEVICES];
        for (valid, copy) in devices.iter_mut().zip(&c.copies[..crate::chunk::device_count()]) {
            *valid = copy.valid.get();
        }
        let touched = pagemap.touched(at);
        (
            c.managed.get(),
            c.host.get(),
            c.user_none.get(),
            c.user_read_only.get(),
            c.pinned.get(),
            devices,
            touched,
            c.is_early(),
        )
    });
    let mut asked = None;
    for (i, page) in out.iter_mut().enumerate() {
        let addr = HostAddr(part.start + i * PAGE);
        let n = addr.page_in_chunk();
        let mut vma = || {
            if last.is_none_or(|v| addr.0 < v.start || v.end <= addr.0) {
                *last = maps.at(addr);
            }
            *last
        };
        *page = match &managed {
            Some((managed, host, none, read_only, pinned, devices, touched, early)) if managed.has(n) => {
                let device = devices.iter().position(|d| d.has(n));
                let plain = host.has(n) && device.is_none();
                let untouched = plain && !touched.has(n);
                // On a plain page the program's protection is what the kernel says; else what we remember.
                let remembered = (!none.has(n), !none.has(n) && !read_only.has(n));
                let (read, write) = match (plain && !early, vma()) {
                    (true, Some(v)) if !(v.read && v.write && remembered == (true, true)) => {
                        // Somebody has closed it: the program, or the page has begun to leave since.
                        let (read, write) =
                            *asked.get_or_insert_with(|| protections(at, PageMask::of(part), maps));
                        (read.has(n), write.has(n))
                    }
                    _ => remembered,
                };
                let bit = |yes: bool, flag: u32| if yes { flag } else { 0 };
                let flags = bit(untouched, Page::UNTOUCHED)
                    | bit(host.has(n) && !untouched, Page::HOST)
                    | bit(device.is_some(), Page::DEVICE)
                    | bit(read, Page::READ)
                    | bit(write, Page::WRITE)
                    | bit(pinned.has(n), Page::PINNED);
                Page { flags, device: device.map_or(-1, |d| d as i32) }
            }
            _ => match vma() {
                None => Page { flags: 0, device: -1 },
                Some(v) => {
                    let mut flags = Page::FOREIGN | Page::HOST;
                    flags |= if v.read { Page::READ } else { 0 } | if v.write { Page::WRITE } else { 0 };
                    Page { flags, device: -1 }
                }
            },
        };
    }
}

/// The pages of a chunk that the program's own protection lets be read, and those that it lets be written: asked with the chunk
/// locked, so that what is found is nobody else's.
fn protections(at: HostAddr, pages: PageMask, maps: &Maps) -> (PageMask, PageMask) {
    let (mut read, mut write) = (PageMask::EMPTY, PageMask::EMPTY);
    let Some(chunk) = table::get(at) else { return (read, write) };
    let _blocked = Blocked::new();
    let g = Guard::lock_as_it_is(chunk, at);
    let c = g.chunk;
    let plain = c.managed.get() & c.host.get() & !c.on_devices();
    let closed = c.is_early();
    let mut last: Option<Vma> = None;
    for n in pages.runs().flat_map(|(first, count)| first..first + count) {
        let addr = g.page(n);
        let one = PageMask::span(n, 1);
        let (may_read, may_write) = if plain.has(n) && !closed && !c.unsettled.get().has(n) {
            if last.is_none_or(|v| addr.0 < v.start || v.end <= addr.0) {
                last = maps.at(addr);
            }
            last.map_or((false, false), |v| (v.read, v.read && v.write))
        } else {
            (!c.user_none.has(n), !c.user_none.has(n) && !c.user_read_only.has(n))
        };
        read = if may_read { read | one } else { read };
        write = if may_write { write | one } else { write };
    }
    (read, write)
}
