//! What `cuGetProcAddress` gives out, and our functions in its place. Any thread.

use super::ENTRIES;
use crate::gpu::symbols::instead_of;
use core::ffi::{CStr, c_char};

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
pub unsafe fn answer(code: i32, name: *const c_char, out: *mut usize, version: i32, flags: u64) {
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
