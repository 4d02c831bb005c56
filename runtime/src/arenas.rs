//! The heap's address space: arenas, and which chunks of them are free. Where a device's driver can reserve the same addresses,
//! arenas are made over such reservations. Under the heap's lock, but for the looks that say so.

use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::sys::map::{self, Prot};
use crate::sys::signal::Blocked;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use std::collections::BTreeMap;

/// Where arenas are tried first: far from everything, and where GPU drivers honour reservations.
const HINT: usize = 0x7000_0000_0000;
/// Address space of an arena, where that much can be had.
const ARENA: usize = 1 << 40;
/// The least that is asked of a driver at a given address: drivers take the hint for smaller ranges less seriously.
const SMALLEST_MIRROR: usize = 256 << 30;
/// The least that is worth an arena.
const SMALLEST_ARENA: usize = 64 << 20;

/// Address space that blocks come from.
struct Arena {
    range: ByteRange,
    /// A device has reserved the same addresses for itself.
    mirrored: bool,
}

/// The arenas' first addresses and ends, for looks without the lock; arenas are never given up.
static BOUNDS: [(AtomicUsize, AtomicUsize); 64] = [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; 64];

/// All arenas lie between these.
static LOW: AtomicUsize = AtomicUsize::new(usize::MAX);
static HIGH: AtomicUsize = AtomicUsize::new(0);

/// Whether an address may be in an arena: false for most others, and quickly. Signal-safe.
#[inline]
pub(crate) fn may_be_in_arena(addr: HostAddr) -> bool {
    LOW.load(Acquire) <= addr.0 && addr.0 < HIGH.load(Acquire)
}

/// Whether an address is the heap's, used or not. A look without the lock. Signal-safe.
pub(crate) fn is_in_arena(addr: HostAddr) -> bool {
    BOUNDS
        .iter()
        .take_while(|b| b.1.load(Acquire) != 0)
        .any(|(start, end)| start.load(Relaxed) <= addr.0 && addr.0 < end.load(Relaxed))
}

/// All arenas. A look without the lock.
pub(crate) fn all() -> impl Iterator<Item = ByteRange> {
    BOUNDS
        .iter()
        .take_while(|b| b.1.load(Acquire) != 0)
        .map(|(start, end)| ByteRange { start: start.load(Relaxed), end: end.load(Relaxed) })
}

/// The arenas and their free chunks.
pub(crate) struct Arenas {
    /// Free runs of chunks in all arenas: start and length in bytes, never two that touch inside one arena.
    free: BTreeMap<usize, usize>,
    all: Vec<Arena>,
    /// The driver has refused to reserve more addresses of ours.
    refused: bool,
}

/// Whether nothing is mapped there.
fn is_nobodys(at: HostAddr, len: usize) -> bool {
    map::reserve_at(at, len).map(|got| map::unmap(got, len)).is_some()
}

impl Arenas {
    /// None.
    pub(crate) const fn new() -> Arenas {
        Arenas { free: BTreeMap::new(), all: Vec::new(), refused: false }
    }

    /// Takes `len` bytes of whole chunks at a multiple of `align`: if a device can have the same addresses, there.
    pub(crate) fn take(&mut self, len: usize, align: usize) -> Result<ByteRange> {
        let found = self.find_mirrored(len, align).or_else(|| self.find(len, align, false));
        if let Some(range) = found {
            return Ok(range);
        }
        let what = "a block";
        self.grow(len.checked_add(align).ok_or(Error::NoMemory { what, bytes: len })?)?;
        self.find(len, align, false).ok_or(Error::NoMemory { what, bytes: len })
    }

