//! A managed block for the rows: raw pointer and length, freed on drop. Everything goes through `hmmrt::raw`, the
//! functions that the C interface wraps.

use crate::floors;
use hmmrt::{Access, AccessMode, Error, Page, StreamId, raw};

/// One block of managed memory.
pub struct Block {
    ptr: *mut u8,
    len: usize,
}

#[allow(clippy::len_without_is_empty, reason = "no row has an empty block")]
impl Block {
    /// `len` untouched bytes.
    pub fn new(len: usize) -> Result<Self, Error> {
        Ok(Self { ptr: raw::malloc(len)?, len })
    }

    /// `len` bytes with the pattern of [`floors::fill`].
    pub fn filled(len: usize) -> Result<Self, Error> {
        let block = Self::new(len)?;
        // SAFETY: the block is `len` writable bytes, at least 16-aligned, that nobody else knows.
        unsafe { floors::fill(block.ptr, len) };
        Ok(block)
    }

    /// Where it begins.
    pub fn ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Moves the whole block; done on return.
    pub fn migrate(&self, location: i32) -> Result<usize, Error> {
        raw::migrate(self.ptr, self.len, location)
    }

    /// Writes one word into each page: afterwards each is on the host and nowhere else.
    pub fn dirty(&self) {
        for offset in (0..self.len).step_by(floors::PAGE) {
            // SAFETY: the offset lies in the block, which is writable; no reference into it exists.
            unsafe { self.ptr.add(offset).cast::<u64>().write_volatile(offset as u64) };
        }
    }

    /// Sum of the 64-bit words, read by the CPU.
    pub fn sum(&self) -> u64 {
        // SAFETY: the block is `len` readable bytes (a fault brings them home), a multiple of 64 in every row.
        unsafe { floors::scan(self.ptr, self.len) }
    }

    /// Nanoseconds of one access at each offset.
    pub fn touch(&self, offsets: &[usize], write: bool) -> Vec<u64> {
        assert!(offsets.iter().all(|&o| o < self.len));
        // SAFETY: the offsets lie in the block (just checked); its faults are the runtime's to serve.
        unsafe { floors::touch(self.ptr, offsets, write) }
    }

    /// The state of the page that `offset` lies in.
    pub fn page(&self, offset: usize) -> Result<Page, Error> {
        Ok(self.pages(offset / floors::PAGE * floors::PAGE, 1)?[0])
    }

    /// The states of `n` pages from `offset`, the start of a page, on.
    pub fn pages(&self, offset: usize, n: usize) -> Result<Vec<Page>, Error> {
        let mut out = vec![Page { flags: 0, device: -1 }; n];
        raw::query(self.ptr.wrapping_add(offset), n * floors::PAGE, &mut out)?;
        Ok(out)
    }

    /// Whether the page at `offset` is valid on the host, and whether on a device.
    pub fn valid(&self, offset: usize) -> Result<(bool, bool), Error> {
        let page = self.page(offset)?;
        Ok((page.flags & Page::HOST != 0, page.flags & Page::DEVICE != 0))
    }

    /// Lets `device` use the block once and waits: with `Read`, each page is then valid on both sides.
    pub fn use_once(&self, device: i32, mode: AccessMode) -> Result<(), Error> {
        acquire_release(device, &[Access { ptr: self.ptr, len: self.len, mode }])?;
        raw::stream_synchronize(StreamId(0))
    }
}

/// Acquire and release on the default stream, with nothing between them.
pub fn acquire_release(device: i32, accesses: &[Access]) -> Result<(), Error> {
    // SAFETY: the ranges are managed blocks that their callers own, and no kernel is launched in between.
    unsafe { raw::acquire(device, StreamId(0), accesses)? };
    raw::release(device, StreamId(0))
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `raw::malloc` and is freed once.
        if let Err(error) = unsafe { raw::free(self.ptr) } {
            eprintln!("freeing a block of {} bytes: {error}", self.len);
        }
    }
}
