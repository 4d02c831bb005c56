//! What the tests share: the driver's functions, the compiler's, and a few short ways to call them.

#![allow(dead_code, reason = "each test program uses its own part")]

#[path = "../../../harness/mod.rs"]
pub mod harness;

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::OnceLock;

#[allow(unused_imports, reason = "each test program uses its own part")]
pub use harness::{alone, child};

pub type Ptr = *mut c_void;

/// `hipMemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Prop {
    pub kind: i32,
    pub handles: i32,
    pub location: [i32; 2],
    pub win32: Ptr,
    pub flags: u32,
}

/// `hipMemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Access {
    pub location: [i32; 2],
    pub flags: i32,
}

pub const SUCCESS: i32 = 0;
pub const INVALID_VALUE: i32 = 1;
pub const NOT_READY: i32 = 600;
pub const ILLEGAL_ADDRESS: i32 = 700;
pub const LAUNCH_FAILURE: i32 = 719;
pub const BLOCK: usize = 2 << 20;

crate::functions! { Hip from "libhmmrt_double_hip.so":
    hmmrt_double_arm(spec: *const c_char) -> i32;
    hmmrt_double_calls(name: *const c_char) -> u64;
    hmmrt_double_used(device: i32) -> u64;
    hipInit(flags: u32) -> i32;
    hipDriverGetVersion(out: *mut i32) -> i32;
    hipRuntimeGetVersion(out: *mut i32) -> i32;
    hipGetDeviceCount(out: *mut i32) -> i32;
    hipDeviceGet(out: *mut i32, number: i32) -> i32;
    hipDeviceGetName(name: *mut c_char, size: i32, device: i32) -> i32;
    hipDeviceTotalMem(out: *mut usize, device: i32) -> i32;
    hipDeviceGetAttribute(out: *mut i32, name: i32, device: i32) -> i32;
    hipDeviceCanAccessPeer(out: *mut i32, from: i32, to: i32) -> i32;
    hipSetDevice(device: i32) -> i32;
    hipGetDevice(out: *mut i32) -> i32;
    hipDeviceSynchronize() -> i32;
    hipGetErrorName(code: i32) -> *const c_char;
    hipGetErrorString(code: i32) -> *const c_char;
    hipGetLastError() -> i32;
    hipPeekAtLastError() -> i32;
    hipMemGetInfo(free: *mut usize, total: *mut usize) -> i32;
    hipMalloc(out: *mut u64, size: usize) -> i32;
    hipFree(at: u64) -> i32;
    hipHostMalloc(out: *mut Ptr, size: usize, flags: u32) -> i32;
    hipHostFree(at: Ptr) -> i32;
    hipHostRegister(at: Ptr, size: usize, flags: u32) -> i32;
    hipHostUnregister(at: Ptr) -> i32;
    hipMallocManaged(out: *mut u64, size: usize, flags: u32) -> i32;
    hipMemPrefetchAsync(at: u64, size: usize, to: i32, stream: u64) -> i32;
    hipMemAdvise(at: u64, size: usize, advice: i32, to: i32) -> i32;
    hipMemGetAllocationGranularity(out: *mut usize, prop: *const Prop, option: i32) -> i32;
    hipMemAddressReserve(out: *mut u64, size: usize, align: usize, hint: u64, flags: u64) -> i32;
    hipMemAddressFree(at: u64, size: usize) -> i32;
    hipMemCreate(out: *mut u64, size: usize, prop: *const Prop, flags: u64) -> i32;
    hipMemRelease(handle: u64) -> i32;
    hipMemMap(at: u64, size: usize, offset: usize, handle: u64, flags: u64) -> i32;
    hipMemUnmap(at: u64, size: usize) -> i32;
    hipMemSetAccess(at: u64, size: usize, access: *const Access, count: usize) -> i32;
    hipMemcpy(to: u64, from: u64, n: usize, kind: i32) -> i32;
    hipMemcpyAsync(to: u64, from: u64, n: usize, kind: i32, stream: u64) -> i32;
    hipMemcpyHtoDAsync(to: u64, from: *const c_void, n: usize, stream: u64) -> i32;
    hipMemcpyDtoHAsync(to: Ptr, from: u64, n: usize, stream: u64) -> i32;
    hipMemcpyDtoDAsync(to: u64, from: u64, n: usize, stream: u64) -> i32;
    hipMemcpyPeerAsync(to: u64, td: i32, from: u64, fd: i32, n: usize, stream: u64) -> i32;
    hipMemsetD8Async(at: u64, value: u8, n: usize, stream: u64) -> i32;
    hipStreamCreate(out: *mut u64) -> i32;
    hipStreamCreateWithFlags(out: *mut u64, flags: u32) -> i32;
    hipStreamDestroy(stream: u64) -> i32;
    hipStreamSynchronize(stream: u64) -> i32;
    hipStreamQuery(stream: u64) -> i32;
    hipStreamWaitEvent(stream: u64, event: u64, flags: u32) -> i32;
    hipEventCreateWithFlags(out: *mut u64, flags: u32) -> i32;
    hipEventDestroy(event: u64) -> i32;
    hipEventRecord(event: u64, stream: u64) -> i32;
    hipEventQuery(event: u64) -> i32;
    hipEventSynchronize(event: u64) -> i32;
    hipModuleLoadData(out: *mut u64, image: *const c_void) -> i32;
    hipModuleUnload(module: u64) -> i32;
    hipModuleGetFunction(out: *mut u64, module: u64, name: *const c_char) -> i32;
    hipModuleLaunchKernel(f: u64, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: u64,
        values: *mut Ptr, extra: *mut Ptr) -> i32;
    hipPointerGetAttributes(out: *mut [u64; 4], at: *const c_void) -> i32;
    hiprtcCreateProgram(out: *mut u64, source: *const c_char, name: *const c_char, n: i32,
        headers: *const *const c_char, names: *const *const c_char) -> i32;
    hiprtcCompileProgram(program: u64, n: i32, options: *const *const c_char) -> i32;
    hiprtcGetCodeSize(program: u64, out: *mut usize) -> i32;
    hiprtcGetCode(program: u64, out: *mut c_char) -> i32;
    hiprtcGetProgramLogSize(program: u64, out: *mut usize) -> i32;
    hiprtcGetProgramLog(program: u64, out: *mut c_char) -> i32;
    hiprtcDestroyProgram(program: *mut u64) -> i32;
    hiprtcGetErrorString(code: i32) -> *const c_char;
}

