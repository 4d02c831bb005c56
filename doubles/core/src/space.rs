//! The device's address space, one for all devices and the host: reservations and what is mapped in them, allocations,
//! and host memory that devices know. Ranges do not overlap; each is also a range of host addresses, where nothing is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::backing::Backing;
use crate::device::Device;
use crate::host::{Block, Kind};
use crate::place::{PAGE, place, place_hinted, unplace};
use crate::{Error, Result, foreign, os};

/// What all sizes and places of mappings are multiples of.
pub const GRANULARITY: u64 = 2 << 20;

/// Memory at an address.
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    backing: Arc<Backing>,
    /// Bit n: device n may read, or write.
    readers: AtomicU32,
    writers: AtomicU32,
    /// By an allocation function rather than in a reservation.
    pub(crate) allocated: bool,
}

impl Mapping {
    /// Where the byte at `at` is.
    pub(crate) fn host(&self, at: u64) -> *mut u8 {
        self.backing.base().wrapping_add((at - self.start) as usize)
    }

    /// Whose memory it is.
    pub fn device(&self) -> &'static Device {
        self.backing.device()
    }

    /// Whether a device may read or write.
    pub(crate) fn open(&self, device: &Device, write: bool) -> bool {
        let mask = if write { &self.writers } else { &self.readers };
        mask.load(SeqCst) & 1 << device.number != 0
    }
}

/// What a range of addresses is.
pub(crate) enum Range {
    Reservation(Reservation),
    Allocation(Arc<Mapping>),
    Host(Arc<Block>),
}

pub(crate) struct Reservation {
    len: u64,
    /// Whether the host's range is ours, to be given back.
    own: bool,
    maps: BTreeMap<u64, Arc<Mapping>>,
}

impl Reservation {
    /// What is mapped at an address.
    pub(crate) fn at(&self, at: u64) -> Option<&Arc<Mapping>> {
        let (start, mapping) = self.maps.range(..=at).next_back()?;
        (at - start < mapping.len).then_some(mapping)
    }
}

impl Range {
    fn len(&self) -> u64 {
        match self {
            Range::Reservation(r) => r.len,
            Range::Allocation(m) => m.len,
            Range::Host(b) => b.len,
        }
    }
}

pub(crate) type Ranges = BTreeMap<u64, Range>;

static SPACE: RwLock<Ranges> = RwLock::new(BTreeMap::new());

