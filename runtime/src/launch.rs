//! Kernels: finding them and launching them. A launch acquires what its pointer arguments name, translates them to
//! device addresses, queues the kernel and releases. API context.

use crate::access::{self, Access, AccessMode};
use crate::addr::HostAddr;
use crate::device::host::kernels::BUILTIN;
use crate::device::{Args, Devices, NativeKernel, NativeModule, Param};
use crate::error::{Error, Result};
use crate::stream::{Stream, StreamId};
use crate::sys::signal::Blocked;
use crate::trace::{self, Name, What};
use crate::{room, span, window};
use core::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard};

/// A module: kernels that were loaded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ModuleId(pub u64);

/// A kernel of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct KernelId(pub u64);

/// How a kernel is launched (`hmm_launch_config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct LaunchConfig {
    /// `size_of::<LaunchConfig>()`.
    pub struct_size: usize,
    /// Blocks in x, y and z, each at least 1.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z, each at least 1.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// The stream.
    pub stream: StreamId,
}

impl LaunchConfig {
    /// Enough blocks of `block` threads for `n` threads in x.
    pub fn linear(n: usize, block: u32) -> LaunchConfig {
        let block = block.max(1);
        let blocks = n.div_ceil(block as usize).clamp(1, i32::MAX as usize) as u32;
        LaunchConfig { grid: [blocks, 1, 1], block: [block, 1, 1], ..LaunchConfig::default() }
    }
}

impl Default for LaunchConfig {
    fn default() -> Self {
        LaunchConfig {
            struct_size: size_of::<LaunchConfig>(),
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            stream: StreamId::DEFAULT,
        }
    }
}

/// A kernel of the host backend: called once a launch, on the stream's thread; `args[i]` points at the i-th argument,
/// at an address that is a multiple of 16.
pub type HostFunction = unsafe extern "C" fn(config: *const LaunchConfig, args: *const *mut c_void);

