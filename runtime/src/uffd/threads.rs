//! Messages name threads by the kernel's number, everything else of ours by `sys::thread::id`. Here is which is which, for
//! those that matter to a touch: who has acquired memory or is in a system call (it would wait for itself), and who reads
//! the program's pages with their chunk locked. Only where touches come as messages. Signal-safe.

use super::Delivery;
use crate::addr::{CHUNK, HostAddr};
use crate::sys::thread;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

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

/// Threads' numbers, and which chunk each reads (`<< 32`). 0: free.
static READERS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
/// Beside them: a page is being filled for the thread, which does not go on meanwhile.
const CLAIMED: u64 = 1 << 31;

/// Thread `number` reads the chunk that `addr` is in. The table knows addresses of 48 bits.
fn reader(number: u32, addr: HostAddr) -> u64 {
    ((addr.0 / CHUNK) as u64) << 32 | u64::from(number)
}

/// The calling thread reads the program's pages with their chunk locked.
pub(crate) struct Reading {
    slot: usize,
    reader: u64,
}

impl Reading {
    /// From here on, until it is dropped: pages of the chunk that `at` is in.
    pub(crate) fn begin(at: HostAddr) -> Reading {
        let reader = reader(thread::number(), at);
        loop {
            let free = READERS.iter().position(|r| r.compare_exchange(0, reader, AcqRel, Relaxed).is_ok());
            match free {
                Some(slot) => return Reading { slot, reader },
                None => core::hint::spin_loop(), // more than that do not copy at once for long
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // A message may be older than what its thread does now: then it is claimed although the thread runs.
        while READERS[self.slot].compare_exchange(self.reader, 0, AcqRel, Relaxed).is_err() {
            core::hint::spin_loop();
        }
    }
}

/// A reading thread that stays where it is until this is dropped: in the copying, with the chunk locked.
pub(super) struct Claim {
    slot: usize,
    reader: u64,
}

/// Claims the thread with this number, if it is reading the chunk that `addr` is in: then the lock of that is the thread's, and
/// nobody takes its pages away. Of another chunk's pages a message can tell that is older than what the thread does now.
pub(super) fn claim(number: u32, addr: HostAddr) -> Option<Claim> {
    let reader = reader(number, addr);
    let claimed = |r: &AtomicU64| r.compare_exchange(reader, reader | CLAIMED, AcqRel, Relaxed).is_ok();
    let slot = if number == 0 { None } else { READERS.iter().position(claimed) };
    slot.map(|slot| Claim { slot, reader })
}

impl Drop for Claim {
    fn drop(&mut self) {
        READERS[self.slot].store(self.reader, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only for pages of the chunk whose lock it has does a thread stand for them: others may leave meanwhile.
    #[test]
    fn who_reads_a_chunk_is_claimed_for_its_pages_only() {
        let (at, me) = (HostAddr(0x7fff_1240_0000), thread::number());
        assert!(claim(me, at).is_none());
        let reading = Reading::begin(at);
        assert!(claim(me, at.add(CHUNK)).is_none() && claim(me, HostAddr(at.0 - 1)).is_none());
        assert!(claim(me + 1, at).is_none() && claim(0, at).is_none());
        let claimed = claim(me, at.add(CHUNK - 1)).expect("it reads there");
        assert!(claim(me, at).is_none(), "one page at a time is filled for it");
        drop(claimed);
        assert!(claim(me, at).is_some());
        drop(reading);
        assert!(claim(me, at).is_none());
    }
}
