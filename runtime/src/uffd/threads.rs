//! Messages name threads by the kernel's number, everything else of ours by `sys::thread::id`. Here is which is which, for
//! those that matter to a touch: who has acquired memory or is in a system call (it would wait for itself), and who reads
//! the program's pages with their chunk locked. Only where touches come as messages. Signal-safe.

use super::Delivery;
use crate::sys::thread;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

const SLOTS: usize = 4096;
const NEAR: usize = 16;

static IDS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
static NUMBERS: [AtomicU32; SLOTS] = [const { AtomicU32::new(0) }; SLOTS];

/// The places where a thread may be entered.
fn places(id: usize) -> impl Iterator<Item = usize> {
    let first = (id >> 6).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    (0..NEAR).map(move |i| (first + i) % SLOTS)
}

/// Enters the calling thread.
pub(crate) fn note() {
    if super::delivery() != Delivery::Message {
        return;
    }
    let me = thread::id();
    let mine = places(me).find(|&i| IDS[i].load(Acquire) == me);
    let free = || places(me).find(|&i| IDS[i].compare_exchange(0, me, AcqRel, Relaxed).is_ok());
    // Threads end without a word: the place of one that is long gone may have to do.
    let slot = mine.or_else(free).unwrap_or_else(|| {
        let slot = places(me).next().unwrap_or(0);
        IDS[slot].store(me, Release);
        slot
    });
    NUMBERS[slot].store(thread::number(), Release); // another thread had the same id before it, perhaps
}

/// The kernel's number of a thread that has been entered.
pub(crate) fn number_of(id: usize) -> Option<u32> {
    let slot = places(id).find(|&i| IDS[i].load(Acquire) == id)?;
    Some(NUMBERS[slot].load(Acquire))
}

/// Numbers of threads, 0: free.
static READERS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];
/// Beside the number: a page is being filled for the thread, which does not go on meanwhile.
const CLAIMED: u32 = 1 << 31;

/// The calling thread reads the program's pages with their chunk locked.
pub(crate) struct Reading {
    slot: usize,
    number: u32,
}

impl Reading {
    /// From here on, until it is dropped.
    pub(crate) fn begin() -> Reading {
        let number = thread::number();
        loop {
            let free = READERS.iter().position(|r| r.compare_exchange(0, number, AcqRel, Relaxed).is_ok());
            match free {
                Some(slot) => return Reading { slot, number },
                None => core::hint::spin_loop(), // more than that do not copy at once for long
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // A message may be older than what its thread does now: then it is claimed although the thread runs.
        while READERS[self.slot].compare_exchange(self.number, 0, AcqRel, Relaxed).is_err() {
            core::hint::spin_loop();
        }
    }
}

/// A reading thread that stays where it is until this is dropped: in the copying, with the chunk locked.
pub(super) struct Claim {
    slot: usize,
    number: u32,
}

/// Claims the thread with this number, if it is reading.
pub(super) fn claim(number: u32) -> Option<Claim> {
    let claimed = |r: &AtomicU32| r.compare_exchange(number, number | CLAIMED, AcqRel, Relaxed).is_ok();
    let slot = if number == 0 { None } else { READERS.iter().position(claimed) };
    slot.map(|slot| Claim { slot, number })
}

impl Drop for Claim {
    fn drop(&mut self) {
        READERS[self.slot].store(self.number, Release);
    }
}
