//! One operation of io_uring, by the bare system calls.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// `IORING_OP_READ`.
pub const READ: u8 = 22;
/// `IORING_OP_WRITE`.
pub const WRITE: u8 = 23;
/// Places in `struct io_uring_params`, in bytes: how many completions, and where the parts of the rings are.
const CQ_ENTRIES: usize = 4;
const SQ_TAIL: usize = 44;
const SQ_ARRAY: usize = 64;
const CQ_HEAD: usize = 80;
const CQ_TAIL: usize = 84;
const CQ_CQES: usize = 100;
/// `IORING_OFF_SQES`.
const ENTRIES: i64 = 0x1000_0000;
const SHARED: i32 = libc::MAP_SHARED | libc::MAP_POPULATE;

/// Reads or writes `len` bytes at `at`, from the start of the file: what the completion says. `None`: there is no io_uring here.
///
/// # Safety
/// So many bytes are there.
pub unsafe fn once(operation: u8, fd: i32, at: *mut u8, len: usize) -> Option<i32> {
    let mut params = [0_u8; 120];
    // SAFETY: a place for the parameters, and mappings of the ring's own size; the kernel says where what is in them.
    unsafe {
        let ring = libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr());
        if ring < 0 {
            return None;
        }
        let ring = OwnedFd::from_raw_fd(ring as i32);
        let number = |place: usize| {
            u32::from_ne_bytes(params[place..place + 4].try_into().unwrap_or_default()) as usize
        };
        let rings = (number(SQ_ARRAY) + 4).max(number(CQ_CQES) + 16 * number(CQ_ENTRIES));
        let map = |len, offset| {
            let at = libc::mmap(null_mut(), len, crate::memory::RW, SHARED, ring.as_raw_fd(), offset);
            assert_ne!(at, libc::MAP_FAILED);
            at.cast::<u8>()
        };
        let (base, entry) = (map(rings, 0), map(64, ENTRIES));
        let word = |place: usize| AtomicU32::from_ptr(base.add(number(place)).cast());
        entry.write(operation);
        entry.add(4).cast::<i32>().write(fd);
        entry.add(16).cast::<u64>().write(at.expose_provenance() as u64);
        entry.add(24).cast::<u32>().write(len as u32);
        word(SQ_ARRAY).store(0, Relaxed);
        word(SQ_TAIL).store(1, Release);
        let wait = 1_u32; // IORING_ENTER_GETEVENTS
        assert_eq!(
            libc::syscall(libc::SYS_io_uring_enter, ring.as_raw_fd(), 1, 1, wait, null_mut::<u8>(), 0),
            1
        );
        assert!(word(CQ_TAIL).load(Acquire) == 1 && word(CQ_HEAD).load(Relaxed) == 0);
        let answer = base.add(number(CQ_CQES) + 8).cast::<i32>().read();
        libc::munmap(base.cast(), rings);
        libc::munmap(entry.cast(), 64);
        Some(answer)
    }
}
