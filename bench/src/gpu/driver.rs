//! The driver's own functions, for the peers: what a program without libhmmrt would call. A small table of its own, CUDA's
//! and HIP's names side by side, opened from the same library as the runtime's and in the same (primary) context. A
//! function that is missing makes the peers that need it "no peer". Main thread only.

use crate::Outcome;
use hmmrt::Config;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

/// A driver's object.
pub type Handle = *mut c_void;
/// A device address.
pub type Address = u64;

/// Which driver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Cuda,
    Hip,
}

/// One function, if the driver has it.
#[derive(Clone, Copy)]
pub struct Call<F> {
    pub function: Option<F>,
    pub name: &'static str,
}

macro_rules! table {
    ($($field:ident: fn($($arg:ty),*) = $cuda:literal, $hip:literal;)*) => {
        /// All functions.
        pub struct Table { $(pub $field: Call<unsafe extern "C" fn($($arg),*) -> i32>,)* }

        impl Table {
            fn find(kind: Kind, library: &Library) -> Self {
                Self { $($field: {
                    let name = match kind { Kind::Cuda => $cuda, Kind::Hip => $hip };
                    // SAFETY: the driver's name for it, whose version stands for this signature.
                    let found = unsafe { library.get::<unsafe extern "C" fn($($arg),*) -> i32>(name.as_bytes()) };
                    Call { function: found.ok().map(|symbol| *symbol), name }
                },)* }
            }
        }
    };
}

table! {
    init: fn(u32) = "cuInit", "hipInit";
    version: fn(*mut i32) = "cuDriverGetVersion", "hipDriverGetVersion";
    error_name: fn(i32, *mut *const c_char) = "cuGetErrorName", "";
    device_get: fn(*mut i32, i32) = "cuDeviceGet", "hipDeviceGet";
    context_retain: fn(*mut Handle, i32) = "cuDevicePrimaryCtxRetain", "";
    context_set: fn(Handle) = "cuCtxSetCurrent", "";
    set_device: fn(i32) = "", "hipSetDevice";
    memory_info: fn(*mut usize, *mut usize) = "cuMemGetInfo_v2", "hipMemGetInfo";
    alloc: fn(*mut Address, usize) = "cuMemAlloc_v2", "hipMalloc";
    free: fn(Address) = "cuMemFree_v2", "hipFree";
    host_alloc: fn(*mut *mut c_void, usize, u32) = "cuMemHostAlloc", "hipHostMalloc";
    host_free: fn(*mut c_void) = "cuMemFreeHost", "hipHostFree";
    host_register: fn(*mut c_void, usize, u32) = "cuMemHostRegister_v2", "hipHostRegister";
    host_unregister: fn(*mut c_void) = "cuMemHostUnregister", "hipHostUnregister";
    managed_alloc: fn(*mut Address, usize, u32) = "cuMemAllocManaged", "hipMallocManaged";
    prefetch: fn(Address, usize, i32, Handle) = "cuMemPrefetchAsync", "hipMemPrefetchAsync";
    copy_in: fn(Address, *const c_void, usize, Handle) = "cuMemcpyHtoDAsync_v2", "hipMemcpyHtoDAsync";
    copy_out: fn(*mut c_void, Address, usize, Handle) = "cuMemcpyDtoHAsync_v2", "hipMemcpyDtoHAsync";
    stream_create: fn(*mut Handle, u32) = "cuStreamCreate", "hipStreamCreateWithFlags";
    stream_synchronize: fn(Handle) = "cuStreamSynchronize", "hipStreamSynchronize";
    event_create: fn(*mut Handle, u32) = "cuEventCreate", "hipEventCreateWithFlags";
    event_record: fn(Handle, Handle) = "cuEventRecord", "hipEventRecord";
    event_synchronize: fn(Handle) = "cuEventSynchronize", "hipEventSynchronize";
    event_elapsed: fn(*mut f32, Handle, Handle) = "cuEventElapsedTime", "hipEventElapsedTime";
    module_load: fn(*mut Handle, *const c_void) = "cuModuleLoadData", "hipModuleLoadData";
    module_function: fn(*mut Handle, Handle, *const c_char) = "cuModuleGetFunction", "hipModuleGetFunction";
    launch: fn(Handle, u32, u32, u32, u32, u32, u32, u32, Handle, *mut *mut c_void, *mut *mut c_void)
        = "cuLaunchKernel", "hipModuleLaunchKernel";
}

