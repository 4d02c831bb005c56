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

static READERS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

/// The calling thread reads the program's pages with their chunk locked.
pub(crate) struct Reading(usize);

impl Reading {
    /// From here on, until it is dropped.
    pub(crate) fn begin() -> Reading {
        let me = thread::number();
        loop {
            let free = READERS.iter().position(|r| r.compare_exchange(0, me, AcqRel, Relaxed).is_ok());
            match free {
                Some(slot) => return Reading(slot),
                None => core::hint::spin_loop(), // more than that do not copy at once for long
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READERS[self.0].store(0, Release);
    }
}

/// Whether the thread with this number is reading so.
pub(super) fn is_reading(number: u32) -> bool {
    number != 0 && READERS.iter().any(|r| r.load(Acquire) == number)
}
