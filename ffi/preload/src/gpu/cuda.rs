//! CUDA's driver: the functions of its that are ours, under their exported names (`_v2`, `_ptsz`: one ABI each), and what
//! `cuGetProcAddress` gives out in their place. Any thread.

use super::copies::{Rows, Side, copy, copy_rows};
use super::launch::{self, fill};
use super::params::Params;
use super::symbols::{entries, instead_of, plain, wraps};
use super::{Driver, INVALID_VALUE, Place, Queue, managed, streams};
use crate::holds::Holds;
use core::ffi::{CStr, c_char, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::*};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const LIBRARIES: &[&CStr] = &[c"libcuda.so.1", c"libcuda.so"];
/// `CU_LAUNCH_PARAM_END`.
const END: usize = 0;
/// `CUDA_ERROR_INVALID_CONTEXT`.
const INVALID_CONTEXT: i32 = 201;

static DRIVER: Driver = Driver {
    backend: "cuda",
    place,
    wait: |stream| {
        // SAFETY: a stream of the program's.
        unsafe { plain!(LIBRARIES, c"cuStreamSynchronize", fn(usize), (stream)) }.unwrap_or(super::UNKNOWN)
    },
    wait_all: || {
        // SAFETY: no preconditions.
        unsafe { plain!(LIBRARIES, c"cuCtxSynchronize", fn(), ()) }.unwrap_or(super::UNKNOWN)
    },
    is_recording: |stream| {
        let mut state = 0;
        // SAFETY: writes an int.
        let code =
            unsafe { plain!(LIBRARIES, c"cuStreamIsCapturing", fn(usize, *mut i32), (stream, &mut state)) };
        code == Some(0) && state != 0
    },
    copy: |to, from, n, stream| {
        // SAFETY: the program's pointers, and a buffer with room for `n` bytes.
        unsafe { plain!(LIBRARIES, c"cuMemcpyAsync", fn(usize, usize, usize, usize), (to, from, n, stream)) }
            .unwrap_or(super::UNKNOWN)
    },
    pinned,
    ready: AtomicU8::new(0),
};

/// The primary context of each device, once the program has launched in a context of that device.
static PRIMARY: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

fn primary(device: i32) -> usize {
    let Some(known) = usize::try_from(device).ok().and_then(|d| PRIMARY.get(d)) else { return 0 };
    if known.load(Relaxed) == 0 {
        let mut context = 0;
        // SAFETY: writes a handle. It is kept, as the runtime keeps it.
        unsafe {
            plain!(LIBRARIES, c"cuDevicePrimaryCtxRetain", fn(*mut usize, i32), (&mut context, device))
        };
        known.store(context, Relaxed);
    }
    known.load(Relaxed)
}

fn place() -> Result<Place, i32> {
    let (mut context, mut device) = (0, 0);
    // SAFETY: both write what they are given the address of.
    let (code, asked) = unsafe {
        (
            plain!(LIBRARIES, c"cuCtxGetCurrent", fn(*mut usize), (&mut context)).unwrap_or(super::UNKNOWN),
            plain!(LIBRARIES, c"cuCtxGetDevice", fn(*mut i32), (&mut device)).unwrap_or(super::UNKNOWN),
        )
    };
    match (code, asked) {
        (0, 0) if context != 0 => Ok(Place { device, shared: context == primary(device) }),
        (0, 0) => Err(INVALID_CONTEXT),
        (0, code) | (code, _) => Err(code),
    }
}

/// Made in the primary context, which nobody ends.
fn pinned(bytes: usize) -> Option<*mut u8> {
    const PORTABLE: u32 = 1;
    let context = primary(place().ok()?.device);
    let mut at = null_mut();
    // SAFETY: they write what they are given the address of; what was current is so again.
    unsafe {
        if plain!(LIBRARIES, c"cuCtxPushCurrent_v2", fn(usize), (context)) != Some(0) {
            return None;
        }
        let mut before = 0;
        let code =
            plain!(LIBRARIES, c"cuMemHostAlloc", fn(*mut *mut u8, usize, u32), (&mut at, bytes, PORTABLE));
        plain!(LIBRARIES, c"cuCtxPopCurrent_v2", fn(*mut usize), (&mut before));
        (code == Some(0)).then_some(at)
    }
}

