//! Device address space and the memory behind it. With virtual memory management, addresses are reserved in large
//! windows and memory is put behind them in groups of chunks, so that a large block costs few driver calls; a window can
//! lie at the very addresses that its host memory has. Without, each block gets an allocation of its own. API context,
//! holding one chunk's lock; never the signal handler.

use super::calls::NotMapped;
use super::context::Context;
use super::table::MemoryHandle;
use crate::addr::{ByteRange, CHUNK, DeviceAddr, HostAddr, PAGE};
use crate::error::{Error, Result};
use crate::log::log;
use crate::sys::map::{self, Prot};
use crate::sys::procmem;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Where the driver gets memory and addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Reserve, create, map.
    Mapped,
    /// One allocation for a whole block.
    Allocated,
}

/// Memory behind consecutive chunks, made in one piece.
struct Group {
    len: usize,
    handle: MemoryHandle,
    /// Whether the device may use it: not if that was refused, and taking it away again was, too.
    open: bool,
    /// One bit for each chunk that is committed.
    used: u64,
}

#[derive(Default)]
struct State {
    /// By device address; no two overlap.
    groups: BTreeMap<u64, Group>,
    /// Reservations and allocations of ours, by device address: their length.
    windows: BTreeMap<u64, usize>,
}

/// A device's address space.
pub(super) struct Space {
    context: &'static Context,
    way: Way,
    granularity: usize,
    /// The most bytes that are made in one piece.
    group: usize,
    state: Mutex<State>,
}

/// Host ranges that the driver has reserved for the device at the same addresses, and under which host memory lies.
/// Never given back: that would unmap the host memory, which outlives the runtime.
static MIRRORS: Mutex<Vec<Mirror>> = Mutex::new(Vec::new());

/// Memory at such addresses that could not be given back: the next to open the device has it.
static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

struct Left {
    context: *const Context,
    start: u64,
    group: Group,
}

// SAFETY: as below.
unsafe impl Send for Left {}

struct Mirror {
    context: *const Context,
    range: ByteRange,
}

// SAFETY: the pointer is compared only.
unsafe impl Send for Mirror {}

/// No group holds more chunks than its mask has bits.
pub(super) const LARGEST_GROUP: usize = 64 * CHUNK;