pub(crate) fn read() -> RwLockReadGuard<'static, Ranges> {
    SPACE.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Ranges> {
    SPACE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The range that holds an address, and where that begins.
pub(crate) fn holding(space: &Ranges, at: u64) -> Option<(u64, &Range)> {
    let (start, range) = space.range(..=at).next_back()?;
    (at - start < range.len()).then_some((*start, range))
}

pub(crate) fn overlaps(space: &Ranges, at: u64, len: u64) -> bool {
    space.range(..at.saturating_add(len)).next_back().is_some_and(|(start, range)| start + range.len() > at)
}

fn granular(value: u64) -> Result<u64> {
    if value.is_multiple_of(GRANULARITY) { Ok(value) } else { Err(Error::INVALID_VALUE) }
}

fn granular_size(value: u64) -> Result<u64> {
    if value == 0 { Err(Error::INVALID_VALUE) } else { granular(value) }
}

/// Takes addresses.
pub fn reserve(size: u64, align: u64, hint: u64) -> Result<u64> {
    let size = granular_size(size)?;
    if align != 0 && !align.is_power_of_two() {
        return Err(Error::INVALID_VALUE);
    }
    let align = align.max(GRANULARITY);
    let mut space = write();
    let (at, own) = match place_hinted(&space, size, align, hint) {
        Some(own) => (hint, own),
        None => (place(&space, size, align)?, true),
    };
    space.insert(at, Range::Reservation(Reservation { len: size, own, maps: BTreeMap::new() }));
    Ok(at)
}

/// Gives addresses back: exactly what was reserved, and nothing may be mapped.
pub fn unreserve(at: u64, size: u64) -> Result {
    let mut space = write();
    match space.get(&at) {
        Some(Range::Reservation(r)) if r.len == size && r.maps.is_empty() => {
            if r.own {
                unplace(at, size);
            }
            space.remove(&at);
            Ok(())
        }
        _ => Err(Error::INVALID_VALUE),
    }
}

/// The reservation that all of a range lies in.
fn reservation(space: &mut Ranges, at: u64, size: u64) -> Result<&mut Reservation> {
    let (start, range) = space.range_mut(..=at).next_back().ok_or(Error::INVALID_VALUE)?;
    match range {
        Range::Reservation(r) if at - start < r.len && size <= r.len - (at - start) => Ok(r),
        _ => Err(Error::INVALID_VALUE),
    }
}

/// Puts memory at reserved addresses, where no memory is yet. Nobody may touch it until [`set_access`].
pub fn map(at: u64, size: u64, offset: u64, backing: &Arc<Backing>) -> Result {
    let (at, size) = (granular(at)?, granular_size(size)?);
    if offset != 0 || size > backing.len() as u64 {
        return Err(Error::INVALID_VALUE);
    }
    let mut space = write();
    let maps = &mut reservation(&mut space, at, size)?.maps;
    if maps.range(..at + size).next_back().is_some_and(|(start, m)| start + m.len > at) {
        return Err(Error::INVALID_VALUE);
    }
    maps.insert(at, Arc::new(mapping(at, size, backing.clone(), 0, false)));
    Ok(())
}

fn mapping(start: u64, len: u64, backing: Arc<Backing>, mask: u32, allocated: bool) -> Mapping {
    let [readers, writers] = [mask, mask].map(AtomicU32::new);
    Mapping { start, len, backing, readers, writers, allocated }
}

/// The starts of the mappings that a range is made of, which it has to be from end to end.
fn whole(r: &Reservation, at: u64, size: u64) -> Result<Vec<u64>> {
    let end = at + size;
    let mut next = at;
    for (start, m) in r.maps.range(at..end) {
        if *start != next {
            break;
        }
        next = start + m.len;
    }
    if size == 0 || next != end {
        return Err(Error::INVALID_VALUE);
    }
    Ok(r.maps.range(at..end).map(|(start, _)| *start).collect())
}

/// Takes memory away from addresses: whole mappings. A kernel that is using them gets what it gets on a device.
pub fn unmap(at: u64, size: u64) -> Result {
    let mut space = write();
    let r = reservation(&mut space, at, size)?;
    let starts = whole(r, at, size)?;
    let gone: Vec<_> = starts.iter().filter_map(|start| r.maps.remove(start)).collect();
    drop(space);
    // Views of running jobs are the only others that hold one.
    for mapping in gone.iter().filter(|mapping| Arc::strong_count(mapping) > 1) {
        mapping.device().poison(Error::ILLEGAL_ADDRESS);
    }
    Ok(())
}

/// The devices whose memory is mapped in a range of whole mappings.
pub fn owners(at: u64, size: u64) -> Result<Vec<&'static Device>> {
    let mut space = write();
    let r = reservation(&mut space, at, size)?;
    let starts = whole(r, at, size)?;
    Ok(starts.iter().map(|start| r.maps[start].device()).collect())
}

/// Lets a device read, or read and write, or neither: whole mappings.
pub fn set_access(at: u64, size: u64, device: &Device, read: bool, write_too: bool) -> Result {
    let mut space = write();
    let r = reservation(&mut space, at, size)?;
    for start in whole(r, at, size)? {
        let mapping = &r.maps[&start];
        for (mask, on) in [(&mapping.readers, read), (&mapping.writers, write_too)] {
            let bit = 1 << device.number;
            if on {
                mask.fetch_or(bit, SeqCst)
            } else {
                mask.fetch_and(!bit, SeqCst)
            };
        }
    }
    Ok(())
}

/// Memory of a device with an address of its own.
pub fn allocate(device: &'static Device, size: u64) -> Result<u64> {
    if size == 0 {
        return Err(Error::INVALID_VALUE);
    }
    // What an allocation may be aligned to, and what is left of a page is not to be touched either.
    let len = size.checked_next_multiple_of(512).ok_or(Error::OUT_OF_MEMORY)?;
    let backing = Backing::new(device, len as usize)?;
    let align = if len >= GRANULARITY { GRANULARITY } else { PAGE };
    let mut space = write();
    let at = place(&space, len.next_multiple_of(PAGE), align)?;
    let mapping = mapping(at, len, Arc::new(backing), 1 << device.number, true);
    space.insert(at, Range::Allocation(Arc::new(mapping)));
    Ok(at)
}

