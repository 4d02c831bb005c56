//! HIP's memory: what it gives out, and what a program asks of pointers. Any thread.

use super::driver::{DRIVER, LIBRARIES};
use super::queue;
use crate::gpu::symbols::{plain, wraps};
use crate::gpu::{INVALID_VALUE, is_managed, managed};
use crate::holds::Holds;

/// `hipPointerAttribute_t`.
#[repr(C)]
pub struct Attributes {
    kind: i32,
    device: i32,
    device_pointer: usize,
    host_pointer: usize,
    is_managed: i32,
    flags: u32,
}

/// Whether the library is of ROCm 6 or later.
pub fn is_rocm_6() -> bool {
    let mut version = 0;
    // SAFETY: writes an int.
    unsafe { plain!(LIBRARIES, c"hipRuntimeGetVersion", fn(*mut i32), (&mut version)) };
    version >= 60_000_000
}

/// `hipMemoryTypeManaged`, which ROCm 6 gave another number.
fn managed_kind() -> i32 {
    if is_rocm_6() { 3 } else { 4 }
}

/// An address of which the driver knows nothing.
static PLAIN: u64 = 0;

wraps! {
    hipMallocManaged fn (out: *mut usize, n: usize, flags: u32) => real, per_thread {
        managed::allocate(&DRIVER, out, n, flags).unwrap_or_else(|| {
            let mut h = Holds::new();
            h.one(out);
            real(out, n, flags)
        })
    }

    hipFree fn (at: usize) => real, per_thread {
        managed::free(at).unwrap_or_else(|| real(at))
    }

    hipMemPrefetchAsync fn (at: usize, n: usize, to: i32, s: usize) => real, per_thread {
        managed::prefetch(&DRIVER, queue(s, per_thread), at, n, to).unwrap_or_else(|| real(at, n, to, s))
    }

    hipMemAdvise fn (at: usize, n: usize, advice: i32, to: i32) => real, per_thread {
        managed::advise(&DRIVER, at, n, advice, to).unwrap_or_else(|| real(at, n, advice, to))
    }

    hipMemRangeGetAttribute fn (out: *mut i32, size: usize, name: i32, at: usize, n: usize) => real, per_thread {
        managed::range_attribute(out, size, name, at, n).unwrap_or_else(|| real(out, size, name, at, n))
    }

    hipPointerGetAttributes fn (out: *mut Attributes, at: usize) => real, per_thread {
        if !is_managed(at) {
            return real(out, at);
        }
        let Some((_, notes)) = managed::notes(at).filter(|_| !out.is_null()) else {
            return real(out, (&raw const PLAIN).expose_provenance());
        };
        let device_pointer = match managed::device_address(&DRIVER, at) {
            Some(Ok(there)) => there,
            _ => return INVALID_VALUE,
        };
        let (kind, device) = (managed_kind(), notes.device);
        *out = Attributes { kind, device, device_pointer, host_pointer: at, is_managed: 1, flags: 0 };
        0
    }

    hipMemGetAddressRange fn (base: *mut usize, size: *mut usize, at: usize) => real, per_thread {
        match managed::notes(at) {
            Some((start, notes)) => {
                if !base.is_null() {
                    *base = start;
                }
                if !size.is_null() {
                    *size = notes.len;
                }
                0
            }
            None if is_managed(at) => real(base, size, (&raw const PLAIN).expose_provenance()),
            None => real(base, size, at),
        }
    }

    hipHostRegister fn (at: usize, n: usize, flags: u32) => real, per_thread {
        // Devices reach it without; to pin it would keep it from them.
        if is_managed(at) { 0 } else { real(at, n, flags) }
    }

    hipHostUnregister fn (at: usize) => real, per_thread {
        if is_managed(at) { 0 } else { real(at) }
    }

    hipHostGetDevicePointer fn (out: *mut usize, at: usize, flags: u32) => real, per_thread {
        match managed::device_address(&DRIVER, at) {
            Some(Ok(there)) if !out.is_null() => {
                *out = there;
                0
            }
            Some(Err(code)) => code,
            Some(Ok(_)) => INVALID_VALUE,
            None => real(out, at, flags),
        }
    }

    hipMalloc fn (out: *mut usize, n: usize) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, n)
    }

    hipHostMalloc fn (out: *mut usize, n: usize, flags: u32) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, n, flags)
    }

    hipMemGetInfo fn (unused: *mut usize, all: *mut usize) => real, per_thread {
        let mut h = Holds::new();
        h.one(unused);
        h.one(all);
        real(unused, all)
    }
}
