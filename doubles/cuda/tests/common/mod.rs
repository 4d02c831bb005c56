//! What the tests share: the driver's functions, a device with a context, memory with bytes in it, launches.

#![allow(dead_code, reason = "each test program uses its own part")]

#[path = "../../../harness/mod.rs"]
pub mod harness;

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

#[allow(unused_imports, reason = "each test program uses its own part")]
pub use harness::{alone, child};

pub type Ptr = *mut c_void;

/// `CUmemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Prop {
    pub kind: i32,
    pub handles: i32,
    pub location: [i32; 2],
    pub rest: [u64; 2],
}

/// `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Access {
    pub location: [i32; 2],
    pub flags: i32,
}

pub const SUCCESS: i32 = 0;
pub const INVALID_VALUE: i32 = 1;
pub const OUT_OF_MEMORY: i32 = 2;
pub const NOT_INITIALIZED: i32 = 3;
pub const INVALID_DEVICE: i32 = 101;
pub const INVALID_IMAGE: i32 = 200;
pub const INVALID_CONTEXT: i32 = 201;
pub const INVALID_PTX: i32 = 218;
pub const INVALID_HANDLE: i32 = 400;
pub const NOT_FOUND: i32 = 500;
pub const NOT_READY: i32 = 600;
pub const ILLEGAL_ADDRESS: i32 = 700;
pub const DESTROYED: i32 = 709;
pub const LAUNCH_FAILED: i32 = 719;
pub const NOT_SUPPORTED: i32 = 801;
pub const BLOCK: usize = 2 << 20;
pub const NON_BLOCKING: u32 = 1;

