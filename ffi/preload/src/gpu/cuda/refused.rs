//! CUDA's functions that are refused with managed memory: a driver would take the address for memory of the device's,
//! where older bytes may be. Any thread.

use super::driver::LIBRARIES;
use crate::gpu::copies::NOT_SUPPORTED;
use crate::gpu::is_managed;
use crate::gpu::symbols::wraps;
use hmmrt_core::raw::preload;

/// `CUDA_MEMCPY3D_BATCH_OP` by words: each side is its kind, and an address or an array and a place in it.
type Operation = [usize; 14];
const ADDRESSES: [usize; 2] = [1, 6];

/// Whether any of them has a managed side.
///
/// # Safety
/// NULL, or so many.
unsafe fn any_managed(all: *const Operation, count: usize) -> bool {
    // SAFETY: the caller's promise.
    !all.is_null()
        && (0..count).any(|i| unsafe { ADDRESSES.iter().any(|word| is_managed((*all.add(i))[*word])) })
}

wraps! {
    cuMemcpy3DBatchAsync / cuMemcpy3DBatchAsync_ptsz fn (
        count: usize, all: *const Operation, failed: *mut usize, flags: u64, s: usize,
    ) => real, per_thread {
        if any_managed(all, count) { NOT_SUPPORTED } else { real(count, all, failed, flags, s) }
    }

    cuMemcpy3DBatchAsync_v2 / cuMemcpy3DBatchAsync_v2_ptsz fn (
        count: usize, all: *const Operation, flags: u64, s: usize,
    ) => real, per_thread {
        if any_managed(all, count) { NOT_SUPPORTED } else { real(count, all, flags, s) }
    }

    cuMemcpy3DWithAttributesAsync / cuMemcpy3DWithAttributesAsync_ptsz fn (
        one: *const Operation, flags: u64, s: usize,
    ) => real, per_thread {
        if any_managed(one, 1) { NOT_SUPPORTED } else { real(one, flags, s) }
    }

    cuMemcpyDtoA_v2 / cuMemcpyDtoA_v2_ptds fn (to: usize, at: usize, from: usize, n: usize) => real, per_thread {
        if is_managed(from) { NOT_SUPPORTED } else { real(to, at, from, n) }
    }

    cuMemcpyAtoD_v2 / cuMemcpyAtoD_v2_ptds fn (to: usize, from: usize, at: usize, n: usize) => real, per_thread {
        if is_managed(to) { NOT_SUPPORTED } else { real(to, from, at, n) }
    }

    cuStreamWriteValue32_v2 / cuStreamWriteValue32_v2_ptsz / cuStreamWaitValue32_v2 / cuStreamWaitValue32_v2_ptsz fn (
        s: usize, at: usize, value: u32, flags: u32,
    ) => real, per_thread {
        if is_managed(at) { NOT_SUPPORTED } else { real(s, at, value, flags) }
    }

    cuStreamWriteValue64_v2 / cuStreamWriteValue64_v2_ptsz / cuStreamWaitValue64_v2 / cuStreamWaitValue64_v2_ptsz fn (
        s: usize, at: usize, value: u64, flags: u32,
    ) => real, per_thread {
        if is_managed(at) { NOT_SUPPORTED } else { real(s, at, value, flags) }
    }

    cuLaunchCooperativeKernelMultiDevice fn (list: usize, count: u32, flags: u32) => real, per_thread {
        // What each of them needs is not looked at.
        if preload::is_active() { NOT_SUPPORTED } else { real(list, count, flags) }
    }
}
