//! Holds our table of driver functions against other people's declarations of them: cust's and cudarc's of CUDA, hip-sys's
//! of HIP, each when its feature is on. What is compared is what a call depends on: how many parameters, for each and for
//! the result its size, alignment and class, what pointers point to, the structs' layouts, and the numbers. Tests only.

use super::table::*;
use core::ffi::c_void;

/// How a value is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// An integer, or an enum of C.
    Integer,
    /// A pointer to something of this size and alignment; at most 1: bytes, or something opaque.
    Pointer { size: usize, align: usize },
}

/// A parameter's or a result's type.
#[derive(Clone, Copy, Debug)]
struct Passed {
    class: Class,
    size: usize,
    align: usize,
}

trait Type {
    const CLASS: Class;
}

impl<T> Type for *mut T {
    const CLASS: Class = Class::Pointer { size: size_of::<T>(), align: align_of::<T>() };
}
impl<T> Type for *const T {
    const CLASS: Class = <*mut T>::CLASS;
}

/// Types that are passed as integers. Another one that turns up in a declaration is a compile error: decide upon it here.
macro_rules! integers {
    ($($type:ty),* $(,)?) => { $(impl Type for $type { const CLASS: Class = Class::Integer; })* };
}
integers!(u8, i32, u32, u64, usize);

fn passed<T: Type>() -> Passed {
    Passed { class: T::CLASS, size: size_of::<T>(), align: align_of::<T>() }
}

impl Passed {
    /// Whether a callee that is declared with `theirs` finds what a caller that has `self` passes.
    fn fits(self, theirs: Passed) -> bool {
        let same = (self.size, self.align) == (theirs.size, theirs.align);
        same && match (self.class, theirs.class) {
            (Class::Integer, Class::Integer) => true,
            // Our device addresses and memory handles are numbers; HIP's are pointers, which travel alike.
            (Class::Integer, Class::Pointer { .. }) => self.size == 8,
            (Class::Pointer { .. }, Class::Integer) => false,
            (Class::Pointer { size, align }, Class::Pointer { size: their_size, align: their_align }) => {
                size <= 1 && their_size <= 1 || (size, align) == (their_size, their_align)
            }
        }
    }
}

/// A function's type, as far as a call depends on it.
struct Signature {
    parameters: Vec<Passed>,
    result: Passed,
}

trait Function {
    fn signature() -> Signature;
}

macro_rules! functions {
    ($($letter:ident)*) => {
        impl<R: Type $(, $letter: Type)*> Function for unsafe extern "C" fn($($letter),*) -> R {
            fn signature() -> Signature {
                Signature { parameters: vec![$(passed::<$letter>()),*], result: passed::<R>() }
            }
        }
        // cudarc's are functions of Rust that find the driver's by the same name and pass everything on.
        impl<R: Type $(, $letter: Type)*> Function for unsafe fn($($letter),*) -> R {
            fn signature() -> Signature {
                <unsafe extern "C" fn($($letter),*) -> R>::signature()
            }
        }
    };
}
functions!();
functions!(A);
functions!(A B);
functions!(A B C);
functions!(A B C D);
functions!(A B C D E);
functions!(A B C D E F);
functions!(A B C D E F G);
functions!(A B C D E F G H);
functions!(A B C D E F G H I);
functions!(A B C D E F G H I J);
functions!(A B C D E F G H I J K);

fn ours<F: Function>(_: &Call<F>) -> Signature {
    F::signature()
}

fn theirs<F: Function>(_: F) -> Signature {
    F::signature()
}

/// What differs, in words; nothing if they agree.
fn differences(name: &str, ours: &Signature, theirs: &Signature) -> Vec<String> {
    let (count, their_count) = (ours.parameters.len(), theirs.parameters.len());
    if count != their_count {
        return vec![format!("{name}: {count} parameters, theirs {their_count}")];
    }
    let mut found = Vec::new();
    for (number, (a, b)) in ours.parameters.iter().zip(&theirs.parameters).enumerate() {
        if !a.fits(*b) {
            found.push(format!("{name}, parameter {number}: {a:?}, theirs {b:?}"));
        }
    }
    if !ours.result.fits(theirs.result) {
        found.push(format!("{name}, result: {:?}, theirs {:?}", ours.result, theirs.result));
    }
    found
}