/// An argument of a launch (`hmm_arg`).
#[derive(Clone, Copy, Debug)]
pub enum LaunchArg {
    /// `size` bytes at `data`, copied now.
    Value {
        /// Where the value is.
        data: *const c_void,
        /// Its size in bytes.
        size: usize,
    },
    /// Managed memory: the kernel gets its device address and may touch `len` bytes from there.
    Pointer {
        /// The managed address; NULL with `len` 0 is passed on as it is.
        ptr: *const u8,
        /// How many bytes.
        len: usize,
        /// In which way.
        mode: AccessMode,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Module {
    /// The built-in one of a device.
    Builtin(usize),
    /// One that a device has loaded.
    Loaded(usize, NativeModule),
}

#[derive(Clone)]
struct Kernel {
    device: usize,
    native: NativeKernel,
    name: String,
    params: Option<Arc<[Param]>>,
}

struct Loaded {
    modules: Vec<Module>,
    kernels: Vec<Kernel>,
    /// Handles of an earlier run of the runtime are not valid in a later one.
    epoch: u64,
}

static LOADED: Mutex<Loaded> = Mutex::new(Loaded { modules: Vec::new(), kernels: Vec::new(), epoch: 1 });

/// What is loaded, with signals blocked: a handler that waits for a launch must not find this thread with what that needs.
struct LoadedGuard {
    loaded: MutexGuard<'static, Loaded>,
    _blocked: Blocked, // dropped last
}

impl core::ops::Deref for LoadedGuard {
    type Target = Loaded;
    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl core::ops::DerefMut for LoadedGuard {
    fn deref_mut(&mut self) -> &mut Loaded {
        &mut self.loaded
    }
}

fn loaded() -> LoadedGuard {
    let blocked = Blocked::new();
    LoadedGuard { loaded: LOADED.lock().unwrap_or_else(|e| e.into_inner()), _blocked: blocked }
}

fn index(epoch: u64, arg: &'static str, value: u64) -> Result<usize> {
    let bad = Error::BadHandle { arg, value };
    if value >> 32 != epoch { Err(bad) } else { (value as u32 as usize).checked_sub(1).ok_or(bad) }
}

/// Forgets all modules and kernels (shutdown).
pub(crate) fn forget() {
    let mut l = loaded();
    l.modules.clear();
    l.kernels.clear();
    l.epoch += 1;
}

fn module_id(module: Module) -> ModuleId {
    let mut l = room::for_one_more(loaded, |l| &mut l.modules);
    let at = l.modules.iter().position(|m| *m == module).unwrap_or_else(|| {
        l.modules.push(module);
        l.modules.len() - 1
    });
    ModuleId(l.epoch << 32 | (at as u64 + 1))
}

/// The module of the built-in kernels.
pub(crate) fn builtin(device: usize) -> ModuleId {
    module_id(Module::Builtin(device))
}

/// Loads device code.
///
/// # Safety
/// The image is what it says it is.
pub(crate) unsafe fn load(devices: &Devices, device: usize, image: &[u8]) -> Result<ModuleId> {
    if image.is_empty() {
        return Err(Error::InvalidArgument { arg: "image", why: "it is empty" });
    }
    // SAFETY: the caller's promise.
    let module = unsafe { devices.at(device).module_load(image) }?;
    Ok(module_id(Module::Loaded(device, module)))
}

/// The kernel `name` of a module.
pub(crate) fn get(devices: &Devices, module: ModuleId, name: &str) -> Result<KernelId> {
    let module = {
        let l = loaded();
        let at = index(l.epoch, "module", module.0)?;
        *l.modules.get(at).ok_or(Error::BadHandle { arg: "module", value: module.0 })?
    };
    let (device, native) = match module {
        Module::Builtin(device) => (device, devices.at(device).builtin(name)?),
        Module::Loaded(device, module) => (device, devices.at(device).module_function(module, name)?),
    };
    let native =
        native.ok_or(Error::InvalidArgument { arg: "name", why: "the module has no kernel of that name" })?;
    let params = match module {
        Module::Builtin(_) => BUILTIN.iter().find(|k| k.name == name).map(|k| k.params.into()),
        Module::Loaded(..) => devices.at(device).parameters(native),
    };
    Ok(add(Kernel { device, native, name: name.to_owned(), params }))
}

/// A kernel from a host function.
pub(crate) fn from_function(devices: &Devices, device: usize, function: HostFunction) -> Result<KernelId> {
    if !devices.at(device).runs_host_functions() {
        return Err(Error::Unsupported {
            what: "hmm_kernel_from_function",
            why: "a GPU runs device code: use hmm_module_load",
        });
    }
    let name = String::from("host function");
    Ok(add(Kernel { device, native: NativeKernel::Host(function), name, params: None }))
}

fn add(kernel: Kernel) -> KernelId {
    let mut kernel = Some(kernel); // a copy of what is there already is dropped without the lock
    let mut l = room::for_one_more(loaded, |l| &mut l.kernels);
    let is_it = |k: &Kernel| {
        kernel
            .as_ref()
            .is_some_and(|new| k.device == new.device && k.native.is(new.native) && k.name == new.name)
    };
    let at = l.kernels.iter().position(is_it).unwrap_or_else(|| {
        l.kernels.extend(kernel.take());
        let (number, name) = (l.kernels.len() as u32, Name::new(&l.kernels[l.kernels.len() - 1].name));
        trace::record(|| What::Kernel { kernel: number, name });
        l.kernels.len() - 1
    });
    KernelId(l.epoch << 32 | (at as u64 + 1))
}

/// A kernel by its number. Its name stays where it is.
fn find(kernel: KernelId) -> Result<Kernel> {
    let l = loaded();
    let at = index(l.epoch, "kernel", kernel.0)?;
    let k = l.kernels.get(at).ok_or(Error::BadHandle { arg: "kernel", value: kernel.0 })?;
    Ok(Kernel { name: String::new(), params: k.params.clone(), ..*k })
}

fn check_parameters(params: &[Param], args: &[LaunchArg]) -> Result<()> {
    if params.len() != args.len() {
        return Err(Error::InvalidArgument {
            arg: "count",
            why: "the kernel takes another number of arguments",
        });
    }
    for pair in params.iter().zip(args) {
        match pair {
            (Param::Pointer, LaunchArg::Pointer { .. }) => {}
            (Param::Pointer, LaunchArg::Value { size: 8, .. }) => {} // a device address made by the caller
            (Param::Value(n) | Param::Sized(n), LaunchArg::Value { size, .. }) if n == size => {}
            (Param::Sized(8), LaunchArg::Pointer { .. }) => {}
            _ => {
                return Err(Error::InvalidArgument {
                    arg: "args",
                    why: "an argument does not fit the kernel's parameter",
                });
            }
        }
    }
    Ok(())
}

/// Acquires, launches and releases.
///
/// # Safety
/// VALUE arguments point at `size` readable bytes, and the kernel fits the arguments.
pub(crate) unsafe fn launch(
    devices: &Devices,
    kernel: KernelId,
    config: &LaunchConfig,
    args: &[LaunchArg],
) -> Result<()> {
    let Kernel { device, native, params, .. } = find(kernel)?;
    if config.grid.contains(&0) || config.block.contains(&0) {
        return Err(Error::InvalidArgument { arg: "config", why: "a grid or block dimension is zero" });
    }
    let threads = config.block.iter().try_fold(1_u32, |n, &more| n.checked_mul(more));
    if threads.is_none_or(|n| n > 1024) {
        return Err(Error::InvalidArgument { arg: "config", why: "a block has more than 1,024 threads" });
    }
    let stream = Stream::find(devices, device, config.stream)?;
    if let Some(params) = params {
        check_parameters(&params, args)?;
    }
    let mut accesses = Vec::new();
    let mut pointers = Vec::with_capacity(args.len());
    for arg in args {
        pointers.push(match *arg {
            LaunchArg::Value { data, size } if data.is_null() && size > 0 => {
                return Err(Error::NullPointer { arg: "args" });
            }
            LaunchArg::Value { .. } => 0,
            LaunchArg::Pointer { len: 0, ptr, .. } if ptr.is_null() => 0,
            LaunchArg::Pointer { ptr, len, mode } => {
                let span = span::find(HostAddr::from(ptr), len.max(1), "args")?;
                if len > 0 {
                    accesses.push(Access { ptr, len, mode });
                }
                window::device_addr(devices, device, HostAddr::from(ptr), span.around)?.0
            }
        });
    }
    let bytes: Vec<[u8; 8]> = pointers.iter().map(|p| p.to_ne_bytes()).collect();
    let values: Vec<&[u8]> = args
        .iter()
        .zip(&bytes)
        .map(|(arg, pointer)| match *arg {
            // SAFETY: the caller's promise. The value is copied before anything else runs.
            LaunchArg::Value { data, size } if size > 0 => unsafe {
                core::slice::from_raw_parts(data.cast::<u8>(), size)
            },
            LaunchArg::Value { .. } => &[],
            LaunchArg::Pointer { .. } => pointer.as_slice(),
        })
        .collect();
    let values = Args::new(&values);
    let blocked = access::acquire(devices, stream, Some(kernel.0), &accesses)?;
    trace::record(|| {
        let kernel = kernel.0 as u32;
        What::Launch { device: device as u16, stream: stream.number, kernel }
    });
    let launched = devices.at(device).launch(stream.native(), native, config, values);
    let released = access::release_with(&blocked, devices, stream, true);
    launched.and(released)
}