/// The sizes of each function's parameters that was launched.
static SIZES: Mutex<Option<HashMap<usize, Arc<[usize]>>>> = Mutex::new(None);

fn sizes_known() -> MutexGuard<'static, Option<HashMap<usize, Arc<[usize]>>>> {
    SIZES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a function says of parameter after parameter; the first code, if it says nothing.
fn list(ask: impl Fn(usize, &mut usize, &mut usize) -> Option<i32>) -> Result<Vec<usize>, Option<i32>> {
    let mut sizes = Vec::new();
    let (mut offset, mut size) = (0, 0);
    loop {
        match ask(sizes.len(), &mut offset, &mut size) {
            Some(0) => sizes.push(size),
            Some(INVALID_VALUE) => return Ok(sizes),
            code if sizes.is_empty() => return Err(code),
            _ => return Ok(sizes),
        }
    }
}

/// The sizes of a function's or a library kernel's parameters, if the driver can say.
fn sizes(function: usize) -> Option<Arc<[usize]>> {
    if let Some(known) = sizes_known().as_ref().and_then(|all| all.get(&function)) {
        return Some(known.clone());
    }
    type Room = *mut usize;
    // SAFETY: they write what they are given the address of, and check what they are asked of.
    let of_function = list(|i, offset, size| unsafe {
        plain!(LIBRARIES, c"cuFuncGetParamInfo", fn(usize, usize, Room, Room), (function, i, offset, size))
    });
    let sizes = match of_function {
        Ok(sizes) if !sizes.is_empty() => sizes,
        other => {
            // SAFETY: as above. A kernel of a library may be launched like a function.
            let of_kernel = list(|i, offset, size| unsafe {
                plain!(
                    LIBRARIES,
                    c"cuKernelGetParamInfo",
                    fn(usize, usize, Room, Room),
                    (function, i, offset, size)
                )
            });
            of_kernel.or(other).ok()?
        }
    };
    let sizes: Arc<[usize]> = sizes.into();
    sizes_known().get_or_insert_with(HashMap::new).insert(function, sizes.clone());
    Some(sizes)
}

/// Launches with what `real` makes of the two ways to give parameters.
///
/// # Safety
/// As `cuLaunchKernel`.
unsafe fn run(
    function: usize,
    queue: Queue,
    each: *mut *mut c_void,
    extra: *mut *mut c_void,
    real: &mut dyn FnMut(*mut *mut c_void, *mut *mut c_void) -> i32,
) -> i32 {
    // SAFETY: the caller's promise. With both, the driver says what is wrong.
    let params = unsafe { Params::new(each, extra, END, || sizes(function), false) };
    launch::launch(&DRIVER, queue, END, &params, &mut |copied| match copied {
        None => real(each, extra),
        Some(copied) => real(copied.each(), copied.list()),
    })
}

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Config {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: usize,
    attributes: *const Attribute,
    count: u32,
}

/// `CUlaunchAttribute`.
type Attribute = [u64; 9];

/// A side of a `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Plane {
    x: usize,
    y: usize,
    kind: u32,
    host: usize,
    device: usize,
    array: usize,
    pitch: usize,
}

impl Plane {
    const HOST: u32 = 1;

    fn rows(&self) -> Rows {
        let base = match self.kind {
            Plane::HOST => self.host,
            2 | 4 => self.device, // or either's
            _ => return Rows { start: 0, pitch: 0 },
        };
        let start = base.wrapping_add(self.y.wrapping_mul(self.pitch)).wrapping_add(self.x);
        Rows { start, pitch: self.pitch }
    }
}

/// `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Planes {
    from: Plane,
    to: Plane,
    width: usize,
    height: usize,
}

