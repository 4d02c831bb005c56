//! Devices, access, streams and kernels. API context.

use super::counted;
use crate::access::{self, Access};
use crate::addr::HostAddr;
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::launch::{self, HostFunction, KernelId, LaunchArg, LaunchConfig, ModuleId};
use crate::stream::{PER_THREAD, Stream, StreamId};
use crate::{runtime, span, window};
use core::ffi::c_void;

/// How many devices there are.
pub fn device_count() -> Result<usize> {
    Ok(runtime::devices_quietly("hmm_device_count")?.count())
}

/// What a device is.
pub fn device_info(device: i32) -> Result<DeviceInfo> {
    let devices = runtime::devices_quietly("hmm_device_info")?;
    Ok(devices.at(devices.index(device)?).info())
}

/// Makes ranges resident on a device and keeps them there until [`release`]'s place in the stream.
///
/// # Safety
/// The bytes of `Write` ranges are given up: the device writes all of them.
pub unsafe fn acquire(device: i32, stream: StreamId, accesses: &[Access]) -> Result<()> {
    counted((|| {
        let devices = runtime::devices("hmm_acquire")?;
        let stream = Stream::find(&devices, devices.index(device)?, stream)?;
        access::acquire(&devices, stream, None, accesses).map(drop)
    })())
}

/// The device is done with all that was acquired on the stream when the stream gets here.
pub fn release(device: i32, stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices_quietly("hmm_release")?;
        access::release(&devices, Stream::find(&devices, devices.index(device)?, stream)?, false)
    })())
}

/// The device address of a managed byte. It stays the same as long as the byte is managed.
pub fn device_ptr(ptr: *const u8, device: i32) -> Result<*mut c_void> {
    let devices = runtime::devices_quietly("hmm_device_ptr")?;
    let span = span::find(HostAddr::from(ptr), 1, "ptr")?;
    let at = window::device_addr(&devices, devices.index(device)?, HostAddr::from(ptr), span.around)?;
    Ok(core::ptr::with_exposed_provenance_mut(at.0 as usize))
}

/// Makes a stream.
pub fn stream_create(device: i32) -> Result<StreamId> {
    let devices = runtime::devices_quietly("hmm_stream_create")?;
    counted(Stream::create(&devices, devices.index(device)?))
}

/// Makes a number for a stream of the driver's own (`CUstream`, `hipStream_t`), which stays the caller's. NULL is the
/// driver's default stream. The host backend has no native streams.
///
/// # Safety
/// `native` is a live stream of the device's driver, and lives until [`stream_destroy`] of the number.
pub unsafe fn stream_from_native(device: i32, native: *mut c_void) -> Result<StreamId> {
    if native.addr() == PER_THREAD {
        let why = "each thread has another stream by this name; make one of its own";
        return Err(Error::InvalidArgument { arg: "native", why });
    }
    // SAFETY: the caller's promise.
    unsafe { super::preload::stream_of_driver(device, native) }
}

/// Waits until all that was queued on the stream is done. The default stream: of every device.
pub fn stream_synchronize(stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices_quietly("hmm_stream_synchronize")?;
        if stream != StreamId::DEFAULT {
            let s = Stream::from_id(stream)?;
            return access::synchronize(&devices, s);
        }
        let started = (0..devices.count()).filter(|d| devices.at(*d).is_started());
        started
            .into_iter()
            .try_for_each(|d| access::synchronize(&devices, Stream::find(&devices, d, stream)?))
    })())
}

/// Ends a stream after its work. A default stream can't be ended.
pub fn stream_destroy(stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices_quietly("hmm_stream_destroy")?;
        if stream == StreamId::DEFAULT {
            return Err(Error::InvalidArgument { arg: "stream", why: "a default stream can't be destroyed" });
        }
        let s = Stream::claim(stream)?;
        let released = access::release(&devices, s, false); // what was left acquired
        released.and_then(|()| access::synchronize(&devices, s)).inspect_err(|_| s.stay())?;
        s.destroy(&devices);
        Ok(())
    })())
}

/// Loads device code: PTX text, a cubin or a fat binary for CUDA; a code object, or HIP source, for HIP.
///
/// # Safety
/// The image is what it says it is; drivers trust it.
pub unsafe fn module_load(device: i32, image: &[u8]) -> Result<ModuleId> {
    let devices = runtime::devices_quietly("hmm_module_load")?;
    // SAFETY: the caller's promise.
    counted(unsafe { launch::load(&devices, devices.index(device)?, image) })
}

/// The module of the built-in kernels.
pub fn module_builtin(device: i32) -> Result<ModuleId> {
    let devices = runtime::devices_quietly("hmm_module_builtin")?;
    Ok(launch::builtin(devices.index(device)?))
}

/// A kernel by its name.
pub fn kernel_get(module: ModuleId, name: &str) -> Result<KernelId> {
    launch::get(&*runtime::devices_quietly("hmm_kernel_get")?, module, name)
}

/// A kernel made of a host function; host backend only.
///
/// # Safety
/// The function does with its arguments what each launch says, and touches nothing else of managed memory.
pub unsafe fn kernel_from_function(device: i32, function: HostFunction) -> Result<KernelId> {
    let devices = runtime::devices_quietly("hmm_kernel_from_function")?;
    launch::from_function(&devices, devices.index(device)?, function)
}

/// Acquires what the pointer arguments name, launches the kernel, and releases. Returns once it is queued.
///
/// # Safety
/// VALUE arguments point at readable bytes, and the kernel stays inside what its arguments allow.
pub unsafe fn launch(kernel: KernelId, config: &LaunchConfig, args: &[LaunchArg]) -> Result<()> {
    counted((|| {
        let devices = runtime::devices("hmm_launch")?;
        // SAFETY: the caller's promise.
        unsafe { launch::launch(&devices, kernel, config, args) }
    })())
}