crate::functions! { Cuda from "libhmmrt_double_cuda.so":
    hmmrt_double_arm(spec: *const c_char) -> i32;
    hmmrt_double_calls(name: *const c_char) -> u64;
    hmmrt_double_calls_total() -> u64;
    hmmrt_double_failed() -> u64;
    hmmrt_double_call_names(buffer: *mut c_char, size: usize) -> usize;
    hmmrt_double_used(device: i32) -> u64;
    cuInit(flags: u32) -> i32;
    cuDriverGetVersion(out: *mut i32) -> i32;
    cuDeviceGetCount(out: *mut i32) -> i32;
    cuDeviceGet(out: *mut i32, number: i32) -> i32;
    cuDeviceGetName(name: *mut c_char, size: i32, device: i32) -> i32;
    cuDeviceTotalMem_v2(out: *mut usize, device: i32) -> i32;
    cuDeviceGetAttribute(out: *mut i32, name: i32, device: i32) -> i32;
    cuDeviceCanAccessPeer(out: *mut i32, from: i32, to: i32) -> i32;
    cuGetErrorName(code: i32, out: *mut *const c_char) -> i32;
    cuGetErrorString(code: i32, out: *mut *const c_char) -> i32;
    cuGetProcAddress_v2(name: *const c_char, out: *mut Ptr, version: i32, flags: u64, status: *mut i32) -> i32;
    cuDevicePrimaryCtxRetain(out: *mut u64, device: i32) -> i32;
    cuDevicePrimaryCtxRelease_v2(device: i32) -> i32;
    cuDevicePrimaryCtxGetState(device: i32, flags: *mut u32, active: *mut i32) -> i32;
    cuCtxCreate_v2(out: *mut u64, flags: u32, device: i32) -> i32;
    cuCtxDestroy_v2(context: u64) -> i32;
    cuCtxPushCurrent_v2(context: u64) -> i32;
    cuCtxPopCurrent_v2(out: *mut u64) -> i32;
    cuCtxSetCurrent(context: u64) -> i32;
    cuCtxGetCurrent(out: *mut u64) -> i32;
    cuCtxGetDevice(out: *mut i32) -> i32;
    cuCtxSynchronize() -> i32;
    cuCtxEnablePeerAccess(peer: u64, flags: u32) -> i32;
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> i32;
    cuMemAlloc_v2(out: *mut u64, size: usize) -> i32;
    cuMemFree_v2(at: u64) -> i32;
    cuMemHostAlloc(out: *mut Ptr, size: usize, flags: u32) -> i32;
    cuMemFreeHost(at: Ptr) -> i32;
    cuMemHostRegister_v2(at: Ptr, size: usize, flags: u32) -> i32;
    cuMemHostUnregister(at: Ptr) -> i32;
    cuMemHostGetDevicePointer_v2(out: *mut u64, at: Ptr, flags: u32) -> i32;
    cuMemAllocManaged(out: *mut u64, size: usize, flags: u32) -> i32;
    cuMemPrefetchAsync(at: u64, size: usize, to: i32, stream: u64) -> i32;
    cuMemAdvise(at: u64, size: usize, advice: i32, to: i32) -> i32;
    cuPointerGetAttribute(out: Ptr, name: i32, at: u64) -> i32;
    cuPointerGetAttributes(n: u32, names: *const i32, out: *const Ptr, at: u64) -> i32;
    cuMemGetAllocationGranularity(out: *mut usize, prop: *const Prop, option: i32) -> i32;
    cuMemAddressReserve(out: *mut u64, size: usize, align: usize, hint: u64, flags: u64) -> i32;
    cuMemAddressFree(at: u64, size: usize) -> i32;
    cuMemCreate(out: *mut u64, size: usize, prop: *const Prop, flags: u64) -> i32;
    cuMemRelease(handle: u64) -> i32;
    cuMemMap(at: u64, size: usize, offset: usize, handle: u64, flags: u64) -> i32;
    cuMemUnmap(at: u64, size: usize) -> i32;
    cuMemSetAccess(at: u64, size: usize, access: *const Access, count: usize) -> i32;
    cuMemcpy(to: u64, from: u64, n: usize) -> i32;
    cuMemcpyAsync(to: u64, from: u64, n: usize, stream: u64) -> i32;
    cuMemcpyHtoD_v2(to: u64, from: *const c_void, n: usize) -> i32;
    cuMemcpyDtoH_v2(to: Ptr, from: u64, n: usize) -> i32;
    cuMemcpyDtoD_v2(to: u64, from: u64, n: usize) -> i32;
    cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, n: usize, stream: u64) -> i32;
    cuMemcpyDtoHAsync_v2(to: Ptr, from: u64, n: usize, stream: u64) -> i32;
    cuMemcpyDtoDAsync_v2(to: u64, from: u64, n: usize, stream: u64) -> i32;
    cuMemcpyPeerAsync(to: u64, tc: u64, from: u64, fc: u64, n: usize, stream: u64) -> i32;
    cuMemsetD8_v2(at: u64, value: u8, n: usize) -> i32;
    cuMemsetD32_v2(at: u64, value: u32, n: usize) -> i32;
    cuMemsetD8Async(at: u64, value: u8, n: usize, stream: u64) -> i32;
    cuStreamCreate(out: *mut u64, flags: u32) -> i32;
    cuStreamDestroy_v2(stream: u64) -> i32;
    cuStreamSynchronize(stream: u64) -> i32;
    cuStreamQuery(stream: u64) -> i32;
    cuStreamWaitEvent(stream: u64, event: u64, flags: u32) -> i32;
    cuStreamGetCtx(stream: u64, out: *mut u64) -> i32;
    cuLaunchHostFunc(stream: u64, function: Option<unsafe extern "C" fn(Ptr)>, data: Ptr) -> i32;
    cuEventCreate(out: *mut u64, flags: u32) -> i32;
    cuEventDestroy_v2(event: u64) -> i32;
    cuEventRecord(event: u64, stream: u64) -> i32;
    cuEventQuery(event: u64) -> i32;
    cuEventSynchronize(event: u64) -> i32;
    cuEventElapsedTime(out: *mut f32, from: u64, to: u64) -> i32;
    cuModuleLoadData(out: *mut u64, image: *const c_void) -> i32;
    cuModuleUnload(module: u64) -> i32;
    cuModuleGetFunction(out: *mut u64, module: u64, name: *const c_char) -> i32;
    cuFuncSetAttribute(function: u64, attribute: i32, value: i32) -> i32;
    cuFuncGetParamInfo(function: u64, index: usize, offset: *mut usize, size: *mut usize) -> i32;
    cuLaunchKernel(f: u64, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: u64,
        values: *mut Ptr, extra: *mut Ptr) -> i32;
}

/// The library, loaded once, with init done.
pub fn cuda() -> &'static Cuda {
    let cuda = bare();
    assert_eq!(cuda.cuInit(0), SUCCESS);
    cuda
}

/// The library as it comes.
pub fn bare() -> &'static Cuda {
    static CUDA: OnceLock<Cuda> = OnceLock::new();
    CUDA.get_or_init(Cuda::load)
}

/// Gives what a function writes through its first argument, if it succeeds.
pub fn made<T: Default>(call: impl FnOnce(*mut T) -> i32) -> Result<T, i32> {
    let mut out = T::default();
    match call(&mut out) {
        SUCCESS => Ok(out),
        code => Err(code),
    }
}

/// A device's primary context, current on this thread until dropped.
pub struct On {
    pub cuda: &'static Cuda,
    pub device: i32,
    pub context: u64,
}

pub fn on(device: i32) -> On {
    let cuda = cuda();
    let context = made(|out| cuda.cuDevicePrimaryCtxRetain(out, device)).expect("a context");
    assert_eq!(cuda.cuCtxPushCurrent_v2(context), SUCCESS);
    On { cuda, device, context }
}

impl Drop for On {
    fn drop(&mut self) {
        self.cuda.cuCtxPopCurrent_v2(ptr::null_mut());
        self.cuda.cuDevicePrimaryCtxRelease_v2(self.device);
    }
}

impl On {
    pub fn prop(&self) -> Prop {
        Prop { kind: 1, handles: 0, location: [1, self.device], rest: [0; 2] }
    }

