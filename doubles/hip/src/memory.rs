//! Allocations: of a device, of the host, managed; and registration of the program's own memory.

use core::ffi::c_void;

use hmmrt_double_core::argument::{Out, number};
use hmmrt_double_core::host::Kind;
use hmmrt_double_core::space::{self, Found};
use hmmrt_double_core::{Error, device, entries, memory, streams};

/// Portable, mapped, write-combined, by the program's NUMA policy, coherent, not coherent.
const HOST_MALLOC_FLAGS: u32 = 7 | 0x2000_0000 | 0x4000_0000 | 0x8000_0000;
/// Portable, mapped, of a device, coarse-grained.
const REGISTER_FLAGS: u32 = 15;
/// `hipCpuDeviceId`.
const HOST: i32 = -1;

entries! {
    Health fn hipMemGetInfo(frame, free: Out<usize>, total: Out<usize>) {
        let device = frame.device()?;
        free.put(device.free() as usize)?;
        total.put(device.total() as usize)
    }

    Health fn hipMalloc(frame, out: Out<u64>, size: usize) {
        out.check()?;
        // Nothing of no size, and no error, other than CUDA's.
        out.put(if size == 0 { 0 } else { space::allocate(frame.device()?, size as u64)? })
    }

    Health fn hipFree(frame, at: u64) {
        memory::free(frame, at)
    }

    Health fn hipHostMalloc(frame, out: Out<u64>, size: usize, flags: u32) {
        out.check()?;
        if flags & !HOST_MALLOC_FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        out.put(if size == 0 { 0 } else { space::allocate_host(frame.device()?, size as u64, Kind::Pinned)? })
    }

    Health fn hipHostFree(_, at: *mut c_void) {
        if at.is_null() { Ok(()) } else { space::free_host(number(at)) }
    }

    Health fn hipHostRegister(frame, at: *mut c_void, size: usize, flags: u32) {
        if flags & !REGISTER_FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        space::register(frame.device()?, number(at), size as u64)
    }

    Health fn hipHostUnregister(_, at: *mut c_void) {
        space::unregister(number(at))
    }

    Health fn hipHostGetDevicePointer(_, out: Out<u64>, at: *mut c_void, flags: u32) {
        match space::find(number(at)) {
            Found::Host(_) if flags == 0 => out.put(number(at)),
            _ => Err(Error::INVALID_VALUE),
        }
    }

    Health fn hipMallocManaged(frame, out: Out<u64>, size: usize, flags: u32) {
        out.check()?;
        // Attached to all, or to the host.
        if !(1..=2).contains(&flags) {
            return Err(Error::INVALID_VALUE);
        }
        out.put(memory::managed(frame, size as u64)?)
    }

    Health fn hipMemPrefetchAsync(frame, at: u64, size: usize, to: i32, stream: u64) {
        if to != HOST {
            device::get(to)?;
        }
        memory::is_managed(at, size as u64)?;
        let stream = streams::stream(frame, stream)?;
        frame.submit(&stream, None, Box::new(|| Ok(()))).map(drop)
    }

    Health fn hipMemAdvise(_, at: u64, size: usize, advice: i32, to: i32) {
        // 1 to 6 are CUDA's, the others coarse grain and its end.
        if !matches!(advice, 1..=6 | 100..=101) {
            return Err(Error::INVALID_VALUE);
        }
        // Read-mostly has no place.
        if advice > 2 && to != HOST {
            device::get(to)?;
        }
        memory::is_managed(at, size as u64)
    }
}