/// A table whose functions are never called.
fn table(kind: Kind) -> Table {
    let mut find = |_: &core::ffi::CStr| core::ptr::NonNull::<c_void>::dangling().as_ptr();
    // SAFETY: not true, and not relied on: only names and types are looked at.
    unsafe { Table::resolve(kind, &mut find) }.expect("every name is found")
}

/// The type of a function with so many parameters.
#[cfg(any(feature = "cust", feature = "cudarc", feature = "hip-sys"))]
macro_rules! function_type {
    (C, $($any:tt),*) => { unsafe extern "C" fn($($any),*) -> _ };
    (Rust, $($any:tt),*) => { unsafe fn($($any),*) -> _ };
}

/// Compares lines of the table with declarations, and sees that all lines are there: those in `$undeclared` have none.
#[cfg(any(feature = "cust", feature = "cudarc", feature = "hip-sys"))]
macro_rules! compare {
    ($kind:expr, $crate_name:ident, [$($undeclared:literal),*], $abi:ident;
     $($field:ident: $function:ident($($any:tt),*);)*) => {{
        let table = table($kind);
        let mut found = Vec::new();
        let mut seen = vec![$($undeclared.to_owned()),*];
        $({
            let name = table.$field.name;
            if name != stringify!($function) {
                found.push(format!("{}: the table looks up {name}", stringify!($function)));
            }
            seen.push(name.to_owned());
            let declared: function_type!($abi, $($any),*) = $crate_name::$function;
            found.extend(differences(name, &ours(&table.$field), &theirs(declared)));
        })*
        for (name, _) in Table::names($kind) {
            if !seen.iter().any(|s| s == name) {
                found.push(format!("{name}: is compared with nothing; put it into the list"));
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
    }};
}

/// Size, alignment and the fields' places of a struct.
#[cfg(any(feature = "cust", feature = "cudarc", feature = "hip-sys"))]
macro_rules! same_layout {
    ($ours:ty { $($field:ident),* }, $theirs:ty { $($their_field:ident),* }) => {
        assert_eq!(
            (size_of::<$ours>(), align_of::<$ours>(), vec![$(core::mem::offset_of!($ours, $field)),*]),
            (size_of::<$theirs>(), align_of::<$theirs>(), vec![$(core::mem::offset_of!($theirs, $their_field)),*]),
            stringify!($theirs),
        );
    };
}

/// CUDA's functions with their numbers of parameters, for cust and cudarc.
#[cfg(any(feature = "cust", feature = "cudarc"))]
macro_rules! compare_cuda {
    ($crate_name:ident, [$($undeclared:literal),*], $abi:ident, $($more:tt)*) => {
        compare! {
            Kind::Cuda, $crate_name, [$($undeclared),*], $abi;
            init: cuInit(_);
            driver_version: cuDriverGetVersion(_);
            device_count: cuDeviceGetCount(_);
            device_get: cuDeviceGet(_, _);
            device_name: cuDeviceGetName(_, _, _);
            device_attribute: cuDeviceGetAttribute(_, _, _);
            memory_info: cuMemGetInfo_v2(_, _);
            error_name: cuGetErrorName(_, _);
            context_retain: cuDevicePrimaryCtxRetain(_, _);
            context_set: cuCtxSetCurrent(_);
            context_current: cuCtxGetCurrent(_);
            stream_context: cuStreamGetCtx(_, _);
            exchange_capture_mode: cuThreadExchangeStreamCaptureMode(_);
            stream_capturing: cuStreamIsCapturing(_, _);
            memory_alloc: cuMemAlloc_v2(_, _);
            memory_free: cuMemFree_v2(_);
            host_alloc: cuMemHostAlloc(_, _, _);
            host_free: cuMemFreeHost(_);
            granularity: cuMemGetAllocationGranularity(_, _, _);
            reserve: cuMemAddressReserve(_, _, _, _, _);
            unreserve: cuMemAddressFree(_, _);
            create: cuMemCreate(_, _, _, _);
            release: cuMemRelease(_);
            map: cuMemMap(_, _, _, _, _);
            unmap: cuMemUnmap(_, _);
            set_access: cuMemSetAccess(_, _, _, _);
            copy_in: cuMemcpyHtoDAsync_v2(_, _, _, _);
            copy_out: cuMemcpyDtoHAsync_v2(_, _, _, _);
            copy_within: cuMemcpyDtoDAsync_v2(_, _, _, _);
            copy_peer_cuda: cuMemcpyPeerAsync(_, _, _, _, _, _);
            set_bytes: cuMemsetD8Async(_, _, _, _);
            stream_create: cuStreamCreate(_, _);
            stream_destroy: cuStreamDestroy_v2(_);
            stream_synchronize: cuStreamSynchronize(_);
            stream_wait: cuStreamWaitEvent(_, _, _);
            event_create: cuEventCreate(_, _);
            event_destroy: cuEventDestroy_v2(_);
            event_record: cuEventRecord(_, _);
            event_query: cuEventQuery(_);
            event_synchronize: cuEventSynchronize(_);
            module_load: cuModuleLoadData(_, _);
            module_unload: cuModuleUnload(_);
            module_function: cuModuleGetFunction(_, _, _);
            function_set_attribute: cuFuncSetAttribute(_, _, _);
            launch: cuLaunchKernel(_, _, _, _, _, _, _, _, _, _, _);
            $($more)*
        }
    };
}

/// CUDA's structs and numbers, for cust and cudarc.
#[cfg(any(feature = "cust", feature = "cudarc"))]
macro_rules! compare_cuda_types {
    ($crate_name:ident, $location:ident) => {{
        use $crate_name::*;
        same_layout!(Location { kind, id }, CUmemLocation_st { type_, $location });
        same_layout!(
            AllocationProp { kind, handle_types, location, win32, flags },
            CUmemAllocationProp_st { type_, requestedHandleTypes, location, win32HandleMetaData, allocFlags }
        );
        same_layout!(AccessDesc { location, flags }, CUmemAccessDesc_st { location, flags });
        assert_eq!(DEVICE, CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE as i32);
        assert_eq!(PINNED, CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED as i32);
        assert_eq!(READ_WRITE, CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE as i32);
        let minimum = CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
        assert_eq!(GRANULARITY_MINIMUM, minimum as i32);
        assert_eq!(STREAM_NON_BLOCKING, CUstream_flags::CU_STREAM_NON_BLOCKING as u32);
        let (sleep, no_time) =
            (CUevent_flags::CU_EVENT_BLOCKING_SYNC, CUevent_flags::CU_EVENT_DISABLE_TIMING);
        assert_eq!(EVENT_FLAGS, sleep as u32 | no_time as u32);
        assert_eq!(HOST_ALLOC_PORTABLE, CU_MEMHOSTALLOC_PORTABLE);
        assert_eq!(
            crate::device::cuda::VIRTUAL_MEMORY_MANAGEMENT,
            CUdevice_attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED as i32
        );
        // What `context` takes these for.
        assert_eq!(2, CUresult::CUDA_ERROR_OUT_OF_MEMORY as i32);
        assert_eq!(600, CUresult::CUDA_ERROR_NOT_READY as i32);
        let shared = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        assert_eq!(8, shared as i32);
    }};
}

#[cfg(feature = "cust")]
mod against_cust {
    use super::*;
    use cust::sys as cuda;

    integers!(
        cuda::CUresult,
        cuda::CUdevice_attribute,
        cuda::CUfunction_attribute,
        cuda::CUmemAllocationGranularity_flags,
    );

    #[test]
    fn functions() {
        // Younger than cust's CUDA 11.
        compare_cuda!(cuda, ["cuFuncGetParamInfo"], C,);
    }

    #[test]
    fn types() {
        compare_cuda_types!(cuda, id);
    }
}

#[cfg(feature = "cudarc")]
mod against_cudarc {
    use super::*;
    use cudarc::driver::sys as cuda;

    integers!(
        cuda::CUresult,
        cuda::CUdevice_attribute,
        cuda::CUfunction_attribute,
        cuda::CUmemAllocationGranularity_flags,
    );

    #[test]
    fn functions() {
        compare_cuda!(cuda, [], Rust, parameter: cuFuncGetParamInfo(_, _, _, _););
    }

    #[test]
    fn types() {
        // The version that is used where the program has not chosen one: `id` is in a union since CUDA 13.2.
        compare_cuda_types!(cuda, __bindgen_anon_1);
    }
}

#[cfg(feature = "hip-sys")]
mod against_hip_sys {
    use super::*;
    use hip_sys::hiprt as hip;

    integers!(hip::hipError_t, hip::hipDeviceAttribute_t, hip::hipMemAllocationGranularity_flags);

    #[test]
    fn functions() {
        compare! {
            Kind::Hip, hip, [], C;
            init: hipInit(_);
            driver_version: hipDriverGetVersion(_);
            device_count: hipGetDeviceCount(_);
            device_get: hipDeviceGet(_, _);
            device_name: hipDeviceGetName(_, _, _);
            device_attribute: hipDeviceGetAttribute(_, _, _);
            memory_info: hipMemGetInfo(_, _);
            exchange_capture_mode: hipThreadExchangeStreamCaptureMode(_);
            stream_capturing: hipStreamIsCapturing(_, _);
            set_device: hipSetDevice(_);
            get_device: hipGetDevice(_);
            memory_alloc: hipMalloc(_, _);
            memory_free: hipFree(_);
            host_alloc: hipHostMalloc(_, _, _);
            host_free: hipHostFree(_);
            granularity: hipMemGetAllocationGranularity(_, _, _);
            reserve: hipMemAddressReserve(_, _, _, _, _);
            unreserve: hipMemAddressFree(_, _);
            create: hipMemCreate(_, _, _, _);
            release: hipMemRelease(_);
            map: hipMemMap(_, _, _, _, _);
            unmap: hipMemUnmap(_, _);
            set_access: hipMemSetAccess(_, _, _, _);
            copy_in: hipMemcpyHtoDAsync(_, _, _, _);
            copy_out: hipMemcpyDtoHAsync(_, _, _, _);
            copy_within: hipMemcpyDtoDAsync(_, _, _, _);
            copy_peer_hip: hipMemcpyPeerAsync(_, _, _, _, _, _);
            set_bytes: hipMemsetD8Async(_, _, _, _);
            stream_create: hipStreamCreateWithFlags(_, _);
            stream_destroy: hipStreamDestroy(_);
            stream_synchronize: hipStreamSynchronize(_);
            stream_wait: hipStreamWaitEvent(_, _, _);
            event_create: hipEventCreateWithFlags(_, _);
            event_destroy: hipEventDestroy(_);
            event_record: hipEventRecord(_, _);
            event_query: hipEventQuery(_);
            event_synchronize: hipEventSynchronize(_);
            module_load: hipModuleLoadData(_, _);
            module_unload: hipModuleUnload(_);
            module_function: hipModuleGetFunction(_, _, _);
            launch: hipModuleLaunchKernel(_, _, _, _, _, _, _, _, _, _, _);
        }
    }

    /// Looked up by `driver`, not by the table.
    #[test]
    fn error_name() {
        let ours = <unsafe extern "C" fn(i32) -> *const core::ffi::c_char>::signature();
        let declared: unsafe extern "C" fn(_) -> _ = hip::hipGetErrorName;
        assert_eq!(differences("hipGetErrorName", &ours, &theirs(declared)), [""; 0]);
    }

    #[test]
    fn types() {
        use hip::*;
        same_layout!(Location { kind, id }, hipMemLocation { type_, id });
        same_layout!(
            AllocationProp { kind, handle_types, location, win32, flags },
            hipMemAllocationProp { type_, requestedHandleType, location, win32HandleMetaData, allocFlags }
        );
        same_layout!(AccessDesc { location, flags }, hipMemAccessDesc { location, flags });
        assert_eq!(DEVICE, hipMemLocationType::hipMemLocationTypeDevice as i32);
        assert_eq!(PINNED, hipMemAllocationType::hipMemAllocationTypePinned as i32);
        assert_eq!(READ_WRITE, hipMemAccessFlags::hipMemAccessFlagsProtReadWrite as i32);
        let minimum = hipMemAllocationGranularity_flags::hipMemAllocationGranularityMinimum;
        assert_eq!(GRANULARITY_MINIMUM, minimum as i32);
        assert_eq!(STREAM_NON_BLOCKING, hipStreamNonBlocking);
        assert_eq!(EVENT_FLAGS, hipEventBlockingSync | hipEventDisableTiming);
        assert_eq!(HOST_ALLOC_PORTABLE, hipHostMallocPortable);
        let mapped = hipDeviceAttribute_t::hipDeviceAttributeVirtualMemoryManagementSupported;
        assert_eq!(crate::device::hip::VIRTUAL_MEMORY_MANAGEMENT, mapped as i32);
        let pageable = hipDeviceAttribute_t::hipDeviceAttributePageableMemoryAccess;
        assert_eq!(crate::device::hip::PAGEABLE_MEMORY_ACCESS, pageable as i32);
        // What `context` takes these for.
        assert_eq!(2, hipError_t::hipErrorOutOfMemory as i32);
        assert_eq!(600, hipError_t::hipErrorNotReady as i32);
    }
}

/// A name on the other driver's side of the table would be looked up in vain.
#[test]
fn names_are_the_drivers_own() {
    for (kind, prefix) in [(Kind::Cuda, "cu"), (Kind::Hip, "hip")] {
        let names = Table::names(kind);
        assert!(names.iter().all(|(name, _)| name.starts_with(prefix)), "{names:?}");
        let mut unique: Vec<_> = names.iter().map(|(name, _)| name).collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "{names:?}");
    }
}

/// The comparison itself.
#[test]
fn what_differs_is_seen() {
    type Ours = unsafe extern "C" fn(*mut i32, u64, *const AllocationProp) -> i32;
    let differ = |theirs: Signature| differences("f", &Ours::signature(), &theirs).len();
    assert_eq!(differ(<unsafe extern "C" fn(*mut u32, u64, *const AllocationProp) -> i32>::signature()), 0);
    assert_eq!(differ(<unsafe fn(*const i32, *mut c_void, *mut AllocationProp) -> u32>::signature()), 0);
    for wrong in [
        <unsafe extern "C" fn(*mut i32, u64) -> i32>::signature(),
        <unsafe extern "C" fn(*mut i32, u64, *const AllocationProp, u32) -> i32>::signature(),
        <unsafe extern "C" fn(*mut usize, u64, *const AllocationProp) -> i32>::signature(),
        <unsafe extern "C" fn(*mut i32, u32, *const AllocationProp) -> i32>::signature(),
        <unsafe extern "C" fn(u64, u64, *const AllocationProp) -> i32>::signature(),
        <unsafe extern "C" fn(*mut i32, u64, *const AccessDesc) -> i32>::signature(),
        <unsafe extern "C" fn(*mut i32, u64, *const AllocationProp) -> u64>::signature(),
    ] {
        assert_eq!(differ(wrong), 1);
    }
    assert_eq!(ours(&table(Kind::Cuda).launch).parameters.len(), 11);
    assert_eq!(theirs(Handle::cast::<u8> as unsafe fn(Handle) -> *mut u8).parameters.len(), 1);
}
