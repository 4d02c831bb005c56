//! Safe wrappers over c/floors.c. The functions named `bench_` in C are run by both sides, those named `floor_` only
//! by the floors. Main thread only: the bare fault loop keeps its range in a C static.

use std::ffi::{c_char, c_int, c_void};
use std::io;

/// The size of a chunk and of a huge page, in bytes.
pub const CHUNK: usize = 2 << 20;
/// The size of a page, in bytes.
pub const PAGE: usize = 4096;

unsafe extern "C" {
    fn bench_date(buf: *mut c_char, n: usize);
    fn bench_scan(p: *const c_void, words: usize) -> u64;
    fn bench_touch_read(base: *const u8, off: *const usize, n: usize, ns: *mut u64);
    fn bench_touch_write(base: *mut u8, off: *const usize, n: usize, ns: *mut u64);
    fn bench_triad_init(a: *mut f64, b: *mut f64, c: *mut f64, n: usize);
    fn bench_triad_check(a: *const f64, s: f64, n: usize) -> usize;
    fn bench_fork(p: *const u64, len: usize, sum: u64) -> u64;
    fn floor_map(len: usize, huge: c_int) -> *mut c_void;
    fn floor_unmap(p: *mut c_void, len: usize);
    fn floor_drop(p: *mut c_void, len: usize);
    fn floor_memcpy(dst: *mut c_void, src: *const c_void, n: usize);
    fn floor_stream_copy(dst: *mut c_void, src: *const c_void, n: usize);
    fn floor_zero_begin(p: *mut c_void, len: usize) -> c_int;
    fn floor_zero_end();
    fn floor_bare_begin(base: *mut c_void, len: usize, granule: usize, readable: c_int) -> c_int;
    fn floor_bare_end() -> u64;
    fn floor_mremap(x: *mut u8, y: *mut u8, n: usize, out_ns: *mut u64, in_ns: *mut u64) -> c_int;
    fn floor_malloc_pairs(size: usize, n: usize);
    fn floor_mmap_pairs(size: usize, n: usize);
    fn floor_lock_pairs(flags: *const u64, ranges: usize, n: usize);
}

/// Today in UTC, as YYYY-MM-DD.
pub fn date() -> String {
    let mut buf = [0u8; 16];
    // SAFETY: the buffer is 16 bytes long, and that length is passed.
    unsafe { bench_date(buf.as_mut_ptr().cast(), buf.len()) };
    buf.iter().take_while(|&&b| b != 0).map(|&b| b as char).collect()
}

/// Anonymous private memory of the floors, aligned to 2 MiB.
pub struct Map {
    ptr: *mut u8,
    len: usize,
}

