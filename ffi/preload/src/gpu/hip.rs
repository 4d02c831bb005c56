//! HIP's runtime: the functions of its that are ours. Programs are linked to them, or look them up. Any thread.

use super::copies::{Rows, Side, copy, copy_rows};
use super::launch::{self, fill};
use super::params::Params;
use super::symbols::{self, entries, instead_of, plain, wraps};
use super::{Driver, INVALID_VALUE, Place, Queue, managed, streams};
use crate::holds::Holds;
use core::ffi::{CStr, c_char, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};
use std::collections::BTreeMap;
use std::sync::Mutex;

const LIBRARIES: &[&CStr] =
    &[c"libamdhip64.so.7", c"libamdhip64.so.6", c"libamdhip64.so.5", c"libamdhip64.so"];
/// `HIP_LAUNCH_PARAM_END`.
const END: usize = 3;
/// `hipMemcpyDefault`: whatever the pointers are.
const ANY: i32 = 4;

static DRIVER: Driver = Driver {
    backend: "hip",
    place: || {
        let mut device = 0;
        // SAFETY: writes an int.
        match unsafe { plain!(LIBRARIES, c"hipGetDevice", fn(*mut i32), (&mut device)) } {
            Some(0) => Ok(Place { device, shared: true }),
            code => Err(code.unwrap_or(super::UNKNOWN)),
        }
    },
    wait: |stream| {
        // SAFETY: a stream of the program's.
        unsafe { plain!(LIBRARIES, c"hipStreamSynchronize", fn(usize), (stream)) }.unwrap_or(super::UNKNOWN)
    },
    wait_all: || {
        // SAFETY: no preconditions.
        unsafe { plain!(LIBRARIES, c"hipDeviceSynchronize", fn(), ()) }.unwrap_or(super::UNKNOWN)
    },
    is_recording: |stream| {
        let mut state = 0;
        // SAFETY: writes an int.
        let code =
            unsafe { plain!(LIBRARIES, c"hipStreamIsCapturing", fn(usize, *mut i32), (stream, &mut state)) };
        code == Some(0) && state != 0
    },
    copy: |to, from, n, stream| {
        // SAFETY: the program's pointers, and a buffer with room for `n` bytes.
        unsafe {
            plain!(
                LIBRARIES,
                c"hipMemcpyAsync",
                fn(usize, usize, usize, i32, usize),
                (to, from, n, ANY, stream)
            )
        }
        .unwrap_or(super::UNKNOWN)
    },
    pinned: |bytes| {
        const PORTABLE: u32 = 1;
        let mut at = null_mut();
        // SAFETY: writes an address.
        let code = unsafe {
            plain!(LIBRARIES, c"hipHostMalloc", fn(*mut *mut u8, usize, u32), (&mut at, bytes, PORTABLE))
        };
        (code == Some(0)).then_some(at)
    },
    ready: AtomicU8::new(0),
};

/// What launches of a thread came to that the driver knows nothing of: programs ask for it afterwards.
static FAILED: Mutex<BTreeMap<u32, i32>> = Mutex::new(BTreeMap::new());
static ANY_FAILED: AtomicBool = AtomicBool::new(false);

fn failed(forget: bool) -> Option<i32> {
    if !ANY_FAILED.load(Acquire) {
        return None;
    }
    let mut failed = FAILED.lock().unwrap_or_else(|e| e.into_inner());
    let me = symbols::thread();
    if forget { failed.remove(&me) } else { failed.get(&me).copied() }
}

/// Launches with what `real` makes of the two ways to give parameters.
///
/// # Safety
/// As `hipModuleLaunchKernel`.
unsafe fn run(
    queue: Queue,
    each: *mut *mut c_void,
    extra: *mut *mut c_void,
    real: &mut dyn FnMut(*mut *mut c_void, *mut *mut c_void) -> i32,
) -> i32 {
    // SAFETY: the caller's promise.
    let params = unsafe { Params::new(each, extra, END, || None, true) };
    let mut reached = false;
    let code = launch::launch(&DRIVER, queue, END, &params, &mut |copied| {
        reached = true;
        match copied {
            None => real(each, extra),
            Some(copied) => real(copied.each(), copied.list()),
        }
    });
    if !reached && code != 0 {
        FAILED.lock().unwrap_or_else(|e| e.into_inner()).insert(symbols::thread(), code);
        ANY_FAILED.store(true, Release);
    }
    code
}