/// The library, loaded once.
pub fn hip() -> &'static Hip {
    static HIP: OnceLock<Hip> = OnceLock::new();
    HIP.get_or_init(Hip::load)
}

/// Gives what a function writes through its first argument, if it succeeds.
pub fn made<T: Default>(call: impl FnOnce(*mut T) -> i32) -> Result<T, i32> {
    let mut out = T::default();
    match call(&mut out) {
        SUCCESS => Ok(out),
        code => Err(code),
    }
}

/// A text that the library gave.
pub fn text(at: *const c_char) -> &'static str {
    // SAFETY: texts of the library are constants.
    unsafe { CStr::from_ptr(at) }.to_str().unwrap()
}

/// Compiles a source: its code, or the error and the log.
pub fn compile(source: &str) -> Result<Vec<u8>, (i32, String)> {
    let (h, source) = (hip(), CString::new(source).unwrap());
    let none = ptr::null();
    let create =
        |out: *mut u64| h.hiprtcCreateProgram(out, source.as_ptr(), c"test.hip".as_ptr(), 0, none, none);
    let mut program = made(create).expect("a program");
    let option = c"--offload-arch=gfx90a".as_ptr();
    let code = h.hiprtcCompileProgram(program, 1, &option);
    let mut size = 0;
    let result = if code == SUCCESS {
        assert_eq!(h.hiprtcGetCodeSize(program, &mut size), SUCCESS);
        let mut bytes = vec![0u8; size];
        assert_eq!(h.hiprtcGetCode(program, bytes.as_mut_ptr().cast()), SUCCESS);
        Ok(bytes)
    } else {
        assert_eq!(h.hiprtcGetProgramLogSize(program, &mut size), SUCCESS);
        let mut bytes = vec![0u8; size];
        assert_eq!(h.hiprtcGetProgramLog(program, bytes.as_mut_ptr().cast()), SUCCESS);
        Err((code, CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned()))
    };
    assert_eq!(h.hiprtcDestroyProgram(&mut program), SUCCESS);
    result
}

/// A kernel by name.
pub fn function(name: &str) -> u64 {
    let code = compile(&format!("extern \"C\" __global__ void {name}() {{}}")).expect("code");
    let module = made(|out| hip().hipModuleLoadData(out, code.as_ptr().cast())).expect("a module");
    let name = CString::new(name).unwrap();
    made(|out| hip().hipModuleGetFunction(out, module, name.as_ptr())).expect("a function")
}

/// Launches with values of which only the first bytes count where a parameter is smaller.
pub fn launch(function: u64, stream: u64, values: &mut [u64]) -> i32 {
    let mut values: Vec<Ptr> = values.iter_mut().map(|value| ptr::from_mut(value).cast()).collect();
    hip().hipModuleLaunchKernel(function, 4, 1, 1, 250, 1, 1, 0, stream, values.as_mut_ptr(), ptr::null_mut())
}