/// A copy in two dimensions.
///
/// # Safety
/// As `cuMemcpy2D`.
unsafe fn copy_2d(queue: Queue, planes: *const Planes, real: &mut dyn FnMut(*const Planes) -> i32) -> i32 {
    if planes.is_null() {
        return real(planes);
    }
    // SAFETY: the caller's promise.
    let planes = unsafe { *planes };
    let (to, from) = (planes.to.rows(), planes.from.rows());
    let mut again = |at, first, rows| {
        let mut part = Planes { height: rows, ..planes };
        let (managed, other) = match super::is_managed(from.start) {
            true => (&mut part.from, &mut part.to),
            false => (&mut part.to, &mut part.from),
        };
        *managed =
            Plane { x: 0, y: 0, kind: Plane::HOST, host: at, device: 0, array: 0, pitch: planes.width };
        other.y += first;
        real(&part)
    };
    let mut whole = None;
    let code = copy_rows(
        &DRIVER,
        queue,
        (to, from),
        (planes.width, planes.height),
        &mut || *whole.insert(0),
        &mut again,
    );
    if whole.is_some() { real(&planes) } else { code }
}

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

/// Holds what is managed from there to the end of its block: data whose length only the driver knows.
fn rest(h: &mut Holds, at: *const c_void) {
    if let Some((start, len)) = launch::block_of(at.addr()) {
        h.reads(at, start + len - at.addr());
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

const fn queue(handle: usize, per_thread: bool) -> Queue {
    Queue { handle, per_thread }
}

wraps! {
    cuLaunchKernel / cuLaunchKernel_ptsz fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void, extra: *mut *mut c_void,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, extra, &mut |params, extra| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra)
        })
    }

    cuLaunchCooperativeKernel / cuLaunchCooperativeKernel_ptsz fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params)
        })
    }

    cuLaunchKernelEx / cuLaunchKernelEx_ptsz fn (
        config: *const Config, f: usize, params: *mut *mut c_void, extra: *mut *mut c_void,
    ) => real, per_thread {
        if config.is_null() {
            return real(config, f, params, extra);
        }
        let mut config = *config;
        let attributes: Vec<Attribute> =
            (0..config.count as usize).map(|i| config.attributes.add(i).read_unaligned()).collect();
        config.attributes = attributes.as_ptr();
        run(f, queue(config.stream, per_thread), params, extra, &mut |params, extra| {
            real(&config, f, params, extra)
        })
    }

    cuGraphLaunch / cuGraphLaunch_ptsz fn (graph: usize, stream: usize) => real, per_thread {
        launch::graph(&DRIVER, queue(stream, per_thread), &mut || real(graph, stream))
    }

    cuMemcpy / cuMemcpy_ptds fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Host(to), Side::Host(from), n, &mut || real(to, from, n))
    }

    cuMemcpyAsync / cuMemcpyAsync_ptsz fn (to: usize, from: usize, n: usize, s: usize) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Host(to), Side::Host(from), n, &mut || real(to, from, n, s))
    }

    cuMemcpyHtoD_v2 / cuMemcpyHtoD_v2_ptds fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Host(from), n, &mut || real(to, from, n))
    }

    cuMemcpyHtoDAsync_v2 / cuMemcpyHtoDAsync_v2_ptsz fn (
        to: usize, from: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Host(from), n, &mut || real(to, from, n, s))
    }

    cuMemcpyDtoH_v2 / cuMemcpyDtoH_v2_ptds fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Host(to), Side::Device(from), n, &mut || real(to, from, n))
    }

    cuMemcpyDtoHAsync_v2 / cuMemcpyDtoHAsync_v2_ptsz fn (
        to: usize, from: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Host(to), Side::Device(from), n, &mut || real(to, from, n, s))
    }

    cuMemcpyDtoD_v2 / cuMemcpyDtoD_v2_ptds fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Device(from), n, &mut || real(to, from, n))
    }

    cuMemcpyDtoDAsync_v2 / cuMemcpyDtoDAsync_v2_ptsz fn (
        to: usize, from: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Device(from), n, &mut || real(to, from, n, s))
    }

    cuMemcpyPeer / cuMemcpyPeer_ptds fn (
        to: usize, there: usize, from: usize, here: usize, n: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Device(from), n, &mut || {
            real(to, there, from, here, n)
        })
    }

    cuMemcpyPeerAsync / cuMemcpyPeerAsync_ptsz fn (
        to: usize, there: usize, from: usize, here: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Device(from), n, &mut || {
            real(to, there, from, here, n, s)
        })
    }

    cuMemcpy2D_v2 / cuMemcpy2D_v2_ptds / cuMemcpy2DUnaligned_v2 / cuMemcpy2DUnaligned_v2_ptds fn (
        planes: *const Planes,
    ) => real, per_thread {
        copy_2d(queue(0, per_thread), planes, &mut |planes| real(planes))
    }

    cuMemcpy2DAsync_v2 / cuMemcpy2DAsync_v2_ptsz fn (planes: *const Planes, s: usize) => real, per_thread {
        copy_2d(queue(s, per_thread), planes, &mut |planes| real(planes, s))
    }

    cuMemsetD8_v2 / cuMemsetD8_v2_ptds fn (at: usize, value: u8, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    cuMemsetD16_v2 / cuMemsetD16_v2_ptds fn (at: usize, value: u16, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    cuMemsetD32_v2 / cuMemsetD32_v2_ptds fn (at: usize, value: u32, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    cuMemsetD8Async / cuMemsetD8Async_ptsz fn (at: usize, value: u8, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    cuMemsetD16Async / cuMemsetD16Async_ptsz fn (at: usize, value: u16, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    cuMemsetD32Async / cuMemsetD32Async_ptsz fn (at: usize, value: u32, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

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
        if !super::is_managed(at) || out.is_null() || sizes.is_null() || names.is_null() {
            return real(out, sizes, names, count, at, n);
        }
        (0..count)
            .map(|i| managed::range_attribute(*out.add(i), *sizes.add(i), *names.add(i), at, n))
            .find_map(|code| code.filter(|c| *c != 0))
            .unwrap_or(0)
    }

    cuPointerGetAttribute fn (out: *mut c_void, name: i32, at: usize) => real, per_thread {
        if !super::is_managed(at) {
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
        if !super::is_managed(at) {
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
            None if super::is_managed(at) => real(base, size, plain_address()),
            None => real(base, size, at),
        }
    }

    cuMemHostRegister_v2 fn (at: usize, n: usize, flags: u32) => real, per_thread {
        // Devices reach it without; to pin it would keep it from them.
        if super::is_managed(at) { 0 } else { real(at, n, flags) }
    }

    cuMemHostUnregister fn (at: usize) => real, per_thread {
        if super::is_managed(at) { 0 } else { real(at) }
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

    cuStreamDestroy_v2 fn (stream: usize) => real, per_thread {
        streams::forget(stream);
        real(stream)
    }

    cuModuleUnload fn (module: usize) => real, per_thread {
        *sizes_known() = None;
        real(module)
    }

    cuLibraryUnload fn (library: usize) => real, per_thread {
        *sizes_known() = None;
        real(library)
    }

    cuDevicePrimaryCtxReset_v2 fn (device: i32) => real, per_thread {
        // It would take the addresses away that host memory lies over.
        if hmmrt_core::raw::preload::is_active() { (DRIVER.wait_all)() } else { real(device) }
    }

    cuModuleLoad fn (out: *mut usize, file: *const c_char) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.text(file);
        real(out, file)
    }

    cuModuleLoadData / cuModuleLoadFatBinary fn (out: *mut usize, image: *const c_void) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        rest(&mut h, image);
        real(out, image)
    }

    cuModuleLoadDataEx fn (
        out: *mut usize, image: *const c_void, count: u32, options: *mut c_void, values: *mut *mut c_void,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        rest(&mut h, image);
        rest(&mut h, options);
        rest(&mut h, values.cast());
        real(out, image, count, options, values)
    }

    cuLibraryLoadData fn (
        out: *mut usize, image: *const c_void, options: *mut c_void, values: *mut *mut c_void, count: u32,
        more: *mut c_void, more_values: *mut *mut c_void, more_count: u32,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        for at in [image, options, values.cast(), more, more_values.cast()] {
            rest(&mut h, at);
        }
        real(out, image, options, values, count, more, more_values, more_count)
    }

    cuModuleGetFunction / cuLibraryGetKernel fn (
        out: *mut usize, module: usize, name: *const c_char,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.text(name);
        real(out, module, name)
    }

    cuModuleGetGlobal_v2 fn (
        out: *mut usize, size: *mut usize, module: usize, name: *const c_char,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.one(size);
        h.text(name);
        real(out, size, module, name)
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

    cuStreamCreate / cuEventCreate fn (out: *mut usize, flags: u32) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, flags)
    }

    cuStreamCreateWithPriority fn (out: *mut usize, flags: u32, priority: i32) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, flags, priority)
    }

    cuMemGetInfo_v2 fn (unused: *mut usize, all: *mut usize) => real, per_thread {
        let mut h = Holds::new();
        h.one(unused);
        h.one(all);
        real(unused, all)
    }

    cuGetProcAddress fn (name: *const c_char, out: *mut usize, version: i32, flags: u64) => real, per_thread {
        let code = real(name, out, version, flags);
        answer(code, name, out, version, flags);
        code
    }

    cuGetProcAddress_v2 fn (
        name: *const c_char, out: *mut usize, version: i32, flags: u64, status: *mut i32,
    ) => real, per_thread {
        let code = real(name, out, version, flags, status);
        answer(code, name, out, version, flags);
        code
    }
}

/// Our functions.
pub static ENTRIES: &[super::symbols::Entry] = entries! {
    cuLaunchKernel cuLaunchKernel_ptsz cuLaunchCooperativeKernel cuLaunchCooperativeKernel_ptsz
    cuLaunchKernelEx cuLaunchKernelEx_ptsz cuGraphLaunch cuGraphLaunch_ptsz
    cuMemcpy cuMemcpy_ptds cuMemcpyAsync cuMemcpyAsync_ptsz
    cuMemcpyHtoD_v2 cuMemcpyHtoD_v2_ptds cuMemcpyHtoDAsync_v2 cuMemcpyHtoDAsync_v2_ptsz
    cuMemcpyDtoH_v2 cuMemcpyDtoH_v2_ptds cuMemcpyDtoHAsync_v2 cuMemcpyDtoHAsync_v2_ptsz
    cuMemcpyDtoD_v2 cuMemcpyDtoD_v2_ptds cuMemcpyDtoDAsync_v2 cuMemcpyDtoDAsync_v2_ptsz
    cuMemcpyPeer cuMemcpyPeer_ptds cuMemcpyPeerAsync cuMemcpyPeerAsync_ptsz
    cuMemcpy2D_v2 cuMemcpy2D_v2_ptds cuMemcpy2DUnaligned_v2 cuMemcpy2DUnaligned_v2_ptds
    cuMemcpy2DAsync_v2 cuMemcpy2DAsync_v2_ptsz
    cuMemsetD8_v2 cuMemsetD8_v2_ptds cuMemsetD16_v2 cuMemsetD16_v2_ptds cuMemsetD32_v2 cuMemsetD32_v2_ptds
    cuMemsetD8Async cuMemsetD8Async_ptsz cuMemsetD16Async cuMemsetD16Async_ptsz
    cuMemsetD32Async cuMemsetD32Async_ptsz
    cuMemAllocManaged cuMemFree_v2 cuMemPrefetchAsync cuMemPrefetchAsync_ptsz
    cuMemPrefetchAsync_v2 cuMemPrefetchAsync_v2_ptsz cuMemAdvise cuMemAdvise_v2
    cuMemRangeGetAttribute cuMemRangeGetAttributes cuPointerGetAttribute cuPointerGetAttributes
    cuMemGetAddressRange_v2 cuMemHostRegister_v2 cuMemHostUnregister cuMemHostGetDevicePointer_v2
    cuStreamDestroy_v2 cuModuleUnload cuLibraryUnload cuDevicePrimaryCtxReset_v2
    cuModuleLoad cuModuleLoadData cuModuleLoadFatBinary cuModuleLoadDataEx cuLibraryLoadData
    cuModuleGetFunction cuLibraryGetKernel cuModuleGetGlobal_v2
    cuMemAlloc_v2 cuMemAllocHost_v2 cuMemHostAlloc cuStreamCreate cuEventCreate cuStreamCreateWithPriority
    cuMemGetInfo_v2 cuGetProcAddress cuGetProcAddress_v2
};

/// Names as `cuGetProcAddress` takes them, the versions between which they stand for a function of ours, that function's
/// exported name, and the one whose NULL stream is the thread's. From `cudaTypedefs.h`, 12.8 and 13.0. Where a header
/// gave one name another type (prefetch, advice), only an address says which it is, and from 14 on nothing is known.
type Version = (&'static CStr, i32, i32, &'static CStr, &'static CStr);
const UNTIL: i32 = 14_000;
const VERSIONS: &[Version] = &[
    (c"cuLaunchKernel", 4000, UNTIL, c"cuLaunchKernel", c"cuLaunchKernel_ptsz"),
    (
        c"cuLaunchCooperativeKernel",
        9000,
        UNTIL,
        c"cuLaunchCooperativeKernel",
        c"cuLaunchCooperativeKernel_ptsz",
    ),
    (c"cuLaunchKernelEx", 11060, UNTIL, c"cuLaunchKernelEx", c"cuLaunchKernelEx_ptsz"),
    (c"cuGraphLaunch", 10000, UNTIL, c"cuGraphLaunch", c"cuGraphLaunch_ptsz"),
    (c"cuMemcpy", 4000, UNTIL, c"cuMemcpy", c"cuMemcpy_ptds"),
    (c"cuMemcpyAsync", 4000, UNTIL, c"cuMemcpyAsync", c"cuMemcpyAsync_ptsz"),
    (c"cuMemcpyHtoD", 3020, UNTIL, c"cuMemcpyHtoD_v2", c"cuMemcpyHtoD_v2_ptds"),
    (c"cuMemcpyHtoDAsync", 3020, UNTIL, c"cuMemcpyHtoDAsync_v2", c"cuMemcpyHtoDAsync_v2_ptsz"),
    (c"cuMemcpyDtoH", 3020, UNTIL, c"cuMemcpyDtoH_v2", c"cuMemcpyDtoH_v2_ptds"),
    (c"cuMemcpyDtoHAsync", 3020, UNTIL, c"cuMemcpyDtoHAsync_v2", c"cuMemcpyDtoHAsync_v2_ptsz"),
    (c"cuMemcpyDtoD", 3020, UNTIL, c"cuMemcpyDtoD_v2", c"cuMemcpyDtoD_v2_ptds"),
    (c"cuMemcpyDtoDAsync", 3020, UNTIL, c"cuMemcpyDtoDAsync_v2", c"cuMemcpyDtoDAsync_v2_ptsz"),
    (c"cuMemcpyPeer", 4000, UNTIL, c"cuMemcpyPeer", c"cuMemcpyPeer_ptds"),
    (c"cuMemcpyPeerAsync", 4000, UNTIL, c"cuMemcpyPeerAsync", c"cuMemcpyPeerAsync_ptsz"),
    (c"cuMemcpy2D", 3020, UNTIL, c"cuMemcpy2D_v2", c"cuMemcpy2D_v2_ptds"),
    (c"cuMemcpy2DUnaligned", 3020, UNTIL, c"cuMemcpy2DUnaligned_v2", c"cuMemcpy2DUnaligned_v2_ptds"),
    (c"cuMemcpy2DAsync", 3020, UNTIL, c"cuMemcpy2DAsync_v2", c"cuMemcpy2DAsync_v2_ptsz"),
    (c"cuMemsetD8", 3020, UNTIL, c"cuMemsetD8_v2", c"cuMemsetD8_v2_ptds"),
    (c"cuMemsetD16", 3020, UNTIL, c"cuMemsetD16_v2", c"cuMemsetD16_v2_ptds"),
    (c"cuMemsetD32", 3020, UNTIL, c"cuMemsetD32_v2", c"cuMemsetD32_v2_ptds"),
    (c"cuMemsetD8Async", 3020, UNTIL, c"cuMemsetD8Async", c"cuMemsetD8Async_ptsz"),
    (c"cuMemsetD16Async", 3020, UNTIL, c"cuMemsetD16Async", c"cuMemsetD16Async_ptsz"),
    (c"cuMemsetD32Async", 3020, UNTIL, c"cuMemsetD32Async", c"cuMemsetD32Async_ptsz"),
    (c"cuMemAllocManaged", 6000, UNTIL, c"cuMemAllocManaged", c"cuMemAllocManaged"),
    (c"cuMemFree", 3020, UNTIL, c"cuMemFree_v2", c"cuMemFree_v2"),
    (c"cuMemPrefetchAsync", 8000, 12_020, c"cuMemPrefetchAsync", c"cuMemPrefetchAsync_ptsz"),
    (c"cuMemPrefetchAsync_v2", 12_020, UNTIL, c"cuMemPrefetchAsync_v2", c"cuMemPrefetchAsync_v2_ptsz"),
    (c"cuMemAdvise", 8000, 12_020, c"cuMemAdvise", c"cuMemAdvise"),
    (c"cuMemAdvise_v2", 12_020, UNTIL, c"cuMemAdvise_v2", c"cuMemAdvise_v2"),
    (c"cuMemRangeGetAttribute", 8000, UNTIL, c"cuMemRangeGetAttribute", c"cuMemRangeGetAttribute"),
    (c"cuMemRangeGetAttributes", 8000, UNTIL, c"cuMemRangeGetAttributes", c"cuMemRangeGetAttributes"),
    (c"cuPointerGetAttribute", 4000, UNTIL, c"cuPointerGetAttribute", c"cuPointerGetAttribute"),
    (c"cuPointerGetAttributes", 7000, UNTIL, c"cuPointerGetAttributes", c"cuPointerGetAttributes"),
    (c"cuMemGetAddressRange", 3020, UNTIL, c"cuMemGetAddressRange_v2", c"cuMemGetAddressRange_v2"),
    (c"cuMemHostRegister", 6050, UNTIL, c"cuMemHostRegister_v2", c"cuMemHostRegister_v2"),
    (c"cuMemHostUnregister", 4000, UNTIL, c"cuMemHostUnregister", c"cuMemHostUnregister"),
    (
        c"cuMemHostGetDevicePointer",
        3020,
        UNTIL,
        c"cuMemHostGetDevicePointer_v2",
        c"cuMemHostGetDevicePointer_v2",
    ),
    (c"cuStreamDestroy", 4000, UNTIL, c"cuStreamDestroy_v2", c"cuStreamDestroy_v2"),
    (c"cuModuleUnload", 2000, UNTIL, c"cuModuleUnload", c"cuModuleUnload"),
    (c"cuLibraryUnload", 12_000, UNTIL, c"cuLibraryUnload", c"cuLibraryUnload"),
    (c"cuDevicePrimaryCtxReset", 11_000, UNTIL, c"cuDevicePrimaryCtxReset_v2", c"cuDevicePrimaryCtxReset_v2"),
    (c"cuModuleLoadData", 2000, UNTIL, c"cuModuleLoadData", c"cuModuleLoadData"),
    (c"cuModuleLoadDataEx", 2010, UNTIL, c"cuModuleLoadDataEx", c"cuModuleLoadDataEx"),
    (c"cuLibraryLoadData", 12_000, UNTIL, c"cuLibraryLoadData", c"cuLibraryLoadData"),
    (c"cuGetProcAddress", 12_000, UNTIL, c"cuGetProcAddress_v2", c"cuGetProcAddress_v2"),
    (c"cuGetProcAddress", 11_030, 12_000, c"cuGetProcAddress", c"cuGetProcAddress"),
];

/// Puts our function in the place of what `cuGetProcAddress` has found.
///
/// # Safety
/// As `cuGetProcAddress`, which has answered `code`.
unsafe fn answer(code: i32, name: *const c_char, out: *mut usize, version: i32, flags: u64) {
    // Default, legacy stream, per-thread stream.
    if code != 0 || name.is_null() || out.is_null() || flags > 2 {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let (name, at) = (CStr::from_ptr(name), *out);
        if at == 0 {
            return;
        }
        let known = VERSIONS.iter().find(|v| v.0 == name && v.1 <= version && version < v.2);
        let symbol = known.map(|v| if flags == 2 { v.4 } else { v.3 });
        match instead_of(ENTRIES, at, symbol) {
            0 => {}
            ours => *out = ours,
        }
    }
}