impl Space {
    /// The address space of a device. `mapped`: the device has virtual memory management.
    pub(super) fn new(context: &'static Context, mapped: bool, group: usize) -> Space {
        let granularity = if mapped { context.granularity() } else { Ok(0) };
        let way = match granularity {
            Ok(bytes) if bytes > 0 && CHUNK.is_multiple_of(bytes) => Way::Mapped,
            _ => Way::Allocated,
        };
        let group = (group / CHUNK * CHUNK).clamp(CHUNK, LARGEST_GROUP);
        let mut state = State::default();
        for left in left().extract_if(.., |left| core::ptr::eq(left.context, context)) {
            state.groups.insert(left.start, Group { used: 0, ..left.group });
        }
        Space { context, way, granularity: granularity.unwrap_or(0), group, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether reserving takes memory: then a window is given back with its block.
    pub(super) fn reserves_memory(&self) -> bool {
        self.way == Way::Allocated
    }

    /// Reserves `len` bytes at the address `hint`, for host memory to be laid over: the host address, if it can be had.
    pub(super) fn mirror(&self, hint: HostAddr, len: usize) -> Option<HostAddr> {
        if self.way == Way::Allocated {
            return None;
        }
        let at = self.context.reserve(len, self.granularity, hint.0 as u64).ok()?;
        if at.0 != hint.0 as u64 {
            let _ = self.context.unreserve(at, len);
            return None;
        }
        let range = ByteRange { start: hint.0, end: hint.0 + len };
        mirrors().push(Mirror { context: self.context, range });
        Some(hint)
    }

    /// Whether the driver reserves addresses at which something is mapped, and leaves that as it is. Found out with a
    /// placeholder, never with memory that matters.
    pub(super) fn mirrors_in_place(&self) -> bool {
        const LEN: usize = 256 << 30; // drivers honour large hints only
        const CANARY: u8 = 0xA5;
        if self.way == Way::Allocated {
            return false;
        }
        let places = (0..8).map(|i| HostAddr(0x6000_0000_0000 + i * (1 << 40)));
        let Some(at) = places.into_iter().find_map(|at| map::reserve_at(at, LEN)) else { return false };
        let page = at.ptr();
        if map::protect(at, PAGE, Prot::ReadWrite).is_err() {
            map::unmap(at, LEN);
            return false;
        }
        // SAFETY: a writable page that only we know.
        unsafe { page.write_volatile(CANARY) };
        let got = self.context.reserve(LEN, self.granularity, at.0 as u64);
        let there = got == Ok(DeviceAddr(at.0 as u64));
        // Asked of the kernel, not touched: the driver may have put something inaccessible there.
        let intact = there && procmem::read_byte(at) == Some(CANARY);
        if let Ok(got) = got {
            let _ = self.context.unreserve(got, LEN);
        }
        map::unmap(at, LEN);
        intact
    }

    /// The mirrored range that all of `host` lies in.
    pub(super) fn mirror_of(&self, host: ByteRange) -> Option<ByteRange> {
        let mirrors = mirrors();
        let mine = mirrors.iter().filter(|m| core::ptr::eq(m.context, self.context));
        mine.map(|m| m.range).find(|r| r.start <= host.start && host.end <= r.end)
    }

    /// Device addresses for `host`, elsewhere.
    pub(super) fn reserve(&self, host: ByteRange) -> Result<DeviceAddr> {
        let at = match self.way {
            Way::Mapped => self.context.reserve(host.len(), CHUNK, 0)?,
            Way::Allocated => self.context.alloc(host.len())?,
        };
        self.state().windows.insert(at.0, host.len());
        Ok(at)
    }

    /// Gives a window back in which nothing is committed.
    pub(super) fn unreserve(&self, at: DeviceAddr) {
        let Some(len) = self.state().windows.remove(&at.0) else { return };
        let done = match self.way {
            Way::Mapped => self.context.unreserve(at, len),
            Way::Allocated => self.context.free(at),
        };
        if let Err(e) = done {
            log!(Warn, "giving device addresses back: {e}");
        }
    }

    /// Puts memory behind the chunk at `at`. The block has `before` and `after` bytes more around it.
    pub(super) fn commit(&self, at: DeviceAddr, before: usize, after: usize) -> Result<()> {
        if self.way == Way::Allocated {
            return Ok(());
        }
        let mut state = self.state();
        let below = state.groups.range(..=at.0).next_back().map(|(&start, g)| (start, start + g.len as u64));
        if let Some((start, _)) = below.filter(|(_, end)| at.0 < *end) {
            let Some(group) = state.groups.get_mut(&start) else { return Ok(()) };
            if !group.open {
                self.context.open(DeviceAddr(start), group.len)?;
                group.open = true;
            }
            group.used |= 1 << ((at.0 - start) as usize / CHUNK);
            return Ok(());
        }
        // As much of the block as an aligned group may hold and is free around the chunk.
        let group = self.group as u64;
        let above = state.groups.range(at.0..).next().map_or(u64::MAX, |(&start, _)| start);
        let low = (at.0 / group * group).max(at.0 - before as u64).max(below.map_or(0, |(_, end)| end));
        let high = (at.0 / group * group + group).min(at.0 + (CHUNK + after) as u64).min(above);
        let start = match self.make(&mut state, low, (high - low) as usize) {
            Ok(()) => low,
            // The last free memory goes to what is really needed.
            Err(Error::DeviceMemory { .. }) if !state.groups.contains_key(&low) => {
                self.make(&mut state, at.0, CHUNK)?;
                at.0
            }
            Err(e) => return Err(e),
        };
        state.groups.entry(start).and_modify(|g| g.used = 1 << ((at.0 - start) as usize / CHUNK));
        Ok(())
    }

    /// Makes a group, of which nothing is used yet.
    fn make(&self, state: &mut State, start: u64, len: usize) -> Result<()> {
        let (handle, done) = match self.context.map(DeviceAddr(start), len) {
            Ok(handle) => (handle, Ok(())),
            // It stays there, for whoever needs memory there next.
            Err(NotMapped { error, left: Some(handle) }) => (handle, Err(error)),
            Err(NotMapped { error, left: None }) => return Err(error),
        };
        state.groups.insert(start, Group { len, handle, open: done.is_ok(), used: 0 });
        done
    }

    /// The chunk at `at` needs no memory any more. It is given back with the last chunk of its group.
    pub(super) fn decommit(&self, at: DeviceAddr) {
        let mut state = self.state();
        let found = state.groups.range_mut(..=at.0).next_back();
        let Some((&start, group)) = found.filter(|(start, g)| at.0 < **start + g.len as u64) else { return };
        group.used &= !(1 << ((at.0 - start) as usize / CHUNK));
        // Of a lost device nobody knows what still runs: its memory stays where it is until the end.
        if group.used == 0 && !self.context.is_lost() {
            match self.context.unmap(DeviceAddr(start), group.len, group.handle) {
                Ok(()) => drop(state.groups.remove(&start)),
                // It is there still, and used again when something is needed there.
                Err(e) => log!(Warn, "giving device memory back: {e}"),
            }
        }
    }

    /// Gives everything back but what host memory lies over.
    pub(super) fn close(&self) {
        let windows: Vec<u64> = {
            let mut state = self.state();
            for (start, group) in core::mem::take(&mut state.groups) {
                let done = self.context.unmap(DeviceAddr(start), group.len, group.handle);
                let host = ByteRange { start: start as usize, end: start as usize + group.len };
                if done.is_err() && self.mirror_of(host).is_some() {
                    left().push(Left { context: self.context, start, group });
                }
            }
            state.windows.keys().copied().collect()
        };
        windows.into_iter().for_each(|at| self.unreserve(DeviceAddr(at)));
    }
}

fn left() -> MutexGuard<'static, Vec<Left>> {
    LEFT.lock().unwrap_or_else(|e| e.into_inner())
}

fn mirrors() -> MutexGuard<'static, Vec<Mirror>> {
    MIRRORS.lock().unwrap_or_else(|e| e.into_inner())
}