    pub fn alloc(&self, size: usize) -> u64 {
        made(|out| self.cuda.cuMemAlloc_v2(out, size)).expect("memory")
    }

    /// Pinned host memory, which is never freed: tests are short.
    pub fn pinned(&self, bytes: &[u8]) -> *mut u8 {
        let mut out = ptr::null_mut();
        assert_eq!(self.cuda.cuMemHostAlloc(&mut out, bytes.len(), 1), SUCCESS);
        // SAFETY: new memory of that size.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast(), bytes.len()) };
        out.cast()
    }

    pub fn with<T: Copy>(&self, values: &[T]) -> u64 {
        let size = size_of_val(values);
        let at = self.alloc(size.max(1));
        assert_eq!(self.cuda.cuMemcpyHtoD_v2(at, values.as_ptr().cast(), size), SUCCESS);
        at
    }

    pub fn get<T: Copy + Default>(&self, at: u64, n: usize) -> Vec<T> {
        let mut values = vec![T::default(); n];
        assert_eq!(
            self.cuda.cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), at, size_of_val(&values[..])),
            SUCCESS
        );
        values
    }

    pub fn reserve(&self, size: usize) -> u64 {
        made(|out| self.cuda.cuMemAddressReserve(out, size, 0, 0, 0)).expect("addresses")
    }

    pub fn create(&self, size: usize) -> u64 {
        made(|out| self.cuda.cuMemCreate(out, size, &self.prop(), 0)).expect("memory")
    }

    pub fn access(&self, at: u64, size: usize, flags: i32) -> i32 {
        self.cuda.cuMemSetAccess(at, size, &Access { location: [1, self.device], flags }, 1)
    }

    /// Reserved addresses with memory of one piece a block, apart on the host, readable and writable.
    pub fn blocks(&self, blocks: usize) -> u64 {
        let at = self.reserve(blocks * BLOCK);
        for i in 0..blocks {
            let handle = self.create(BLOCK);
            assert_eq!(self.cuda.cuMemMap(at + (i * BLOCK) as u64, BLOCK, 0, handle, 0), SUCCESS);
            assert_eq!(self.cuda.cuMemRelease(handle), SUCCESS);
        }
        assert_eq!(self.access(at, blocks * BLOCK, 3), SUCCESS);
        at
    }

    /// Takes down what [`On::blocks`] made.
    pub fn unblock(&self, at: u64, blocks: usize) {
        assert_eq!(self.cuda.cuMemUnmap(at, blocks * BLOCK), SUCCESS);
        assert_eq!(self.cuda.cuMemAddressFree(at, blocks * BLOCK), SUCCESS);
    }

    pub fn stream(&self) -> u64 {
        made(|out| self.cuda.cuStreamCreate(out, NON_BLOCKING)).expect("a stream")
    }

    pub fn event(&self) -> u64 {
        made(|out| self.cuda.cuEventCreate(out, 0)).expect("an event")
    }

    pub fn function(&self, name: &str) -> u64 {
        let image =
            CString::new(format!(".version 6.0\n.target sm_50\n.visible .entry {name}() {{}}")).unwrap();
        let module = made(|out| self.cuda.cuModuleLoadData(out, image.as_ptr().cast())).expect("a module");
        let name = CString::new(name).unwrap();
        made(|out| self.cuda.cuModuleGetFunction(out, module, name.as_ptr())).expect("a function")
    }

    /// Launches with 1000 threads, and values of which only the first bytes count where a parameter is smaller.
    pub fn launch(&self, function: u64, stream: u64, values: &mut [u64]) -> i32 {
        let mut values: Vec<Ptr> = values.iter_mut().map(|value| ptr::from_mut(value).cast()).collect();
        let none = ptr::null_mut();
        self.cuda.cuLaunchKernel(function, 4, 1, 1, 250, 1, 1, 0, stream, values.as_mut_ptr(), none)
    }

    pub fn run(&self, name: &str, values: &mut [u64]) {
        assert_eq!(self.launch(self.function(name), 0, values), SUCCESS);
        assert_eq!(self.cuda.cuCtxSynchronize(), SUCCESS);
    }
}

/// A gate in a stream: what is behind it waits until it is opened. So order is tested without clocks.
pub struct Gate(Option<Sender<()>>);

/// # Safety
/// `gate` is a boxed receiver, and this is the only call with it.
unsafe extern "C" fn wait(gate: *mut c_void) {
    // SAFETY: the receiver that `gate` boxed.
    let receiver = unsafe { Box::from_raw(gate.cast::<Receiver<()>>()) };
    let _ = receiver.recv();
}

impl Gate {
    pub fn open(mut self) {
        self.0.take();
    }
}

pub fn gate(on: &On, stream: u64) -> Gate {
    let (sender, receiver) = channel();
    let receiver = Box::into_raw(Box::new(receiver));
    assert_eq!(on.cuda.cuLaunchHostFunc(stream, Some(wait), receiver.cast()), SUCCESS);
    Gate(Some(sender))
}
