//! Memory as programs ask for it: allocations, and memory objects of virtual memory management by handle. Shared by the
//! front-ends; the address space itself is [`crate::space`].

use std::sync::Arc;

use crate::backing::Backing;
use crate::call::Frame;
use crate::device::{self, Device};
use crate::handles::Handles;
use crate::host::Kind;
use crate::settings;
use crate::space::{self, Found, GRANULARITY};
use crate::{Error, Result};

static MEMORY: Handles<Backing> = Handles::new();

/// `CUmemLocation`, `hipMemLocation`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Location {
    /// 1: a device.
    pub kind: i32,
    /// Its number.
    pub id: i32,
}

/// The beginning of `CUmemAllocationProp` and `hipMemAllocationProp`, which is the same.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Prop {
    /// 1: pinned, the only kind.
    pub kind: i32,
    /// How other processes get it: not.
    pub handle_types: i32,
    /// Where.
    pub location: Location,
}

/// `CUmemAccessDesc`, `hipMemAccessDesc`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Access {
    /// Who.
    pub location: Location,
    /// 0: nothing, 1: reads, 3: reads and writes.
    pub flags: i32,
}

impl Location {
    fn device(self) -> Result<&'static Device> {
        if self.kind == 1 { device::get(self.id) } else { Err(Error::INVALID_VALUE) }
    }
}

impl Prop {
    fn device(self) -> Result<&'static Device> {
        if self.kind != 1 || self.handle_types != 0 {
            return Err(Error::INVALID_VALUE);
        }
        self.location.device()
    }
}

/// NOT_SUPPORTED where the settings say that there is no virtual memory management.
pub fn vmm() -> Result {
    if settings::get().vmm { Ok(()) } else { Err(Error::NOT_SUPPORTED) }
}

/// What sizes are multiples of.
pub fn granularity(prop: Prop, option: i32) -> Result<usize> {
    vmm()?;
    prop.device()?;
    if (0..=1).contains(&option) { Ok(GRANULARITY as usize) } else { Err(Error::INVALID_VALUE) }
}

/// Makes memory without an address.
pub fn create(size: u64, prop: Prop, flags: u64) -> Result<u64> {
    vmm()?;
    let device = prop.device()?;
    device.check()?;
    if size == 0 || !size.is_multiple_of(GRANULARITY) || flags != 0 {
        return Err(Error::INVALID_VALUE);
    }
    Ok(MEMORY.add(Arc::new(Backing::new(device, size as usize)?)))
}

/// Lets go of memory: it goes when it is mapped nowhere.
pub fn release(handle: u64) -> Result {
    vmm()?;
    let memory = MEMORY.get(handle).map_err(|_| Error::INVALID_VALUE)?;
    memory.device().check()?;
    MEMORY.remove(handle).map(drop)
}

/// Maps memory.
pub fn map(at: u64, size: u64, offset: u64, handle: u64, flags: u64) -> Result {
    vmm()?;
    let memory = MEMORY.get(handle).map_err(|_| Error::INVALID_VALUE)?;
    memory.device().check()?;
    if flags != 0 {
        return Err(Error::INVALID_VALUE);
    }
    space::map(at, size, offset, &memory)
}

/// Unmaps memory.
pub fn unmap(at: u64, size: u64) -> Result {
    vmm()?;
    space::owners(at, size)?.into_iter().try_for_each(Device::check)?;
    space::unmap(at, size)
}

/// Lets a device use mapped memory.
pub fn set_access(at: u64, size: u64, access: Access) -> Result {
    vmm()?;
    let device = access.location.device()?;
    device.check()?;
    let (read, write) = match access.flags {
        0 => (false, false),
        1 => (true, false),
        3 => (true, true),
        _ => return Err(Error::INVALID_VALUE),
    };
    space::set_access(at, size, device, read, write)
}

/// Reserves addresses.
pub fn reserve(size: u64, align: u64, hint: u64, flags: u64) -> Result<u64> {
    vmm()?;
    if flags == 0 { space::reserve(size, align, hint) } else { Err(Error::INVALID_VALUE) }
}

/// Gives addresses back.
pub fn unreserve(at: u64, size: u64) -> Result {
    vmm()?;
    space::unreserve(at, size)
}

/// Frees an allocation, managed or not; as a driver does, after all work of its device.
pub fn free(frame: &Frame, at: u64) -> Result {
    let device = match space::find(at) {
        _ if at == 0 => return Ok(()),
        Found::Device(_, _, device) => device,
        Found::Host(block) => block.device,
        _ => return Err(Error::INVALID_VALUE),
    };
    device.check()?;
    frame.unlock();
    device.wait();
    frame.relock();
    space::free(at)
}

/// Host memory that is also a device's.
pub fn managed(frame: &Frame, size: u64) -> Result<u64> {
    let device = frame.device()?;
    space::allocate_host(device, size, Kind::Managed(device.charge_softly(size)))
}

/// Whether advice and prefetches make sense for a range.
pub fn is_managed(at: u64, size: u64) -> Result {
    match space::find(at) {
        Found::Host(block) if matches!(block.kind, Kind::Managed(_)) && block.holds(at, size) => Ok(()),
        Found::Unknown if settings::get().pageable => Ok(()),
        _ => Err(Error::INVALID_VALUE),
    }
}
