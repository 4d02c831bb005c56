//! Looking without touching: `hmm_query`. Reads the table and asks the kernel about pages; takes each chunk's lock for
//! the time of a copy of its masks. API context.

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
                let (read, write) = match (plain && !early, vma()) {
                    (true, Some(v)) => (v.read, v.read && v.write),
                    _ => (!none.has(n), !none.has(n) && !read_only.has(n)),
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
