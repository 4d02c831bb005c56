//! Adopted memory whose pages each have a word of their own, and what is asked of it.

use hmmrt::Page;
use hmmrt::raw::{self, mapping};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub const PAGE: usize = 4096;

pub const MIB: usize = 1 << 20;

pub const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

pub const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// The statistics are the process's: one test at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Private anonymous memory, adopted, whose pages each have a word of their own.
pub fn adopted(len: usize) -> *mut u8 {
    // SAFETY: a mapping of our own.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, RW, ANON, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    mapping::prepare().unwrap();
    // SAFETY: a new mapping.
    assert!(unsafe { mapping::adopt(at.expose_provenance(), len, RW) });
    fill(at.cast(), len, 1);
    at.cast()
}

pub fn fill(at: *mut u8, len: usize, seed: u64) {
    // SAFETY: mapped, writable.
    (0..len).step_by(PAGE).for_each(|i| unsafe { at.add(i).cast::<u64>().write_volatile(seed + i as u64) });
}

pub fn holds(at: *const u8, len: usize, seed: u64) -> bool {
    // SAFETY: mapped, readable.
    (0..len).step_by(PAGE).all(|i| unsafe { at.add(i).cast::<u64>().read_volatile() } == seed + i as u64)
}

pub fn zero(at: *const u8, len: usize) -> bool {
    // SAFETY: as above.
    (0..len).step_by(PAGE).all(|i| unsafe { at.add(i).cast::<u64>().read_volatile() } == 0)
}

pub fn flags(at: *const u8, len: usize) -> Vec<u32> {
    let mut out = vec![Page::default(); len / PAGE];
    raw::query(at, len, &mut out).unwrap();
    out.iter().map(|p| p.flags).collect()
}

pub fn all_are(at: *const u8, len: usize, state: u32) -> bool {
    let mask = Page::UNTOUCHED | Page::HOST | Page::DEVICE;
    flags(at, len).iter().all(|f| f & mask == state)
}

pub fn send(at: *const u8, len: usize) {
    raw::migrate(at, len, 0).unwrap();
    assert!(all_are(at, len, Page::DEVICE));
}

/// How much was copied home since.
pub fn brought_home(since: &hmmrt::Stats) -> u64 {
    raw::stats().bytes_to_host - since.bytes_to_host
}

/// The kernel's own pages, by its number: where they are, the program asks.
pub fn remap(at: *mut u8, old: usize, new: usize, flags: i32, to: *mut u8) -> Result<*mut u8, i32> {
    // SAFETY: memory of the test's.
    unsafe { mapping::remap(at.addr(), old, new, flags, to.addr()) }
        .map(std::ptr::with_exposed_provenance_mut)
}