impl Map {
    /// `len` bytes, untouched, with huge pages or without any.
    pub fn new(len: usize, huge: bool) -> io::Result<Self> {
        // SAFETY: asks for a new mapping, touches nothing that exists.
        let ptr: *mut u8 = unsafe { floor_map(len, huge.into()) }.cast();
        if ptr.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self { ptr, len }) }
    }

    /// The same, each word written with [`fill`]'s pattern.
    pub fn filled(len: usize, huge: bool) -> io::Result<Self> {
        let map = Self::new(len, huge)?;
        // SAFETY: the map is `len` writable bytes, aligned to 2 MiB, and nobody else knows it.
        unsafe { fill(map.ptr, map.len) };
        Ok(map)
    }

    /// Where it begins.
    pub fn ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// Gives the pages back to the system: the next touch takes fresh ones.
    pub fn drop_pages(&mut self) {
        // SAFETY: the range is this map; no reference into it exists (only raw pointers are handed out).
        unsafe { floor_drop(self.ptr.cast(), self.len) };
    }

    /// Writes each page's offset into its first word.
    pub fn dirty(&mut self) {
        for offset in (0..self.len).step_by(PAGE) {
            // SAFETY: the offset lies in the map, which is writable and ours.
            unsafe { self.ptr.add(offset).cast::<u64>().write_volatile(offset as u64) };
        }
    }

    /// Whether each page has what [`Map::dirty`] wrote.
    pub fn is_dirty(&self) -> bool {
        // SAFETY: the offset lies in the map, which is readable.
        let word = |offset| unsafe { self.ptr.add(offset).cast::<u64>().read_volatile() };
        (0..self.len).step_by(PAGE).all(|offset| word(offset) == offset as u64)
    }

    /// Plain memcpy of `len` bytes from `from` + `from_offset` to `offset` here.
    pub fn copy_from(&mut self, offset: usize, from: &Map, from_offset: usize, len: usize) {
        assert!(offset + len <= self.len && from_offset + len <= from.len);
        // SAFETY: both ranges lie in their maps (just checked), and two maps never overlap.
        unsafe { floor_memcpy(self.ptr.add(offset).cast(), from.ptr.add(from_offset).cast(), len) };
    }

    /// The same with non-temporal stores; offsets and length are multiples of 2 MiB.
    pub fn stream_from(&mut self, offset: usize, from: &Map, len: usize) {
        assert!(
            offset + len <= self.len.min(from.len)
                && offset.is_multiple_of(CHUNK)
                && len.is_multiple_of(CHUNK)
        );
        // SAFETY: as in `copy_from`; multiples of 2 MiB of aligned maps are aligned for the 16-byte accesses.
        unsafe { floor_stream_copy(self.ptr.add(offset).cast(), from.ptr.add(offset).cast(), len) };
    }

    /// Does `work` while another thread makes this map's pages present.
    pub fn while_populating(&mut self, work: impl FnOnce()) -> io::Result<()> {
        // SAFETY: the thread touches this map only, and is waited for before the map can be used or go away: `work`
        // can't reach the map, which is borrowed; `Finish` waits on every way out.
        let error = unsafe { floor_zero_begin(self.ptr.cast(), self.len) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let _finish = Finish;
        work();
        Ok(())
    }

    /// Sum of the 64-bit words.
    pub fn sum(&self) -> u64 {
        // SAFETY: the map is `len` readable bytes.
        unsafe { scan(self.ptr, self.len) }
    }

    /// Bare SIGSEGV + mprotect: protects the map, then times one write at each offset, where the handler opens one
    /// granule. Fails when not every write faulted.
    pub fn bare_faults(&mut self, granule: usize, readable: bool, offsets: &[usize]) -> io::Result<Vec<u64>> {
        assert!(offsets.iter().all(|&o| o < self.len));
        // SAFETY: protects and opens this map only; the handler that was there comes back in `floor_bare_end`, and
        // no managed memory is touched between the two.
        let error = unsafe { floor_bare_begin(self.ptr.cast(), self.len, granule, readable.into()) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: the offsets lie in the map (just checked), whose faults are served.
        let ns = unsafe { touch(self.ptr, offsets, true) };
        // SAFETY: closes what the call above began.
        let faults = unsafe { floor_bare_end() };
        if faults as usize != offsets.len() {
            return Err(io::Error::other(format!("{faults} bare faults for {} touches", offsets.len())));
        }
        Ok(ns)
    }

    /// Times of taking each 2 MiB block out into `other` (MREMAP_DONTUNMAP) and of putting it back.
    pub fn mremap_pairs(&mut self, other: &mut Map) -> io::Result<(Vec<u64>, Vec<u64>)> {
        let n = self.len.min(other.len) / CHUNK;
        let (mut out, mut back) = (vec![0; n], vec![0; n]);
        // SAFETY: both maps are at least n blocks long and aligned, and the vectors hold n values.
        let error = unsafe { floor_mremap(self.ptr, other.ptr, n, out.as_mut_ptr(), back.as_mut_ptr()) };
        if error == 0 { Ok((out, back)) } else { Err(io::Error::from_raw_os_error(error)) }
    }
}

/// Waits for the thread of [`Map::while_populating`], however its scope is left.
struct Finish;

impl Drop for Finish {
    fn drop(&mut self) {
        // SAFETY: made only after the thread was started, dropped once.
        unsafe { floor_zero_end() };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this map is ours and nobody uses it any more.
        unsafe { floor_unmap(self.ptr.cast(), self.len) };
    }
}

/// Writes a pattern that depends on the place, so that a chunk in the wrong place changes no sum but zeros do.
///
/// # Safety
/// `ptr` is aligned to 8 and `len` bytes from it are writable and not referred to elsewhere.
pub unsafe fn fill(ptr: *mut u8, len: usize) {
    let words: *mut u64 = ptr.cast();
    for i in 0..len / 8 {
        // SAFETY: i is below the number of words in the range that the caller vouches for.
        unsafe { words.add(i).write((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1) };
    }
}

/// The scan that both sides run: the sum of the 64-bit words.
///
/// # Safety
/// `ptr` is aligned to 16 and `len` bytes from it, a multiple of 64, can be read.
pub unsafe fn scan(ptr: *const u8, len: usize) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe { bench_scan(ptr.cast(), len / 8) }
}

/// The timed touches that both sides run: nanoseconds of one access (a read or a write) at each offset.
///
/// # Safety
/// Each offset from `base` can be read (or written), if need be after a fault that is served.
pub unsafe fn touch(base: *mut u8, offsets: &[usize], write: bool) -> Vec<u64> {
    let mut ns = vec![0; offsets.len()];
    // SAFETY: `ns` is as long as `offsets`; the accesses are as the caller vouches.
    unsafe {
        if write {
            bench_touch_write(base, offsets.as_ptr(), offsets.len(), ns.as_mut_ptr());
        } else {
            bench_touch_read(base, offsets.as_ptr(), offsets.len(), ns.as_mut_ptr());
        }
    }
    ns
}

/// Writes the triad's arrays: zeros to the first, values that depend on the place to the others.
///
/// # Safety
/// Each of the arrays is `n` writable elements, if need be after faults that are served.
pub unsafe fn triad_init([a, b, c]: [*mut f64; 3], n: usize) {
    // SAFETY: as the caller vouches.
    unsafe { bench_triad_init(a, b, c, n) };
}

/// How many of the first array's elements are not what the triad with `s` makes of the others.
///
/// # Safety
/// `a` is `n` readable elements, if need be after faults that are served.
pub unsafe fn triad_check(a: *const f64, s: f64, n: usize) -> usize {
    // SAFETY: as the caller vouches.
    unsafe { bench_triad_check(a, s, n) }
}

/// Forks: nanoseconds until this process goes on. The child checks that the first words of `len` bytes' pages at `p` have
/// this sum; `None`: they have not, or there was no child.
///
/// # Safety
/// `len` bytes from `p`, which is aligned to 8, are readable.
pub unsafe fn fork(p: *const u8, len: usize, sum: u64) -> Option<f64> {
    // SAFETY: the caller vouches; the child does nothing but read and end.
    let ns = unsafe { bench_fork(p.cast(), len, sum) };
    (ns != 0).then_some(ns as f64)
}

/// `n` times malloc, first byte written, free, with the C library's malloc.
pub fn malloc_pairs(size: usize, n: usize) {
    // SAFETY: allocates and frees memory of its own.
    unsafe { floor_malloc_pairs(size, n) };
}

/// `n` times mmap, first byte written, munmap.
pub fn mmap_pairs(size: usize, n: usize) {
    // SAFETY: maps and unmaps memory of its own.
    unsafe { floor_mmap_pairs(size, n) };
}

/// `n` times two uncontended locks, each around one load from each of `ranges` cache lines.
pub fn lock_pairs(ranges: usize, n: usize) {
    let flags = vec![0u64; ranges * 8];
    // SAFETY: range k's flag is word 8k of a vector of 8 x ranges words.
    unsafe { floor_lock_pairs(flags.as_ptr(), ranges, n) };
}
