//! Spare host blocks: 2 MiB each, filled where nobody can see them and then put in place. Warm blocks (with memory
//! behind them) are kept up to `HMMRT_SPARE`; a background thread refills the pool while faults drain it, because
//! making a huge page present costs more than the copy into it. Small pages for parts of a chunk are `scratch`'s. `take` and
//! `put` are reached by the signal handler: signal-safe.

use crate::addr::{CHUNK, HostAddr};
use crate::error::Result;
use crate::scratch;
use crate::stats::STATS;
use crate::sys::futex::{self, Locked};
use crate::sys::map::{self, Prot};
use crate::sys::thread;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

/// Places are this far apart, so that the mappings of two writable ones never merge: making one warm would hold up every
/// change of the other's protection. Before the first one and behind the last there is reserved memory, too: what is moved to a
/// place while userfaultfd watches it, and becomes one with a mapping beside it, takes the watch from that.
const STRIDE: usize = 2 * CHUNK;
/// Places for blocks beyond the warm ones: one per thread that can be filling at the same time.
const EXTRA: usize = 64;
/// The most places: 128 GiB of spare blocks.
const MOST: usize = 65_536;

/// The bytes that `count` places take.
fn length(count: usize) -> usize {
    CHUNK + count * STRIDE
}

/// Where a place is in a reservation that begins at `base`.
fn address(base: usize, place: u32) -> HostAddr {
    HostAddr(base + CHUNK + place as usize * STRIDE)
}

struct Places {
    base: usize,
    /// Places with memory behind them, as a stack.
    warm: Vec<u32>,
    /// Places without.
    cold: Vec<u32>,
    limit: usize,
}

static PLACES: Locked<Places> = Locked::new(Places { base: 0, warm: Vec::new(), cold: Vec::new(), limit: 0 });

/// A place for a block, owned by the caller.
pub(crate) struct Spare {
    /// Where it is: chunk-aligned, protected in whatever way.
    pub(crate) at: HostAddr,
    place: u32,
}

/// Reserves the places. Called at start and again after shutdown with another limit; the reservation only grows.
pub(crate) fn start(spare_bytes: usize) -> Result<()> {
    let limit = (spare_bytes / CHUNK).min(MOST - EXTRA);
    let wanted = limit + EXTRA;
    let _blocked = crate::sys::signal::Blocked::new();
    let mut places = PLACES.lock();
    if places.warm.len() + places.cold.len() < wanted {
        let base = map::map(length(wanted), CHUNK, Prot::None, "spare blocks")?;
        map::huge_pages(base, length(wanted), true);
        // An earlier, smaller reservation is left to nobody: its places are given back.
        if places.base != 0 {
            let old = HostAddr(places.base);
            let len = length(places.warm.len() + places.cold.len());
            STATS.spare_bytes.sub((places.warm.len() * CHUNK) as u64);
            map::unmap(old, len);
        }
        places.base = base.0;
        // Both lists have room for every place: pushing never allocates in the fault path.
        places.warm = Vec::with_capacity(wanted);
        places.cold = Vec::with_capacity(wanted);
        places.cold.extend((0..wanted as u32).rev());
    }
    places.limit = limit;
    drop(places);
    scratch::start()
}

/// A block to fill, writable; warm if there is one. `None`: all places are taken at this moment. Signal-safe.
pub(crate) fn take() -> Option<Spare> {
    let spare = {
        let mut places = PLACES.lock();
        let warm = places.warm.pop();
        if warm.is_some() {
            STATS.spare_bytes.sub(CHUNK as u64);
        }
        let low = places.warm.len() < places.limit / 2;
        let place = warm.or_else(|| places.cold.pop())?;
        let spare = Spare { at: address(places.base, place), place };
        drop(places);
        if low {
            Keeper::call();
        }
        spare
    };
    if map::protect(spare.at, CHUNK, Prot::ReadWrite).is_err() {
        put(spare, false);
        return None;
    }
    Some(spare)
}

/// An empty place to take a chunk's pages out to, if the pool has room for them. Signal-safe.
pub(crate) fn take_cold() -> Option<Spare> {
    let mut places = PLACES.lock();
    if places.warm.len() >= places.limit {
        return None;
    }
    let place = places.cold.pop()?;
    Some(Spare { at: address(places.base, place), place })
}

