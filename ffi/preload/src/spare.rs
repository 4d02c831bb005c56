//! Memory for this library itself, for a thread that is in a call of `calls/fork`: that may be a signal handler which has
//! interrupted the C library's allocator, with its locks held. A stretch of address space that is used from its start on, and
//! from there again when nothing of it is in use. Signal-safe.

use crate::names;
use core::sync::atomic::{AtomicUsize, Ordering::*};

/// Enough for lists of all chunks there can be memory for.
const LEN: usize = 256 << 20;
static START: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The thread that allocates here, or 0.
static USER: AtomicUsize = AtomicUsize::new(0);

fn me() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::pthread_self() as usize }
}

/// The calling thread allocates here until this is dropped; `None`: another does, or there is no room.
pub struct Use(());

impl Use {
    pub fn begin() -> Option<Use> {
        USER.compare_exchange(0, me(), SeqCst, Relaxed).ok()?;
        if START.load(Relaxed) == 0 {
            let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
            let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
            // SAFETY: a new mapping.
            let at = unsafe { names::bare(libc::SYS_mmap, [0, LEN, prot, flags, usize::MAX, 0]) };
            if (-4095..0).contains(&at) {
                USER.store(0, SeqCst);
                return None;
            }
            START.store(at as usize, SeqCst);
        }
        if LIVE.load(SeqCst) == 0 {
            NEXT.store(0, Relaxed);
        }
        Some(Use(()))
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        USER.store(0, SeqCst);
    }
}

/// Whether the calling thread allocates here.
#[inline]
pub fn is_used() -> bool {
    match USER.load(Relaxed) {
        0 => false,
        user => user == me(),
    }
}

/// `size` bytes, for the thread that does; NULL: there is no more.
pub fn allocate(size: usize, align: usize) -> *mut u8 {
    let (start, next) = (START.load(Relaxed), NEXT.load(Relaxed));
    let at = (start + next).next_multiple_of(align.max(16));
    let end = at.saturating_add(size);
    if end > start + LEN {
        return core::ptr::null_mut();
    }
    NEXT.store(end - start, Relaxed);
    LIVE.fetch_add(1, SeqCst);
    core::ptr::with_exposed_provenance_mut(at)
}

/// Whether that is from here.
#[inline]
pub fn owns(at: *const u8) -> bool {
    let start = START.load(Relaxed);
    start != 0 && (start..start + LEN).contains(&at.addr())
}

/// One of them is given back. Any thread.
pub fn free() {
    LIVE.fetch_sub(1, SeqCst);
}
