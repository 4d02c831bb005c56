//! Memory for this library itself, for a thread that is in a call of `calls/fork`: that may be a signal handler which has
//! interrupted the C library's allocator, with its locks held. Stretches of address space, each used from its start on, and
//! from there again when nothing of it is in use: what stays (a list of the runtime's that has grown) keeps one of them.
//! Signal-safe, as long as there is room.

use crate::names;
use core::sync::atomic::{AtomicUsize, Ordering::*};

/// Enough for lists of all chunks of a terabyte.
const PART: usize = 32 << 20;
const PARTS: usize = 8;
static START: AtomicUsize = AtomicUsize::new(0);
/// Where the next one begins, and up to where there is room: of the part that is used now.
static NEXT: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
/// What of each part is in use.
static LIVE: [AtomicUsize; PARTS] = [const { AtomicUsize::new(0) }; PARTS];
/// The thread that allocates here, or 0.
static USER: AtomicUsize = AtomicUsize::new(0);

fn me() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::pthread_self() as usize }
}

/// The calling thread allocates here until this is dropped; `None`: it does already, or there is no room.
pub struct Use(());

impl Use {
    pub fn begin() -> Option<Use> {
        let me = me();
        // Another's is over without this thread, which has locked nothing: whoever has may not be interrupted.
        while let Err(user) = USER.compare_exchange(0, me, SeqCst, Relaxed) {
            if user == me {
                return None;
            }
            // SAFETY: no memory is involved.
            unsafe { names::bare(libc::SYS_sched_yield, [0; 6]) };
        }
        if START.load(Relaxed) == 0 {
            let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
            let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
            // SAFETY: a new mapping.
            let at = unsafe { names::bare(libc::SYS_mmap, [0, PARTS * PART, prot, flags, usize::MAX, 0]) };
            if (-4095..0).contains(&at) {
                USER.store(0, SeqCst);
                return None;
            }
            START.store(at as usize, SeqCst);
        }
        let Some(part) = LIVE.iter().position(|live| live.load(SeqCst) == 0) else {
            USER.store(0, SeqCst);
            return None;
        };
        let start = START.load(Relaxed) + part * PART;
        NEXT.store(start, Relaxed);
        END.store(start + PART, Relaxed);
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

/// `size` bytes, for the thread that does; `None`: there is no more room.
pub fn allocate(size: usize, align: usize) -> Option<*mut u8> {
    let at = NEXT.load(Relaxed).next_multiple_of(align.max(16));
    let end = at.checked_add(size).filter(|end| *end <= END.load(Relaxed))?;
    NEXT.store(end, Relaxed);
    LIVE[part_of(at)].fetch_add(1, SeqCst);
    Some(core::ptr::with_exposed_provenance_mut(at))
}

fn part_of(at: usize) -> usize {
    (at - START.load(Relaxed)) / PART
}

/// Whether that is from here.
#[inline]
pub fn owns(at: *const u8) -> bool {
    let start = START.load(Relaxed);
    start != 0 && (start..start + PARTS * PART).contains(&at.addr())
}

/// One of them is given back. Any thread.
pub fn free(at: *const u8) {
    LIVE[part_of(at.addr())].fetch_sub(1, SeqCst);
}