    /// The arenas' addresses.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = ByteRange> {
        self.all.iter().map(|a| a.range)
    }

    /// The free runs of one arena: start and length.
    pub(crate) fn free_in(&self, arena: ByteRange) -> impl Iterator<Item = (usize, usize)> {
        self.free.range(arena.start..arena.end).map(|(&start, &len)| (start, len))
    }

    /// Devices were opened: what there is gets the same addresses on one of them, if its driver can reserve addresses that
    /// are in use.
    pub(crate) fn mirror_in_place(&mut self, devices: &Devices) {
        self.refused = false;
        let Some(device) = devices.all().find(|d| d.mirrors()) else { return };
        if self.all.iter().all(|a| a.mirrored) || !device.mirrors_in_place() {
            return;
        }
        let _blocked = Blocked::new(); // the driver is called
        for arena in self.all.iter_mut().filter(|a| !a.mirrored) {
            arena.mirrored = device.mirror(HostAddr(arena.range.start), arena.range.len()).is_some();
        }
    }

    /// Whether a device has the addresses of all blocks that there are, and of those to come.
    pub(crate) fn are_mirrored(&mut self) -> bool {
        // The answer must be about memory that is there: the first arena is made now, if there is none.
        if self.all.is_empty()
            && let Some(range) = self.find_mirrored(CHUNK, CHUNK)
        {
            self.insert(range);
        }
        let whole = |a: &Arena| a.mirrored || self.free.get(&a.range.start) == Some(&a.range.len());
        self.all.iter().any(|a| a.mirrored) && self.all.iter().all(whole)
    }

    /// As [`Arenas::find`], in memory whose addresses a device has too. `None`: no device can, or there is no room.
    fn find_mirrored(&mut self, len: usize, align: usize) -> Option<ByteRange> {
        let devices = Devices::get()?;
        let device = devices.all().find(|d| d.mirrors())?;
        if let Some(found) = self.find(len, align, true) {
            return Some(found);
        }
        if self.refused {
            return None;
        }
        let _blocked = Blocked::new(); // the driver is called
        let least = len.checked_add(align)?.checked_next_multiple_of(CHUNK)?;
        let mut size = least.max(ARENA);
        while size >= least.max(SMALLEST_MIRROR) {
            let places = (0..64).map(|i| HostAddr(HINT + i * ARENA));
            let free = places.filter(|at| !self.all.iter().any(|a| a.range.overlaps(at.range(size))));
            // A driver may reserve addresses at which the program has something.
            let free = free.filter(|at| is_nobodys(*at, size));
            if let Some(at) = free.take(8).find_map(|at| device.mirror(at, size)) {
                // Over the driver's reservation, in one step: what the CPU finds there is ours from now on.
                map::replace(at, size, Prot::None).ok()?;
                self.add_arena(at.range(size), true);
                self.insert(at.range(size));
                return self.find(len, align, true);
            }
            size /= 2;
        }
        self.refused = true;
        None
    }

    /// Another arena. With more than there is room for, `is_in_arena` does not know the last ones.
    fn add_arena(&mut self, range: ByteRange, mirrored: bool) {
        if let Some((start, end)) = BOUNDS.get(self.all.len()) {
            start.store(range.start, Relaxed);
            end.store(range.end, Release);
        }
        LOW.fetch_min(range.start, AcqRel);
        HIGH.fetch_max(range.end, AcqRel);
        self.all.push(Arena { range, mirrored });
    }

    fn is_mirrored(&self, addr: usize) -> bool {
        self.all.iter().any(|a| a.mirrored && a.range.start <= addr && addr < a.range.end)
    }

    fn find(&mut self, len: usize, align: usize, mirrored: bool) -> Option<ByteRange> {
        let fits = |s: usize, n: usize| s.next_multiple_of(align) - s + len <= n;
        let mut runs = self.free.iter().map(|(&start, &size)| (start, size));
        let (start, size) = runs.find(|&(s, n)| fits(s, n) && (!mirrored || self.is_mirrored(s)))?;
        let at = start.next_multiple_of(align);
        self.free.remove(&start);
        if at > start {
            self.free.insert(start, at - start);
        }
        if start + size > at + len {
            self.free.insert(at + len, start + size - at - len);
        }
        Some(ByteRange { start: at, end: at + len })
    }

    /// Chunks are free again.
    pub(crate) fn insert(&mut self, mut range: ByteRange) {
        let arenas = self.all.iter().map(|a| a.range);
        let bounds = arenas.into_iter().find(|a| a.start <= range.start && range.end <= a.end);
        let (low, high) = bounds.map_or((range.start, range.end), |a| (a.start, a.end));
        if let Some((&s, &n)) = self.free.range(low..range.start).next_back()
            && s + n == range.start
        {
            self.free.remove(&s);
            range.start = s;
        }
        if range.end < high
            && let Some(n) = self.free.remove(&range.end)
        {
            range.end += n;
        }
        self.free.insert(range.start, range.len());
    }

    /// Reserves another arena with room for `len` bytes.
    fn grow(&mut self, len: usize) -> Result<()> {
        let least =
            len.checked_next_multiple_of(CHUNK).ok_or(Error::NoMemory { what: "a block", bytes: len })?;
        let mut size = least.max(ARENA);
        loop {
            let steps = (0..64)
                .map(|i| HINT + i * ARENA)
                .filter(|at| at.checked_add(size).is_some_and(|e| e < 1 << 47));
            let hinted = steps.take(16).find_map(|at| map::reserve_at(HostAddr(at), size));
            match hinted.map_or_else(|| map::map(size, CHUNK, Prot::None, "an arena"), Ok) {
                Ok(at) => {
                    self.add_arena(at.range(size), false);
                    self.insert(at.range(size));
                    return Ok(());
                }
                // Limited address space: try with less.
                Err(_) if size / 2 >= least.max(SMALLEST_ARENA) => size /= 2,
                Err(_) if size > least => size = least,
                Err(e) => return Err(e),
            }
        }
    }
}
