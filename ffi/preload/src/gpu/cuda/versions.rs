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
    (c"cuMemcpy3D", 3020, UNTIL, c"cuMemcpy3D_v2", c"cuMemcpy3D_v2_ptds"),
    (c"cuMemcpy3DAsync", 3020, UNTIL, c"cuMemcpy3DAsync_v2", c"cuMemcpy3DAsync_v2_ptsz"),
    (c"cuMemcpy3DPeer", 4000, UNTIL, c"cuMemcpy3DPeer", c"cuMemcpy3DPeer_ptds"),
    (c"cuMemcpy3DPeerAsync", 4000, UNTIL, c"cuMemcpy3DPeerAsync", c"cuMemcpy3DPeerAsync_ptsz"),
    (c"cuMemcpyHtoA", 3020, UNTIL, c"cuMemcpyHtoA_v2", c"cuMemcpyHtoA_v2_ptds"),
    (c"cuMemcpyHtoAAsync", 3020, UNTIL, c"cuMemcpyHtoAAsync_v2", c"cuMemcpyHtoAAsync_v2_ptsz"),
    (c"cuMemcpyAtoH", 3020, UNTIL, c"cuMemcpyAtoH_v2", c"cuMemcpyAtoH_v2_ptds"),
    (c"cuMemcpyAtoHAsync", 3020, UNTIL, c"cuMemcpyAtoHAsync_v2", c"cuMemcpyAtoHAsync_v2_ptsz"),
    (c"cuMemcpyDtoA", 3020, UNTIL, c"cuMemcpyDtoA_v2", c"cuMemcpyDtoA_v2_ptds"),
    (c"cuMemcpyAtoD", 3020, UNTIL, c"cuMemcpyAtoD_v2", c"cuMemcpyAtoD_v2_ptds"),
    (c"cuStreamWriteValue32", 11_070, UNTIL, c"cuStreamWriteValue32_v2", c"cuStreamWriteValue32_v2_ptsz"),
    (c"cuStreamWaitValue32", 11_070, UNTIL, c"cuStreamWaitValue32_v2", c"cuStreamWaitValue32_v2_ptsz"),
    (c"cuStreamWriteValue64", 11_070, UNTIL, c"cuStreamWriteValue64_v2", c"cuStreamWriteValue64_v2_ptsz"),
    (c"cuStreamWaitValue64", 11_070, UNTIL, c"cuStreamWaitValue64_v2", c"cuStreamWaitValue64_v2_ptsz"),
    (c"cuMemcpy3DBatchAsync", 12_080, 13_000, c"cuMemcpy3DBatchAsync", c"cuMemcpy3DBatchAsync_ptsz"),
    (c"cuMemcpy3DBatchAsync", 13_000, UNTIL, c"cuMemcpy3DBatchAsync_v2", c"cuMemcpy3DBatchAsync_v2_ptsz"),
    (
        c"cuMemcpy3DWithAttributesAsync",
        13_020,
        UNTIL,
        c"cuMemcpy3DWithAttributesAsync",
        c"cuMemcpy3DWithAttributesAsync_ptsz",
    ),
    (
        c"cuLaunchCooperativeKernelMultiDevice",
        9000,
        UNTIL,
        c"cuLaunchCooperativeKernelMultiDevice",
        c"cuLaunchCooperativeKernelMultiDevice",
    ),
    (
        c"cuMemcpyWithAttributesAsync",
        13_020,
        UNTIL,
        c"cuMemcpyWithAttributesAsync",
        c"cuMemcpyWithAttributesAsync_ptsz",
    ),
    (c"cuMemcpyBatchAsync", 12_080, 13_000, c"cuMemcpyBatchAsync", c"cuMemcpyBatchAsync_ptsz"),
    (c"cuMemcpyBatchAsync", 13_000, UNTIL, c"cuMemcpyBatchAsync_v2", c"cuMemcpyBatchAsync_v2_ptsz"),
    (c"cuMemsetD2D8", 3020, UNTIL, c"cuMemsetD2D8_v2", c"cuMemsetD2D8_v2_ptds"),
    (c"cuMemsetD2D8Async", 3020, UNTIL, c"cuMemsetD2D8Async", c"cuMemsetD2D8Async_ptsz"),
    (c"cuMemsetD2D16", 3020, UNTIL, c"cuMemsetD2D16_v2", c"cuMemsetD2D16_v2_ptds"),
    (c"cuMemsetD2D16Async", 3020, UNTIL, c"cuMemsetD2D16Async", c"cuMemsetD2D16Async_ptsz"),
    (c"cuMemsetD2D32", 3020, UNTIL, c"cuMemsetD2D32_v2", c"cuMemsetD2D32_v2_ptds"),
    (c"cuMemsetD2D32Async", 3020, UNTIL, c"cuMemsetD2D32Async", c"cuMemsetD2D32Async_ptsz"),
    (c"cuGraphAddKernelNode", 10000, 12_000, c"cuGraphAddKernelNode", c"cuGraphAddKernelNode"),
    (c"cuGraphAddKernelNode", 12_000, UNTIL, c"cuGraphAddKernelNode_v2", c"cuGraphAddKernelNode_v2"),
    (
        c"cuGraphKernelNodeSetParams",
        10000,
        12_000,
        c"cuGraphKernelNodeSetParams",
        c"cuGraphKernelNodeSetParams",
    ),
    (
        c"cuGraphKernelNodeSetParams",
        12_000,
        UNTIL,
        c"cuGraphKernelNodeSetParams_v2",
        c"cuGraphKernelNodeSetParams_v2",
    ),
    (
        c"cuGraphExecKernelNodeSetParams",
        10010,
        12_000,
        c"cuGraphExecKernelNodeSetParams",
        c"cuGraphExecKernelNodeSetParams",
    ),
    (
        c"cuGraphExecKernelNodeSetParams",
        12_000,
        UNTIL,
        c"cuGraphExecKernelNodeSetParams_v2",
        c"cuGraphExecKernelNodeSetParams_v2",
    ),
    (c"cuGraphAddMemcpyNode", 10000, UNTIL, c"cuGraphAddMemcpyNode", c"cuGraphAddMemcpyNode"),
    (
        c"cuGraphMemcpyNodeSetParams",
        10000,
        UNTIL,
        c"cuGraphMemcpyNodeSetParams",
        c"cuGraphMemcpyNodeSetParams",
    ),
    (
        c"cuGraphExecMemcpyNodeSetParams",
        10020,
        UNTIL,
        c"cuGraphExecMemcpyNodeSetParams",
        c"cuGraphExecMemcpyNodeSetParams",
    ),
    (c"cuGraphAddMemsetNode", 10000, UNTIL, c"cuGraphAddMemsetNode", c"cuGraphAddMemsetNode"),
    (
        c"cuGraphMemsetNodeSetParams",
        10000,
        UNTIL,
        c"cuGraphMemsetNodeSetParams",
        c"cuGraphMemsetNodeSetParams",
    ),
    (
        c"cuGraphExecMemsetNodeSetParams",
        10020,
        UNTIL,
        c"cuGraphExecMemsetNodeSetParams",
        c"cuGraphExecMemsetNodeSetParams",
    ),
    (c"cuGraphNodeSetParams", 12_020, UNTIL, c"cuGraphNodeSetParams", c"cuGraphNodeSetParams"),
    (c"cuGraphExecNodeSetParams", 12_020, UNTIL, c"cuGraphExecNodeSetParams", c"cuGraphExecNodeSetParams"),
    (c"cuGraphAddNode", 12_020, 12_030, c"cuGraphAddNode", c"cuGraphAddNode"),
    (c"cuGraphAddNode", 12_030, UNTIL, c"cuGraphAddNode_v2", c"cuGraphAddNode_v2"),
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
