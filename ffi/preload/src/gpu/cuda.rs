//! CUDA's driver: the functions of its that are ours, under their exported names (`_v2`, `_ptsz`: one ABI each). Any
//! thread.

use super::copies::{Side, copy};
use super::cuda_driver::{DRIVER, LIBRARIES, forget_sizes, primary, sizes};
use super::cuda_planes::{Planes, copy_2d};
use super::cuda_versions::answer;
use super::launch::{self, fill};
use super::params::Params;
use super::symbols::{entries, wraps};
use super::{INVALID_VALUE, Queue, managed, streams};
use crate::holds::Holds;
use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

/// `CU_LAUNCH_PARAM_END`.
const END: usize = 0;

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
        forget_sizes();
        real(module)
    }

    cuLibraryUnload fn (library: usize) => real, per_thread {
        forget_sizes();
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
