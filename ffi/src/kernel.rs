//! Modules, kernels and launches. Called from ordinary threads; a launch may wait for other threads' moves.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::{mem, ptr};

use hmmrt_core::{HostFunction, KernelId, LaunchArg, LaunchConfig, ModuleId, raw};

use crate::array;
use crate::guard::{self, Failure};
use crate::sized;
use crate::status::hmm_status;
use crate::stream;
use crate::types::{self, hmm_arg, hmm_host_function, hmm_kernel, hmm_launch_config, hmm_module};

/// Loads device code. CUDA: PTX text, a cubin or a fat binary; HIP: a code object, or source text, which is compiled for the
/// device. What is wrong with source is in the log (HMMRT_LOG=error). The host backend runs functions of the program
/// instead (hmm_kernel_from_function). A module is unloaded by hmm_shutdown.
///
/// # Safety
/// `image` points at `size` bytes of device code, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_module_load(
    device: c_int,
    image: *const c_void,
    size: usize,
    out: *mut hmm_module,
) -> hmm_status {
    guard::status("hmm_module_load", || {
        if image.is_null() {
            return Err(Failure::Null("image"));
        }
        if size == 0 {
            return Err(Failure::Invalid { argument: "size", why: "is 0" });
        }
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        // SAFETY: the caller promises `size` bytes.
        let bytes = unsafe { array::collect("image", image.cast::<u8>(), size, |_, byte| Ok(byte)) }?;
        // SAFETY: the caller promises that it is device code.
        let module = unsafe { raw::module_load(device, &bytes) }?;
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { out.write(ptr::without_provenance_mut(module.0 as usize)) };
        Ok(())
    })
}

/// The library's own kernels (hmm_fill, hmm_copy, hmm_saxpy, hmm_sum, hmm_histogram, hmm_stencil, hmm_list_walk and
/// hmm_checksum; their parameters are in kernels/), which every backend has.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_module_builtin(device: c_int, out: *mut hmm_module) -> hmm_status {
    guard::status("hmm_module_builtin", || {
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        let module = raw::module_builtin(device)?;
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { out.write(ptr::without_provenance_mut(module.0 as usize)) };
        Ok(())
    })
}

/// Finds a kernel of a module.
///
/// # Safety
/// `name` is a C string, `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_kernel_get(
    module: hmm_module,
    name: *const c_char,
    out: *mut hmm_kernel,
) -> hmm_status {
    guard::status("hmm_kernel_get", || {
        if module.is_null() {
            return Err(Failure::Null("module"));
        }
        if name.is_null() {
            return Err(Failure::Null("name"));
        }
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        // SAFETY: not NULL, and the caller promises a C string; it is copied at once.
        let name = unsafe { CStr::from_ptr(name) }.to_owned();
        let name = name.to_str().map_err(|_| Failure::Invalid { argument: "name", why: "is not UTF-8" })?;
        let kernel = raw::kernel_get(ModuleId(module.addr() as u64), name)?;
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { out.write(ptr::without_provenance_mut(kernel.0 as usize)) };
        Ok(())
    })
}

/// Makes a kernel of a function of the program. Host backend only: HMM_ERR_UNSUPPORTED elsewhere.
///
/// # Safety
/// `function` does what its launches say that it does, and stays loaded; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_kernel_from_function(
    device: c_int,
    function: hmm_host_function,
    out: *mut hmm_kernel,
) -> hmm_status {
    guard::status("hmm_kernel_from_function", || {
        let Some(function) = function else {
            return Err(Failure::Null("function"));
        };
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        type Theirs = unsafe extern "C" fn(*const hmm_launch_config, *const *mut c_void);
        // SAFETY: the same function type but for the name of the struct pointed at, whose layout is the same (types.rs).
        let function = unsafe { mem::transmute::<Theirs, HostFunction>(function) };
        // SAFETY: the caller's promise is the runtime's.
        let kernel = unsafe { raw::kernel_from_function(device, function) }?;
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { out.write(ptr::without_provenance_mut(kernel.0 as usize)) };
        Ok(())
    })
}

/// Acquires what the pointer arguments say, launches the kernel on config->stream, and releases. Returns once it is queued;
/// CPU touches of what the kernel writes wait by themselves. Nothing is launched unless all of it could be acquired; what was
/// to be only written may then be undefined.
///
/// # Safety
/// `config` points at config->struct_size readable bytes, `args` at `count` elements that fit the kernel's parameters, and
/// the kernel touches no more than they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_launch(
    kernel: hmm_kernel,
    config: *const hmm_launch_config,
    args: *const hmm_arg,
    count: usize,
) -> hmm_status {
    guard::status("hmm_launch", || {
        if kernel.is_null() {
            return Err(Failure::Null("kernel"));
        }
        // SAFETY: the caller promises that `config` is what it says.
        let config = unsafe { sized::read("config", config) }?;
        // SAFETY: the caller promises `count` elements.
        let args = unsafe { array::collect("args", args, count, argument) }?;
        let config = LaunchConfig {
            struct_size: size_of::<LaunchConfig>(),
            grid: config.grid,
            block: config.block,
            shared_bytes: config.shared_bytes,
            stream: stream::id(config.stream),
        };
        // SAFETY: the caller's promise is the runtime's.
        unsafe { raw::launch(KernelId(kernel.addr() as u64), &config, &args) }
            .map_err(Failure::within("args"))
    })
}

/// No driver takes as much: larger is a number that went wrong.
const MOST_VALUE: usize = 64 << 10;

/// One argument, checked as far as it can be without the kernel.
fn argument(index: usize, arg: hmm_arg) -> Result<LaunchArg, Failure> {
    let element = |failure: Failure| failure.element("args", index);
    match types::int(arg.kind) {
        0 if arg.data.is_null() => Err(element(Failure::Null("data"))),
        0 if arg.size == 0 => Err(element(Failure::Invalid { argument: "size", why: "is 0" })),
        0 if arg.size > MOST_VALUE => {
            Err(element(Failure::Invalid { argument: "size", why: "is more than 64 KiB" }))
        }
        0 => Ok(LaunchArg::Value { data: arg.data, size: arg.size }),
        1 if arg.data.is_null() && arg.size != 0 => Err(element(Failure::Null("data"))),
        1 => {
            let mode = types::access_mode("mode", arg.mode).map_err(element)?;
            Ok(LaunchArg::Pointer { ptr: arg.data.cast(), len: arg.size, mode })
        }
        value => Err(element(Failure::Enum { argument: "kind", value, name: "hmm_arg_kind" })),
    }
}
