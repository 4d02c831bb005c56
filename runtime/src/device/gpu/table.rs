//! The driver's functions: CUDA's and HIP's side by side, resolved once into plain function pointers with integer
//! results (an unknown error code of a newer driver must not be undefined behaviour). Where the two drivers' functions
//! have the same ABI they share a line; what only one has stands with the other's name empty. `bindings` holds these
//! declarations against other people's.
//!
//! A name carries its version (`_v2`): it is the ABI declared here, whatever newer one the driver has too.

use core::ffi::{CStr, c_char, c_void};

/// A driver's object: context, stream, event, module, function.
pub(crate) type Handle = *mut c_void;
/// A device address, `CUdeviceptr` or `hipDeviceptr_t`.
pub(crate) type Address = u64;
/// A memory handle of the virtual memory management functions.
pub(crate) type MemoryHandle = u64;

/// `CUmemLocation`, `hipMemLocation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Location {
    /// [`DEVICE`].
    pub(crate) kind: i32,
    /// The device's number.
    pub(crate) id: i32,
}

/// `CUmemAllocationProp`, `hipMemAllocationProp`: what memory to make.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct AllocationProp {
    /// [`PINNED`].
    pub(crate) kind: i32,
    /// 0: not shared with other processes.
    pub(crate) handle_types: i32,
    pub(crate) location: Location,
    pub(crate) win32: Handle,
    /// Compression, RDMA and usage: none. CUDA has 8 bytes here; HIP 4, and padding.
    pub(crate) flags: [u8; 8],
}

/// `CUmemAccessDesc`, `hipMemAccessDesc`: who may use a range.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct AccessDesc {
    pub(crate) location: Location,
    /// [`READ_WRITE`].
    pub(crate) flags: i32,
}

/// `CU_MEM_LOCATION_TYPE_DEVICE`.
pub(crate) const DEVICE: i32 = 1;
/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
pub(crate) const PINNED: i32 = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
pub(crate) const READ_WRITE: i32 = 3;
/// `CU_MEM_ALLOC_GRANULARITY_MINIMUM`.
pub(crate) const GRANULARITY_MINIMUM: i32 = 0;
/// `CU_STREAM_NON_BLOCKING`: not ordered against the default stream.
pub(crate) const STREAM_NON_BLOCKING: u32 = 1;
/// `CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING`: whoever waits sleeps.
pub(crate) const EVENT_FLAGS: u32 = 1 | 2;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
pub(crate) const CAPTURE_MODE_RELAXED: i32 = 2;
/// `CU_MEMHOSTALLOC_PORTABLE`: pinned for every context.
pub(crate) const HOST_ALLOC_PORTABLE: u32 = 1;

/// Which driver a table is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `libcuda.so.1`.
    Cuda,
    /// `libamdhip64.so`.
    Hip,
}

/// One function, if the driver has it.
#[derive(Clone, Copy)]
pub(crate) struct Call<F> {
    /// Its address.
    pub(crate) function: Option<F>,
    /// Its name, for errors.
    pub(crate) name: &'static str,
}

/// A function without which nothing works is missing: its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) &'static str);

