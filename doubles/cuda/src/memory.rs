//! Allocations: of a device, of the host, managed; and registration of the program's own memory.

use core::ffi::c_void;

use hmmrt_double_core::argument::{Out, number};
use hmmrt_double_core::host::Kind;
use hmmrt_double_core::space::{self, Found};
use hmmrt_double_core::{Error, device, entries, memory, streams};

/// Portable, mapped, write-combined.
const HOST_ALLOC_FLAGS: u32 = 7;
/// Portable, mapped, of a device, read-only.
const REGISTER_FLAGS: u32 = 15;

entries! {
    Context fn cuMemGetInfo_v2(frame, free: Out<usize>, total: Out<usize>) {
        let device = frame.device()?;
        device.check()?;
        free.put(device.free() as usize)?;
        total.put(device.total() as usize)
    }

    Health fn cuMemAlloc_v2(frame, out: Out<u64>, size: usize) {
        out.check()?;
        out.put(space::allocate(frame.device()?, size as u64)?)
    }

    Health fn cuMemFree_v2(frame, at: u64) {
        memory::free(frame, at)
    }

    Health fn cuMemHostAlloc(frame, out: Out<u64>, size: usize, flags: u32) {
        out.check()?;
        if flags & !HOST_ALLOC_FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        out.put(space::allocate_host(frame.device()?, size as u64, Kind::Pinned)?)
    }

    Health fn cuMemAllocHost_v2(frame, out: Out<u64>, size: usize) {
        out.check()?;
        out.put(space::allocate_host(frame.device()?, size as u64, Kind::Pinned)?)
    }

    Health fn cuMemFreeHost(_, at: *mut c_void) {
        space::free_host(number(at))
    }

    Health fn cuMemHostRegister_v2(frame, at: *mut c_void, size: usize, flags: u32) {
        if flags & !REGISTER_FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        space::register(frame.device()?, number(at), size as u64)
    }

    Health fn cuMemHostUnregister(_, at: *mut c_void) {
        space::unregister(number(at))
    }

    Health fn cuMemHostGetDevicePointer_v2(_, out: Out<u64>, at: *mut c_void, flags: u32) {
        match space::find(number(at)) {
            Found::Host(_) if flags == 0 => out.put(number(at)),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    Health fn cuMemAllocManaged(frame, out: Out<u64>, size: usize, flags: u32) {
        out.check()?;
        // Attached to all, or to the host.
        if !(1..=2).contains(&flags) {
            return Err(Error::INVALID_VALUE);
        }
        out.put(memory::managed(frame, size as u64)?)
    }

    Health fn cuMemPrefetchAsync(frame, at: u64, size: usize, to: i32, stream: u64) {
        // -1 is the host.
        if to != -1 {
            device::get(to)?;
        }
        memory::is_managed(at, size as u64)?;
        let stream = streams::stream(frame, stream)?;
        frame.submit(&stream, None, Box::new(|| Ok(()))).map(drop)
    }

    Health fn cuMemAdvise(_, at: u64, size: usize, advice: i32, to: i32) {
        if !(1..=6).contains(&advice) {
            return Err(Error::INVALID_VALUE);
        }
        // Read-mostly has no place.
        if advice > 2 && to != -1 {
            device::get(to)?;
        }
        memory::is_managed(at, size as u64)
    }
}
