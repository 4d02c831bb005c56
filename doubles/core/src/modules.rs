//! Modules, their functions and launches, by handle. Shared by the front-ends.

use core::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::call::Frame;
use crate::device::Device;
use crate::handles::Handles;
use crate::image::{self, Module};
use crate::launch::{self, Function, SHARED, SHARED_MOST, Shape, Values};
use crate::{Error, Result, streams};

static MODULES: Handles<Module> = Handles::new();
static FUNCTIONS: Handles<Function> = Handles::new();

/// Loads an image into the current context.
///
/// # Safety
/// As [`image::load`].
pub unsafe fn load(frame: &Frame, image: *const c_void) -> Result<u64> {
    let device = frame.device()?.number;
    // SAFETY: the caller's promise.
    let kernels = unsafe { image::load(image) }?;
    Ok(MODULES.add(Arc::new(Module { kernels, device })))
}

/// Unloads a module, and its functions with it.
pub fn unload(module: u64) -> Result {
    MODULES.remove(module)?;
    FUNCTIONS.remove_all(|function| function.module == module);
    Ok(())
}

/// A function of a module.
pub fn function(module: u64, name: &str) -> Result<u64> {
    let of = MODULES.get(module)?;
    let (kernel, device) = (of.kernel(name)?, of.device);
    Ok(FUNCTIONS.add(Arc::new(Function { kernel, module, device, shared: AtomicU32::new(SHARED) })))
}

/// Offset and size of a function's parameter; INVALID_VALUE behind the last.
pub fn param(function: u64, index: usize) -> Result<(usize, usize)> {
    FUNCTIONS.get(function)?.kernel.param(index).ok_or(Error::INVALID_VALUE)
}

/// Sets how much dynamic shared memory a launch may ask for.
pub fn allow_shared(function: u64, bytes: i32) -> Result {
    let function = FUNCTIONS.get(function)?;
    let bytes = u32::try_from(bytes).ok().filter(|n| *n <= SHARED_MOST).ok_or(Error::INVALID_VALUE)?;
    function.shared.store(bytes.max(SHARED), Relaxed);
    Ok(())
}

/// Whether that is a function.
pub fn is_function(function: u64) -> Result {
    FUNCTIONS.get(function).map(drop)
}

/// Launches a function.
///
/// # Safety
/// The values are there as the kernel's parameters say.
pub unsafe fn launch(frame: &Frame, function: u64, shape: Shape, stream: u64, values: Values) -> Result {
    let (function, stream) = (FUNCTIONS.get(function)?, streams::stream(frame, stream)?);
    // SAFETY: the caller's promise.
    unsafe { launch::launch(frame, &function, shape, &stream, values) }
}

/// The last context of a device is gone.
pub fn forget(device: &Device) {
    MODULES.remove_all(|module| module.device == device.number);
    FUNCTIONS.remove_all(|function| function.device == device.number);
    streams::forget(device);
}
