//! HIP's functions that are refused with managed memory: the driver would take the address for memory of the device's,
//! where older bytes may be. Any thread.

use super::driver::LIBRARIES;
use super::memory::is_rocm_6;
use crate::gpu::copies::NOT_SUPPORTED;
use crate::gpu::is_managed;
use crate::gpu::symbols::wraps;
use hmmrt_core::raw::preload;

/// Whether any of so many words is a managed address.
///
/// # Safety
/// NULL, or so many words.
unsafe fn any_managed(words: *const usize, count: usize) -> bool {
    // SAFETY: the caller's promise.
    !words.is_null() && (0..count).any(|i| is_managed(unsafe { words.add(i).read_unaligned() }))
}

/// Words of `hip_Memcpy2D`, and of `hipGraphNodeParams`.
const PLANES: usize = 16;
const NODE: usize = 32;

/// Words of `HIP_MEMCPY3D`, whose numbers ROCm 6 made larger.
fn spaces() -> usize {
    if is_rocm_6() { 23 } else { 16 }
}

wraps! {
    hipMemcpyParam2D fn (given: *const usize) => real, per_thread {
        if any_managed(given, PLANES) { NOT_SUPPORTED } else { real(given) }
    }

    hipMemcpyParam2DAsync fn (given: *const usize, s: usize) => real, per_thread {
        if any_managed(given, PLANES) { NOT_SUPPORTED } else { real(given, s) }
    }

    hipDrvMemcpy3D fn (given: *const usize) => real, per_thread {
        if any_managed(given, spaces()) { NOT_SUPPORTED } else { real(given) }
    }

    hipDrvMemcpy3DAsync fn (given: *const usize, s: usize) => real, per_thread {
        if any_managed(given, spaces()) { NOT_SUPPORTED } else { real(given, s) }
    }

    hipMemcpyToArray / hipMemcpyToArray_spt fn (
        to: usize, x: usize, y: usize, from: usize, n: usize, kind: i32,
    ) => real, per_thread {
        if is_managed(from) { NOT_SUPPORTED } else { real(to, x, y, from, n, kind) }
    }

    hipMemcpyFromArray / hipMemcpyFromArray_spt fn (
        to: usize, from: usize, x: usize, y: usize, n: usize, kind: i32,
    ) => real, per_thread {
        if is_managed(to) { NOT_SUPPORTED } else { real(to, from, x, y, n, kind) }
    }

    hipMemcpy2DToArray / hipMemcpy2DToArray_spt fn (
        to: usize, x: usize, y: usize, from: usize, pitch: usize, w: usize, h: usize, kind: i32,
    ) => real, per_thread {
        if is_managed(from) { NOT_SUPPORTED } else { real(to, x, y, from, pitch, w, h, kind) }
    }

    hipMemcpy2DToArrayAsync / hipMemcpy2DToArrayAsync_spt fn (
        to: usize, x: usize, y: usize, from: usize, pitch: usize, w: usize, h: usize, kind: i32, s: usize,
    ) => real, per_thread {
        if is_managed(from) { NOT_SUPPORTED } else { real(to, x, y, from, pitch, w, h, kind, s) }
    }

    hipMemcpy2DFromArray / hipMemcpy2DFromArray_spt fn (
        to: usize, pitch: usize, from: usize, x: usize, y: usize, w: usize, h: usize, kind: i32,
    ) => real, per_thread {
        if is_managed(to) { NOT_SUPPORTED } else { real(to, pitch, from, x, y, w, h, kind) }
    }

    hipMemcpy2DFromArrayAsync / hipMemcpy2DFromArrayAsync_spt fn (
        to: usize, pitch: usize, from: usize, x: usize, y: usize, w: usize, h: usize, kind: i32, s: usize,
    ) => real, per_thread {
        if is_managed(to) { NOT_SUPPORTED } else { real(to, pitch, from, x, y, w, h, kind, s) }
    }

    hipMemcpyBatchAsync fn (
        to: *const usize, from: *const usize, n: *const usize, count: usize, attributes: usize, which: usize,
        kinds: usize, failed: *mut usize, s: usize,
    ) => real, per_thread {
        if any_managed(to, count) || any_managed(from, count) {
            return NOT_SUPPORTED;
        }
        real(to, from, n, count, attributes, which, kinds, failed, s)
    }

    hipGraphAddNode fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const usize,
    ) => real, per_thread {
        // A kernel's parameters are not looked at.
        let refused = any_managed(given, NODE) || !given.is_null() && *given.cast::<i32>() == 0 && preload::is_active();
        if refused { NOT_SUPPORTED } else { real(out, graph, after, count, given) }
    }

    hipStreamWriteValue32 fn (s: usize, at: usize, value: u32, flags: u32) => real, per_thread {
        if is_managed(at) { NOT_SUPPORTED } else { real(s, at, value, flags) }
    }

    hipStreamWriteValue64 fn (s: usize, at: usize, value: u64, flags: u32) => real, per_thread {
        if is_managed(at) { NOT_SUPPORTED } else { real(s, at, value, flags) }
    }

    hipStreamWaitValue32 fn (s: usize, at: usize, value: u32, flags: u32, mask: u32) => real, per_thread {
        if is_managed(at) { NOT_SUPPORTED } else { real(s, at, value, flags, mask) }
    }

    hipStreamWaitValue64 fn (s: usize, at: usize, value: u64, flags: u32, mask: u64) => real, per_thread {
        if is_managed(at) { NOT_SUPPORTED } else { real(s, at, value, flags, mask) }
    }

    hipLaunchCooperativeKernelMultiDevice / hipExtLaunchMultiKernelMultiDevice fn (
        list: usize, count: i32, flags: u32,
    ) => real, per_thread {
        if preload::is_active() { NOT_SUPPORTED } else { real(list, count, flags) }
    }
}