/// Host memory that all devices know. Zero at first.
pub fn allocate_host(device: &'static Device, size: u64, kind: Kind) -> Result<u64> {
    if size == 0 {
        return Err(Error::INVALID_VALUE);
    }
    let len = size.checked_next_multiple_of(PAGE).ok_or(Error::OUT_OF_MEMORY)?;
    let mut space = write();
    let start = place(&space, len, if len >= GRANULARITY { GRANULARITY } else { PAGE })?;
    // SAFETY: the mapping was made above, and nobody else knows it.
    if !unsafe { os::open(start as *mut u8, len as usize) } {
        unplace(start, len);
        return Err(Error::OUT_OF_MEMORY);
    }
    space.insert(start, Range::Host(Arc::new(Block { start, len, kind, device })));
    Ok(start)
}

/// Makes memory of the program known to all devices.
pub fn register(device: &'static Device, at: u64, size: u64) -> Result {
    if size == 0 || !foreign::usable(at, size, true) {
        return Err(Error::INVALID_VALUE);
    }
    let mut space = write();
    if overlaps(&space, at, size) {
        let known = matches!(holding(&space, at), Some((_, Range::Host(_))) | None);
        return Err(if known { Error::ALREADY_REGISTERED } else { Error::INVALID_VALUE });
    }
    space.insert(at, Range::Host(Arc::new(Block { start: at, len: size, kind: Kind::Registered, device })));
    Ok(())
}

/// Takes out the range that begins at `at`, if it is what `like` says; what is behind it goes with its last user.
fn remove(at: u64, like: impl Fn(&Range) -> bool) -> Option<Range> {
    let mut space = write();
    if !space.get(&at).is_some_and(like) {
        return None;
    }
    if let Some(Range::Allocation(mapping)) = space.get(&at) {
        unplace(at, mapping.len.next_multiple_of(PAGE));
    }
    space.remove(&at)
}

/// Frees an allocation, managed or not.
pub fn free(at: u64) -> Result {
    let like = |range: &Range| match range {
        Range::Allocation(_) => true,
        Range::Host(block) => matches!(block.kind, Kind::Managed(_)),
        Range::Reservation(_) => false,
    };
    remove(at, like).map(drop).ok_or(Error::INVALID_VALUE)
}

/// Frees pinned memory.
pub fn free_host(at: u64) -> Result {
    let like = |range: &Range| matches!(range, Range::Host(block) if matches!(block.kind, Kind::Pinned));
    remove(at, like).map(drop).ok_or(Error::INVALID_VALUE)
}

/// Takes memory of the program out again.
pub fn unregister(at: u64) -> Result {
    let like = |range: &Range| matches!(range, Range::Host(block) if block.foreign());
    remove(at, like).map(drop).ok_or(Error::NOT_REGISTERED)
}

/// Frees all allocations of a device, whose last context is gone.
pub fn free_all(device: &Device) {
    let own = |range: &Range| matches!(range, Range::Allocation(m) if m.device().number == device.number);
    let starts: Vec<u64> = read().iter().filter(|(_, range)| own(range)).map(|(start, _)| *start).collect();
    starts.into_iter().for_each(|start| drop(remove(start, own)));
}

/// What an address is.
pub enum Found {
    /// Device memory: where its mapping or allocation begins, how long it is, and whose memory.
    Device(u64, u64, &'static Device),
    /// Reserved, with no memory.
    Reserved,
    /// Host memory that devices know.
    Host(Arc<Block>),
    /// Anything else.
    Unknown,
}

/// What is at an address.
pub fn find(at: u64) -> Found {
    let device = |m: &Mapping| Found::Device(m.start, m.len, m.device());
    match holding(&read(), at) {
        Some((_, Range::Host(block))) => Found::Host(block.clone()),
        Some((_, Range::Allocation(mapping))) => device(mapping),
        Some((_, Range::Reservation(r))) => r.at(at).map_or(Found::Reserved, |mapping| device(mapping)),
        None => Found::Unknown,
    }
}

/// Whether all of a range is in one reservation, allocation or block.
pub fn in_one(at: u64, len: u64) -> bool {
    holding(&read(), at).is_some_and(|(start, range)| len <= range.len() - (at - start))
}