/// Calls a function of the table; unsafe as the function is. What it answers becomes a `Result`.
macro_rules! call {
    ($driver:expr, $function:ident($($arg:expr),* $(,)?)) => {{
        let call = $driver.table.$function;
        match call.function {
            Some(function) => $driver.check(call.name, function($($arg),*)),
            None => Err(format!("the driver lacks {}", call.name).into()),
        }
    }};
}
pub(crate) use call;

/// The driver, with its primary context current on this thread, and a stream for all peers.
pub struct Driver {
    pub kind: Kind,
    pub table: Table,
    pub stream: Handle,
    pub library: Library,
}

/// `CU_STREAM_NON_BLOCKING`, and HIP's.
const NON_BLOCKING: u32 = 1;

impl Driver {
    /// Opens the library that the runtime has opened, or would open. Never closed: drivers do not like it.
    pub fn open(kind: Kind, config: &Config, device: i32) -> Outcome<&'static Self> {
        let (given, names): (&str, &[&str]) = match kind {
            Kind::Cuda => (&config.cuda_library, &["libcuda.so.1"]),
            Kind::Hip => (
                &config.hip_library,
                &["libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"],
            ),
        };
        let names = if given.is_empty() { names } else { &[given][..] };
        // SAFETY: the runtime has loaded it already.
        let open = |name: &&str| unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.ok();
        let library =
            names.iter().find_map(open).ok_or_else(|| format!("can't load {}", names.join(", ")))?;
        let table = Table::find(kind, &library);
        let mut driver = Self { kind, table, stream: null_mut(), library };
        let (mut number, mut context) = (0, null_mut());
        // SAFETY: initialises as the driver's manual says; all that is written to are variables of the right types.
        unsafe {
            call!(driver, init(0))?;
            match kind {
                Kind::Cuda => {
                    call!(driver, device_get(&mut number, device))?;
                    call!(driver, context_retain(&mut context, number))?;
                    call!(driver, context_set(context))?;
                }
                Kind::Hip => call!(driver, set_device(device))?,
            }
            let mut stream = null_mut();
            call!(driver, stream_create(&mut stream, NON_BLOCKING))?;
            driver.stream = stream;
        }
        Ok(Box::leak(Box::new(driver)))
    }

    /// The driver's version, as it gives it.
    pub fn version(&self) -> Outcome<i32> {
        let mut version = 0;
        // SAFETY: writes an int.
        unsafe { call!(self, version(&mut version)) }?;
        Ok(version)
    }

    /// Free bytes of the device's memory.
    pub fn memory_free(&self) -> Outcome<usize> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two sizes.
        unsafe { call!(self, memory_info(&mut free, &mut total)) }?;
        Ok(free)
    }

    /// A result as an error that has the driver's name for it, where the driver gives names in that way.
    pub fn check(&self, call: &str, code: i32) -> Outcome {
        if code == 0 {
            return Ok(());
        }
        let mut name: *const c_char = std::ptr::null();
        if let Some(error_name) = self.table.error_name.function {
            // SAFETY: writes the address of a static text, or NULL.
            unsafe { error_name(code, &mut name) };
        }
        if name.is_null() {
            return Err(format!("{call}: {code}").into());
        }
        // SAFETY: just written: a C string that stays.
        Err(format!("{call}: {code} {}", unsafe { CStr::from_ptr(name) }.to_string_lossy()).into())
    }

    /// Waits for all that the peers have queued.
    pub fn synchronize(&self) -> Outcome {
        // SAFETY: our stream.
        unsafe { call!(self, stream_synchronize(self.stream)) }
    }
}