macro_rules! table {
    ($($(#[$doc:meta])* $field:ident: fn($($arg:ty),*) = $cuda:literal, $hip:literal $(, $optional:ident)?;)*) => {
        /// All functions.
        pub(crate) struct Table { $($(#[$doc])* pub(crate) $field: Call<unsafe extern "C" fn($($arg),*) -> i32>,)* }

        impl Table {
            /// Looks every function of `kind` up; `find` answers NULL for one that is not there.
            ///
            /// # Safety
            /// What `find` returns for a name is that function, with the ABI that its name and version stand for.
            pub(crate) unsafe fn resolve(
                kind: Kind,
                find: &mut dyn FnMut(&CStr) -> *mut c_void,
            ) -> Result<Table, Missing> {
                Ok(Table { $($field: {
                    let name: &'static CStr = match kind { Kind::Cuda => $cuda, Kind::Hip => $hip };
                    let text = name.to_str().unwrap_or("?");
                    let at = if name.is_empty() { core::ptr::null_mut() } else { find(name) };
                    if at.is_null() && !name.is_empty() && !table!(@optional $($optional)?) {
                        return Err(Missing(text));
                    }
                    // SAFETY: the caller's promise; a NULL is None.
                    let function = unsafe {
                        core::mem::transmute::<*mut c_void, Option<unsafe extern "C" fn($($arg),*) -> i32>>(at)
                    };
                    Call { function, name: text }
                },)* })
            }

            /// The names of `kind`: all that are looked up, and whether they may be missing.
            #[cfg(test)]
            pub(crate) fn names(kind: Kind) -> Vec<(&'static str, bool)> {
                let all = [$((match kind { Kind::Cuda => $cuda, Kind::Hip => $hip }, table!(@optional $($optional)?)),)*];
                all.into_iter().filter(|(n, _)| !n.is_empty()).map(|(n, o)| (n.to_str().unwrap(), o)).collect()
            }
        }
    };
    (@optional) => { false };
    (@optional optional) => { true };
}

table! {
    init: fn(u32) = c"cuInit", c"hipInit";
    driver_version: fn(*mut i32) = c"cuDriverGetVersion", c"hipDriverGetVersion";
    device_count: fn(*mut i32) = c"cuDeviceGetCount", c"hipGetDeviceCount";
    device_get: fn(*mut i32, i32) = c"cuDeviceGet", c"hipDeviceGet";
    device_name: fn(*mut c_char, i32, i32) = c"cuDeviceGetName", c"hipDeviceGetName";
    device_attribute: fn(*mut i32, i32, i32) = c"cuDeviceGetAttribute", c"hipDeviceGetAttribute";
    memory_info: fn(*mut usize, *mut usize) = c"cuMemGetInfo_v2", c"hipMemGetInfo";
    /// CUDA gives the name through a pointer; HIP returns it (`hip_error_name`).
    error_name: fn(i32, *mut *const c_char) = c"cuGetErrorName", c"";

    context_retain: fn(*mut Handle, i32) = c"cuDevicePrimaryCtxRetain", c"";
    context_current: fn(*mut Handle) = c"cuCtxGetCurrent", c"";
    context_set: fn(Handle) = c"cuCtxSetCurrent", c"";
    stream_context: fn(Handle, *mut Handle) = c"cuStreamGetCtx", c"", optional;
    set_device: fn(i32) = c"", c"hipSetDevice";
    get_device: fn(*mut i32) = c"", c"hipGetDevice";

    exchange_capture_mode: fn(*mut i32)
        = c"cuThreadExchangeStreamCaptureMode", c"hipThreadExchangeStreamCaptureMode", optional;
    /// Whether a stream's work goes into a graph at this moment.
    stream_capturing: fn(Handle, *mut i32) = c"cuStreamIsCapturing", c"hipStreamIsCapturing", optional;

    memory_alloc: fn(*mut Address, usize) = c"cuMemAlloc_v2", c"hipMalloc";
    memory_free: fn(Address) = c"cuMemFree_v2", c"hipFree";
    host_alloc: fn(*mut *mut c_void, usize, u32) = c"cuMemHostAlloc", c"hipHostMalloc";
    host_free: fn(*mut c_void) = c"cuMemFreeHost", c"hipHostFree";

    granularity: fn(*mut usize, *const AllocationProp, i32)
        = c"cuMemGetAllocationGranularity", c"hipMemGetAllocationGranularity", optional;
    reserve: fn(*mut Address, usize, usize, Address, u64) = c"cuMemAddressReserve", c"hipMemAddressReserve", optional;
    unreserve: fn(Address, usize) = c"cuMemAddressFree", c"hipMemAddressFree", optional;
    create: fn(*mut MemoryHandle, usize, *const AllocationProp, u64) = c"cuMemCreate", c"hipMemCreate", optional;
    release: fn(MemoryHandle) = c"cuMemRelease", c"hipMemRelease", optional;
    map: fn(Address, usize, usize, MemoryHandle, u64) = c"cuMemMap", c"hipMemMap", optional;
    unmap: fn(Address, usize) = c"cuMemUnmap", c"hipMemUnmap", optional;
    set_access: fn(Address, usize, *const AccessDesc, usize) = c"cuMemSetAccess", c"hipMemSetAccess", optional;

    copy_in: fn(Address, *const c_void, usize, Handle) = c"cuMemcpyHtoDAsync_v2", c"hipMemcpyHtoDAsync";
    copy_out: fn(*mut c_void, Address, usize, Handle) = c"cuMemcpyDtoHAsync_v2", c"hipMemcpyDtoHAsync";
    copy_within: fn(Address, Address, usize, Handle) = c"cuMemcpyDtoDAsync_v2", c"hipMemcpyDtoDAsync";
    copy_peer_cuda: fn(Address, Handle, Address, Handle, usize, Handle) = c"cuMemcpyPeerAsync", c"";
    copy_peer_hip: fn(Address, i32, Address, i32, usize, Handle) = c"", c"hipMemcpyPeerAsync";
    set_bytes: fn(Address, u8, usize, Handle) = c"cuMemsetD8Async", c"hipMemsetD8Async";

    stream_create: fn(*mut Handle, u32) = c"cuStreamCreate", c"hipStreamCreateWithFlags";
    stream_destroy: fn(Handle) = c"cuStreamDestroy_v2", c"hipStreamDestroy";
    stream_synchronize: fn(Handle) = c"cuStreamSynchronize", c"hipStreamSynchronize";
    stream_wait: fn(Handle, Handle, u32) = c"cuStreamWaitEvent", c"hipStreamWaitEvent";
    event_create: fn(*mut Handle, u32) = c"cuEventCreate", c"hipEventCreateWithFlags";
    event_destroy: fn(Handle) = c"cuEventDestroy_v2", c"hipEventDestroy";
    event_record: fn(Handle, Handle) = c"cuEventRecord", c"hipEventRecord";
    event_query: fn(Handle) = c"cuEventQuery", c"hipEventQuery";
    event_synchronize: fn(Handle) = c"cuEventSynchronize", c"hipEventSynchronize";

    module_load: fn(*mut Handle, *const c_void) = c"cuModuleLoadData", c"hipModuleLoadData";
    module_unload: fn(Handle) = c"cuModuleUnload", c"hipModuleUnload";
    module_function: fn(*mut Handle, Handle, *const c_char) = c"cuModuleGetFunction", c"hipModuleGetFunction";
    function_set_attribute: fn(Handle, i32, i32) = c"cuFuncSetAttribute", c"";
    /// Offset and size of a parameter; since CUDA 12.4.
    parameter: fn(Handle, usize, *mut usize, *mut usize) = c"cuFuncGetParamInfo", c"", optional;
    launch: fn(Handle, u32, u32, u32, u32, u32, u32, u32, Handle, *mut *mut c_void, *mut *mut c_void)
        = c"cuLaunchKernel", c"hipModuleLaunchKernel";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver in which one function is missing. Its functions are never called.
    fn without(kind: Kind, missing: &str) -> Result<Table, Missing> {
        let mut find = |name: &CStr| match name.to_str() == Ok(missing) {
            true => core::ptr::null_mut(),
            false => core::ptr::dangling_mut(),
        };
        // SAFETY: nothing that was found is called.
        unsafe { Table::resolve(kind, &mut find) }
    }

    #[test]
    fn a_missing_function_is_named_unless_it_is_optional() {
        for kind in [Kind::Cuda, Kind::Hip] {
            for (name, optional) in Table::names(kind) {
                assert_eq!(without(kind, name).err(), (!optional).then_some(Missing(name)));
            }
        }
        let table = without(Kind::Cuda, "cuMemCreate").expect("it is optional");
        assert!(table.create.function.is_none() && table.release.function.is_some());
        assert!(table.set_device.function.is_none(), "only HIP has it");
    }
}