/// Whether the pool would keep another warm block.
pub(crate) fn has_room() -> bool {
    let places = PLACES.lock();
    places.warm.len() < places.limit
}

/// Gives a place back; `warm` says whether memory is behind it. Signal-safe.
pub(crate) fn put(spare: Spare, warm: bool) {
    if warm {
        map::forget_advice(spare.at, CHUNK); // a mapping moves as it is, and the next chunk is another block's
    }
    let mut places = PLACES.lock();
    if warm && places.warm.len() < places.limit {
        places.warm.push(spare.place);
        STATS.spare_bytes.add(CHUNK as u64);
        return;
    }
    if warm {
        let _ = map::give_back(spare.at, CHUNK); // still ours: nobody else knows the place
    }
    places.cold.push(spare.place);
}

/// The thread that keeps the pool warm.
pub(crate) struct Keeper {
    thread: thread::Thread,
}

/// Warm blocks that each call of a fault justifies, up to the pool's limit: a sequential reader has all after eight.
const BLOCKS_PER_CALL: usize = 4;

static CALLS: AtomicU32 = AtomicU32::new(0);
/// Changes whenever there is something to look at.
static BELL: AtomicU32 = AtomicU32::new(0);
static ASLEEP: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);

impl Keeper {
    /// Starts it.
    pub(crate) fn start() -> Option<Keeper> {
        STOP.store(false, SeqCst);
        CALLS.store(0, SeqCst);
        let thread = thread::spawn_helper("hmmrt-spare", run).ok()?;
        Some(Keeper { thread })
    }

    /// Faults are draining the pool. Signal-safe.
    fn call() {
        CALLS.fetch_add(1, SeqCst);
        Keeper::ring();
    }

    /// There is something to keep warm. Signal-safe.
    pub(crate) fn ring() {
        BELL.fetch_add(1, SeqCst);
        if ASLEEP.load(SeqCst) {
            futex::wake(&BELL, 1);
        }
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        STOP.store(true, SeqCst);
        Keeper::ring();
        self.thread.join();
    }
}

/// Whether another warm block is worth its memory: a program that faults once does not pay for the whole pool.
fn is_wanted() -> bool {
    let demand = CALLS.load(Relaxed) as usize;
    PLACES.lock().warm.len() < demand.saturating_mul(BLOCKS_PER_CALL)
}

fn run() {
    loop {
        let seen = BELL.load(SeqCst);
        scratch::warm(|| STOP.load(SeqCst));
        while !STOP.load(SeqCst) && is_wanted() {
            let Some(spare) = take_cold() else { break };
            if map::protect(spare.at, CHUNK, Prot::ReadWrite).is_err() {
                put(spare, false);
                break;
            }
            map::populate(spare.at);
            put(spare, true);
            scratch::warm(|| STOP.load(SeqCst));
        }
        if STOP.load(SeqCst) {
            return;
        }
        ASLEEP.store(true, SeqCst);
        futex::wait(&BELL, seen, None);
        ASLEEP.store(false, SeqCst);
    }
}

/// Gives all warm blocks' memory back (shutdown).
pub(crate) fn drain() {
    let _blocked = crate::sys::signal::Blocked::new();
    scratch::drain();
    loop {
        let mut places = PLACES.lock();
        let Some(place) = places.warm.pop() else { return };
        let at = address(places.base, place);
        STATS.spare_bytes.sub(CHUNK as u64);
        if map::replace(at, CHUNK, Prot::None).is_ok() {
            map::huge_pages(at, CHUNK, true);
        }
        places.cold.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_lies_at_an_edge() {
        for count in [1, 2, EXTRA + 128] {
            let (mut end, all) = (0, length(count));
            for place in 0..count as u32 {
                let at = address(0, place).0;
                assert!(at >= end + CHUNK, "{count} places: what lies before number {place}");
                end = at + CHUNK;
            }
            assert!(all >= end + CHUNK, "{count} places: what lies behind the last");
        }
    }
}
