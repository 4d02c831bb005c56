//! Scratch chunks: small pages that are filled where nobody can see them, and then put in place as parts of a chunk. Some are
//! kept warm (with memory behind them) by the pool's thread once faults ask for them, because getting a page costs more than
//! the copy into it. Reached by the signal handler, but for what the thread does: signal-safe. A scratch chunk is its
//! holder's alone, the thread included.

use crate::addr::{CHUNK, HostAddr, PAGE, PAGES};
use crate::error::Result;
use crate::mask::PageMask;
use crate::pool::Keeper;
use crate::sys::futex::FutexLock;
use crate::sys::map::{self, Prot};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};

/// How many there are.
const COUNT: usize = 32;
/// So many of them, the first ones, are kept warm.
const WARMED: usize = 4;
/// Pages that are made warm at once: what a thread that wants this chunk meanwhile waits for at most is little.
const BATCH: usize = 64;
/// Fewer warm pages than these, and the next are made.
const LOW: usize = 32;
/// The most pages in a row that are taken from the warm ones.
const MOST: usize = 32;

struct Slot {
    lock: FutexLock,
    /// Whether it could not be made writable again, for want of room, when it was let go.
    closed: AtomicBool,
    /// Warm pages: the first, and above 16 bits the one behind the last. Written by the holder. A guess: a page that is not
    /// warm gets its memory when it is filled.
    warm: AtomicU32,
}

static SLOTS: [Slot; COUNT] =
    [const { Slot { lock: FutexLock::new(), closed: AtomicBool::new(false), warm: AtomicU32::new(0) } };
        COUNT];
static BASE: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Pages that were asked for since the runtime started: a program that faults once does not pay for all.
static ASKED: AtomicUsize = AtomicUsize::new(0);

impl Slot {
    fn warm(&self) -> (usize, usize) {
        let word = self.warm.load(Relaxed);
        ((word & 0xffff) as usize, (word >> 16) as usize)
    }
    fn set_warm(&self, first: usize, end: usize) {
        self.warm.store(first as u32 | (end as u32) << 16, Relaxed);
    }
    fn open(&self, at: HostAddr) -> bool {
        let done = !self.closed.load(Acquire) || map::protect(at, CHUNK, Prot::ReadWrite).is_ok();
        self.closed.store(!done, Release);
        done
    }
}

fn place(i: usize) -> HostAddr {
    HostAddr(BASE.load(Acquire) + i * CHUNK)
}

/// Reserves them. Called at start.
pub(crate) fn start() -> Result<()> {
    if BASE.load(Acquire) == 0 {
        let base = map::map(COUNT * CHUNK, CHUNK, Prot::ReadWrite, "scratch blocks")?;
        map::huge_pages(base, COUNT * CHUNK, false);
        BASE.store(base.0, Release);
    }
    Ok(())
}

/// A scratch chunk, writable and of no contents that count.
pub(crate) struct Scratch {
    /// Where it begins.
    at: HostAddr,
    /// Where the pages for the chunk's first page would be: see [`take`].
    pub(crate) mirror: HostAddr,
    slot: &'static Slot,
}

/// Takes a scratch chunk for `pages` of a chunk: page n of them is filled at `mirror` + n pages. `None`: there is none that can
/// be written now. Signal-safe: its holder never faults on managed memory.
pub(crate) fn take(pages: PageMask) -> Option<Scratch> {
    let (first, count) = pages.runs().next()?;
    // A few pages in a row can lie anywhere.
    if count == pages.count() && count <= MOST {
        let asked = ASKED.fetch_add(count, Relaxed) + count;
        for (i, slot) in SLOTS[..WARMED].iter().enumerate() {
            let enough = |(from, end): (usize, usize)| end - from >= count;
            if !enough(slot.warm()) || !slot.lock.try_lock() {
                continue;
            }
            let taken = Scratch { at: place(i), mirror: place(i), slot };
            let (from, end) = slot.warm();
            if enough((from, end)) && slot.open(taken.at) {
                slot.set_warm(from + count, end);
                if end - from - count < LOW {
                    Keeper::ring();
                }
                // Page `first` is at `from`; where page 0 would be may lie before the chunk, and is not touched.
                let mirror = HostAddr(taken.at.0 + from * PAGE - first * PAGE);
                core::mem::forget(taken);
                return Some(Scratch { at: place(i), mirror, slot });
            }
        }
        if asked >= BATCH {
            Keeper::ring();
        }
    }
    let start = NEXT.fetch_add(1, Relaxed);
    let take = |i: usize| {
        let taken = Scratch { at: place(i), mirror: place(i), slot: &SLOTS[i] };
        taken.slot.open(taken.at).then_some(taken)
    };
    let order = (0..COUNT).map(|i| (start + i) % COUNT);
    order.filter(|&i| SLOTS[i].lock.try_lock()).find_map(take).or_else(|| {
        SLOTS[start % COUNT].lock.lock();
        take(start % COUNT)
    })
}

impl Scratch {
    /// Makes a part writable again that was protected; if that fails, it is tried again before the next use. Signal-safe.
    pub(crate) fn reopen(&self, from: HostAddr, len: usize) {
        if map::protect(from, len, Prot::ReadWrite).is_err() {
            self.slot.closed.store(true, Release);
        }
    }

    /// Gives the memory of all its pages back. Signal-safe.
    pub(crate) fn empty(&self) {
        let _ = map::give_back(self.at, CHUNK);
        self.slot.set_warm(0, 0);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.slot.lock.unlock();
    }
}

/// Makes pages warm where faults have used them up, until `stop` says so. By the pool's thread.
pub(crate) fn warm(stop: impl Fn() -> bool) {
    let wanted = (ASKED.load(Relaxed) / BATCH).min(WARMED);
    for (i, slot) in SLOTS[..wanted].iter().enumerate() {
        let low = |(first, end): (usize, usize)| end - first < LOW;
        if stop() || !low(slot.warm()) || !slot.lock.try_lock() {
            continue;
        }
        let (mut first, mut end) = slot.warm();
        let at = place(i);
        if low((first, end)) && slot.open(at) {
            if end + BATCH > PAGES {
                (first, end) = (0, 0);
            }
            for page in end..end + BATCH {
                // SAFETY: the scratch chunk is ours, writable, and its contents do not count.
                unsafe { at.add(page * PAGE).ptr().write_volatile(0) };
            }
            slot.set_warm(first, end + BATCH);
        }
        slot.lock.unlock();
    }
}

/// Gives all memory back (shutdown). Signals are blocked.
pub(crate) fn drain() {
    ASKED.store(0, Relaxed);
    for (i, slot) in SLOTS.iter().enumerate() {
        slot.lock.lock();
        if BASE.load(Acquire) != 0 {
            Scratch { at: place(i), mirror: place(i), slot }.empty();
        } else {
            slot.lock.unlock();
        }
    }
}