/// `dim3`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Dim3 {
    x: u32,
    y: u32,
    z: u32,
}

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

/// `hipMemoryTypeManaged`, which ROCm 6 gave another number.
fn managed_kind() -> i32 {
    let mut version = 0;
    // SAFETY: writes an int.
    unsafe { plain!(LIBRARIES, c"hipRuntimeGetVersion", fn(*mut i32), (&mut version)) };
    if version >= 60_000_000 { 3 } else { 4 }
}

fn rest(h: &mut Holds, at: *const c_void) {
    if let Some((start, len)) = launch::block_of(at.addr()) {
        h.reads(at, start + len - at.addr());
    }
}

/// An address of which the driver knows nothing.
static PLAIN: u64 = 0;

const fn queue(handle: usize, per_thread: bool) -> Queue {
    Queue { handle, per_thread }
}

/// What a copy's kind says of its sides.
fn sides(to: usize, from: usize, kind: i32) -> (Side, Side) {
    let side = |at, device| if device { Side::Device(at) } else { Side::Host(at) };
    (side(to, matches!(kind, 1 | 3)), side(from, matches!(kind, 2 | 3)))
}

wraps! {
    hipModuleLaunchKernel fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void, extra: *mut *mut c_void,
    ) => real, per_thread {
        run(queue(stream, per_thread), params, extra, &mut |params, extra| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra)
        })
    }

    hipModuleLaunchCooperativeKernel fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void,
    ) => real, per_thread {
        run(queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params)
        })
    }

    hipExtModuleLaunchKernel / hipHccModuleLaunchKernel fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: usize, stream: usize,
        params: *mut *mut c_void, extra: *mut *mut c_void, start: usize, stop: usize, flags: u32,
    ) => real, per_thread {
        run(queue(stream, per_thread), params, extra, &mut |params, extra| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra, start, stop, flags)
        })
    }

    hipLaunchKernel / hipLaunchKernel_spt fn (
        f: usize, grid: Dim3, block: Dim3, params: *mut *mut c_void, shared: usize, stream: usize,
    ) => real, per_thread {
        run(queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, grid, block, params, shared, stream)
        })
    }

    hipLaunchCooperativeKernel / hipLaunchCooperativeKernel_spt fn (
        f: usize, grid: Dim3, block: Dim3, params: *mut *mut c_void, shared: u32, stream: usize,
    ) => real, per_thread {
        run(queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, grid, block, params, shared, stream)
        })
    }

    hipExtLaunchKernel fn (
        f: usize, grid: Dim3, block: Dim3, params: *mut *mut c_void, shared: usize, stream: usize,
        start: usize, stop: usize, flags: i32,
    ) => real, per_thread {
        run(queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, grid, block, params, shared, stream, start, stop, flags)
        })
    }

    hipGraphLaunch / hipGraphLaunch_spt fn (graph: usize, stream: usize) => real, per_thread {
        launch::graph(&DRIVER, queue(stream, per_thread), &mut || real(graph, stream))
    }

    hipGetLastError fn () => real, per_thread {
        match failed(true) {
            Some(code) => {
                real();
                code
            }
            None => real(),
        }
    }

    hipPeekAtLastError fn () => real, per_thread {
        failed(false).unwrap_or_else(|| real())
    }

    hipMemcpy / hipMemcpy_spt fn (to: usize, from: usize, n: usize, kind: i32) => real, per_thread {
        let (a, b) = sides(to, from, kind);
        copy(&DRIVER, queue(0, per_thread), a, b, n, &mut || real(to, from, n, kind))
    }

    hipMemcpyAsync / hipMemcpyAsync_spt fn (
        to: usize, from: usize, n: usize, kind: i32, s: usize,
    ) => real, per_thread {
        let (a, b) = sides(to, from, kind);
        copy(&DRIVER, queue(s, per_thread), a, b, n, &mut || real(to, from, n, kind, s))
    }

    hipMemcpyWithStream fn (to: usize, from: usize, n: usize, kind: i32, s: usize) => real, per_thread {
        let (a, b) = sides(to, from, kind);
        copy(&DRIVER, queue(s, per_thread), a, b, n, &mut || real(to, from, n, kind, s))
    }

    hipMemcpy2D / hipMemcpy2D_spt fn (
        to: usize, tp: usize, from: usize, fp: usize, w: usize, h: usize, kind: i32,
    ) => real, per_thread {
        let rows = (Rows { start: to, pitch: tp }, Rows { start: from, pitch: fp });
        let managed_from = super::is_managed(from);
        copy_rows(&DRIVER, queue(0, per_thread), rows, (w, h), &mut || real(to, tp, from, fp, w, h, kind),
            &mut |at, y, n| match managed_from {
                true => real(to + y * tp, tp, at, w, w, n, kind),
                false => real(at, w, from + y * fp, fp, w, n, kind),
            })
    }

    hipMemcpy2DAsync / hipMemcpy2DAsync_spt fn (
        to: usize, tp: usize, from: usize, fp: usize, w: usize, h: usize, kind: i32, s: usize,
    ) => real, per_thread {
        let rows = (Rows { start: to, pitch: tp }, Rows { start: from, pitch: fp });
        let managed_from = super::is_managed(from);
        copy_rows(&DRIVER, queue(s, per_thread), rows, (w, h), &mut || real(to, tp, from, fp, w, h, kind, s),
            &mut |at, y, n| match managed_from {
                true => real(to + y * tp, tp, at, w, w, n, kind, s),
                false => real(at, w, from + y * fp, fp, w, n, kind, s),
            })
    }

    hipMemcpyHtoD fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Host(from), n, &mut || real(to, from, n))
    }

    hipMemcpyHtoDAsync fn (to: usize, from: usize, n: usize, s: usize) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Host(from), n, &mut || real(to, from, n, s))
    }

    hipMemcpyDtoH fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Host(to), Side::Device(from), n, &mut || real(to, from, n))
    }

    hipMemcpyDtoHAsync fn (to: usize, from: usize, n: usize, s: usize) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Host(to), Side::Device(from), n, &mut || real(to, from, n, s))
    }

    hipMemcpyDtoD fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Device(from), n, &mut || real(to, from, n))
    }

    hipMemcpyDtoDAsync fn (to: usize, from: usize, n: usize, s: usize) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Device(from), n, &mut || real(to, from, n, s))
    }

    hipMemcpyPeer fn (to: usize, there: i32, from: usize, here: i32, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Device(from), n, &mut || {
            real(to, there, from, here, n)
        })
    }

    hipMemcpyPeerAsync fn (
        to: usize, there: i32, from: usize, here: i32, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Device(from), n, &mut || {
            real(to, there, from, here, n, s)
        })
    }

    hipMemset / hipMemset_spt fn (at: usize, value: i32, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    hipMemsetAsync / hipMemsetAsync_spt fn (at: usize, value: i32, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    hipMemsetD8 fn (at: usize, value: u8, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    hipMemsetD16 fn (at: usize, value: u16, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    hipMemsetD32 fn (at: usize, value: i32, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    hipMemsetD8Async fn (at: usize, value: u8, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    hipMemsetD16Async fn (at: usize, value: u16, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    hipMemsetD32Async fn (at: usize, value: i32, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

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
        if !super::is_managed(at) {
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
            None if super::is_managed(at) => real(base, size, (&raw const PLAIN).expose_provenance()),
            None => real(base, size, at),
        }
    }

    hipHostRegister fn (at: usize, n: usize, flags: u32) => real, per_thread {
        // Devices reach it without; to pin it would keep it from them.
        if super::is_managed(at) { 0 } else { real(at, n, flags) }
    }

    hipHostUnregister fn (at: usize) => real, per_thread {
        if super::is_managed(at) { 0 } else { real(at) }
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

    hipStreamDestroy fn (stream: usize) => real, per_thread {
        streams::forget(stream);
        real(stream)
    }

    hipDeviceReset fn () => real, per_thread {
        // It would take the addresses away that host memory lies over.
        if hmmrt_core::raw::preload::is_active() { (DRIVER.wait_all)() } else { real() }
    }

    hipModuleLoad fn (out: *mut usize, file: *const c_char) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.text(file);
        real(out, file)
    }

    hipModuleLoadData fn (out: *mut usize, image: *const c_void) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        rest(&mut h, image);
        real(out, image)
    }

    hipModuleLoadDataEx fn (
        out: *mut usize, image: *const c_void, count: u32, options: *mut c_void, values: *mut *mut c_void,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        rest(&mut h, image);
        rest(&mut h, options);
        rest(&mut h, values.cast());
        real(out, image, count, options, values)
    }

    hipModuleGetFunction fn (out: *mut usize, module: usize, name: *const c_char) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.text(name);
        real(out, module, name)
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

    hipStreamCreate / hipEventCreate fn (out: *mut usize) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out)
    }

    hipStreamCreateWithFlags / hipEventCreateWithFlags fn (out: *mut usize, flags: u32) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, flags)
    }

    hipMemGetInfo fn (unused: *mut usize, all: *mut usize) => real, per_thread {
        let mut h = Holds::new();
        h.one(unused);
        h.one(all);
        real(unused, all)
    }

    hipGetProcAddress fn (
        name: *const c_char, out: *mut usize, version: i32, flags: u64, status: *mut i32,
    ) => real, per_thread {
        let code = real(name, out, version, flags, status);
        // By address only: the names of HIP's functions say nothing of their version.
        if code == 0 && !out.is_null() && *out != 0 {
            match instead_of(ENTRIES, *out, None) {
                0 => {}
                ours => *out = ours,
            }
        }
        code
    }
}

/// Our functions.
pub static ENTRIES: &[symbols::Entry] = entries! {
    hipModuleLaunchKernel hipModuleLaunchCooperativeKernel hipExtModuleLaunchKernel hipHccModuleLaunchKernel
    hipLaunchKernel hipLaunchKernel_spt hipLaunchCooperativeKernel hipLaunchCooperativeKernel_spt
    hipExtLaunchKernel hipGraphLaunch hipGraphLaunch_spt hipGetLastError hipPeekAtLastError
    hipMemcpy hipMemcpy_spt hipMemcpyAsync hipMemcpyAsync_spt hipMemcpyWithStream hipMemcpyHtoD
    hipMemcpy2D hipMemcpy2D_spt hipMemcpy2DAsync hipMemcpy2DAsync_spt
    hipMemcpyHtoDAsync hipMemcpyDtoH hipMemcpyDtoHAsync hipMemcpyDtoD hipMemcpyDtoDAsync hipMemcpyPeer
    hipMemcpyPeerAsync hipMemset hipMemset_spt hipMemsetAsync hipMemsetAsync_spt hipMemsetD8 hipMemsetD16
    hipMemsetD32 hipMemsetD8Async hipMemsetD16Async hipMemsetD32Async hipMallocManaged hipFree
    hipMemPrefetchAsync hipMemAdvise hipMemRangeGetAttribute hipPointerGetAttributes hipMemGetAddressRange
    hipHostRegister hipHostUnregister hipHostGetDevicePointer hipStreamDestroy hipDeviceReset hipModuleLoad
    hipModuleLoadData hipModuleLoadDataEx hipModuleGetFunction hipMalloc hipHostMalloc hipStreamCreate
    hipEventCreate hipStreamCreateWithFlags hipEventCreateWithFlags hipMemGetInfo hipGetProcAddress
};
