//! CUDA's memory: what it gives out, and what a program asks of pointers. Any thread.

use super::driver::{DRIVER, LIBRARIES, primary};
use super::queue;
use crate::gpu::symbols::wraps;
use crate::gpu::{INVALID_VALUE, is_managed, managed};
use crate::holds::Holds;
use core::ffi::c_void;

/// `CUmemLocation`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Location {
    kind: i32,
    id: i32,
}

impl Location {
    /// As a device's number, or the host.
    fn number(self) -> i32 {
        if self.kind == 1 { self.id } else { -1 }
    }
}

/// An address of which the driver knows nothing, to ask it about in the place of a managed one.
static PLAIN: u64 = 0;

fn plain_address() -> usize {
    (&raw const PLAIN).expose_provenance()
}

/// An attribute of memory that [`managed`] gave out: value and size.
fn attribute(name: i32, at: usize) -> Option<(u64, usize)> {
    let (start, notes) = managed::notes(at)?;
    Some(match name {
        1 => (primary(notes.device) as u64, 8),
        2 => (2, 4), // a device's
        3 => (managed::device_address(&DRIVER, at)?.ok()? as u64, 8),
        4 => (at as u64, 8),
        7 => (start as u64, 8),
        8 => (1, 4),
        9 => (notes.device as u64, 4),
        11 => (start as u64, 8),
        12 => (notes.len as u64, 8),
        13 => (1, 4),
        _ => return None,
    })
}

/// # Safety
/// There is room for the attribute.
unsafe fn put(out: *mut c_void, (value, size): (u64, usize)) {
    // SAFETY: the caller's promise; little-endian, so the first bytes are the small number.
    unsafe { core::ptr::copy_nonoverlapping(value.to_le_bytes().as_ptr(), out.cast(), size) };
}

wraps! {
    cuMemAllocManaged fn (out: *mut usize, n: usize, flags: u32) => real, per_thread {
        managed::allocate(&DRIVER, out, n, flags).unwrap_or_else(|| {
            let mut h = Holds::new();
            h.one(out);
            real(out, n, flags)
        })
    }

    cuMemFree_v2 fn (at: usize) => real, per_thread {
        managed::free(at).unwrap_or_else(|| real(at))
    }

    cuMemPrefetchAsync / cuMemPrefetchAsync_ptsz fn (at: usize, n: usize, to: i32, s: usize) => real, per_thread {
        managed::prefetch(&DRIVER, queue(s, per_thread), at, n, to).unwrap_or_else(|| real(at, n, to, s))
    }

    cuMemPrefetchAsync_v2 / cuMemPrefetchAsync_v2_ptsz fn (
        at: usize, n: usize, to: Location, flags: u32, s: usize,
    ) => real, per_thread {
        managed::prefetch(&DRIVER, queue(s, per_thread), at, n, to.number())
            .unwrap_or_else(|| real(at, n, to, flags, s))
    }

    cuMemAdvise fn (at: usize, n: usize, advice: i32, to: i32) => real, per_thread {
        managed::advise(&DRIVER, at, n, advice, to).unwrap_or_else(|| real(at, n, advice, to))
    }

    cuMemAdvise_v2 fn (at: usize, n: usize, advice: i32, to: Location) => real, per_thread {
        managed::advise(&DRIVER, at, n, advice, to.number()).unwrap_or_else(|| real(at, n, advice, to))
    }

    cuMemRangeGetAttribute fn (out: *mut i32, size: usize, name: i32, at: usize, n: usize) => real, per_thread {
        managed::range_attribute(out, size, name, at, n).unwrap_or_else(|| real(out, size, name, at, n))
    }

    cuMemRangeGetAttributes fn (
        out: *mut *mut i32, sizes: *mut usize, names: *mut i32, count: usize, at: usize, n: usize,
    ) => real, per_thread {
        if !is_managed(at) || out.is_null() || sizes.is_null() || names.is_null() {
            return real(out, sizes, names, count, at, n);
        }
        (0..count)
            .map(|i| managed::range_attribute(*out.add(i), *sizes.add(i), *names.add(i), at, n))
            .find_map(|code| code.filter(|c| *c != 0))
            .unwrap_or(0)
    }

    cuPointerGetAttribute fn (out: *mut c_void, name: i32, at: usize) => real, per_thread {
        if !is_managed(at) {
            return real(out, name, at);
        }
        match attribute(name, at) {
            Some(_) if out.is_null() => INVALID_VALUE,
            Some(value) => {
                put(out, value);
                0
            }
            None => real(out, name, plain_address()),
        }
    }

    cuPointerGetAttributes fn (
        count: u32, names: *const i32, out: *const *mut c_void, at: usize,
    ) => real, per_thread {
        if !is_managed(at) {
            return real(count, names, out, at);
        }
        let code = real(count, names, out, plain_address());
        if code == 0 {
            for i in 0..count as usize {
                if let Some(value) = attribute(*names.add(i), at) {
                    put(*out.add(i), value);
                }
            }
        }
        code
    }

    cuMemGetAddressRange_v2 fn (base: *mut usize, size: *mut usize, at: usize) => real, per_thread {
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
            None if is_managed(at) => real(base, size, plain_address()),
            None => real(base, size, at),
        }
    }

    cuMemHostRegister_v2 fn (at: usize, n: usize, flags: u32) => real, per_thread {
        // Devices reach it without; to pin it would keep it from them.
        if is_managed(at) { 0 } else { real(at, n, flags) }
    }

    cuMemHostUnregister fn (at: usize) => real, per_thread {
        if is_managed(at) { 0 } else { real(at) }
    }

    cuMemHostGetDevicePointer_v2 fn (out: *mut usize, at: usize, flags: u32) => real, per_thread {
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

    cuMemAlloc_v2 / cuMemAllocHost_v2 fn (out: *mut usize, n: usize) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, n)
    }

    cuMemHostAlloc fn (out: *mut usize, n: usize, flags: u32) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, n, flags)
    }

    cuMemGetInfo_v2 fn (unused: *mut usize, all: *mut usize) => real, per_thread {
        let mut h = Holds::new();
        h.one(unused);
        h.one(all);
        real(unused, all)
    }
}
