//! CUDA's driver as the rest of the folder asks it: the device that is current, waiting, copying, and the sizes of
//! kernels' parameters. Any thread.

use crate::gpu::symbols::plain;
use crate::gpu::{Driver, INVALID_VALUE, Place, UNKNOWN};
use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::*};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Its names.
pub const LIBRARIES: &[&CStr] = &[c"libcuda.so.1", c"libcuda.so"];
/// `CUDA_ERROR_INVALID_CONTEXT`.
const INVALID_CONTEXT: i32 = 201;

/// CUDA.
pub static DRIVER: Driver = Driver {
    backend: "cuda",
    place,
    wait: |stream| {
        // SAFETY: a stream of the program's.
        unsafe { plain!(LIBRARIES, c"cuStreamSynchronize", fn(usize), (stream)) }.unwrap_or(UNKNOWN)
    },
    wait_all: || {
        // SAFETY: no preconditions.
        unsafe { plain!(LIBRARIES, c"cuCtxSynchronize", fn(), ()) }.unwrap_or(UNKNOWN)
    },
    is_recording: |stream| {
        let mut state = 0;
        // SAFETY: writes an int.
        let code =
            unsafe { plain!(LIBRARIES, c"cuStreamIsCapturing", fn(usize, *mut i32), (stream, &mut state)) };
        code == Some(0) && state != 0
    },
    copy: |to, from, n, stream| {
        // SAFETY: the program's pointers, and a buffer with room for `n` bytes.
        unsafe { plain!(LIBRARIES, c"cuMemcpyAsync", fn(usize, usize, usize, usize), (to, from, n, stream)) }
            .unwrap_or(UNKNOWN)
    },
    pinned,
    ready: AtomicU8::new(0),
};

/// The primary context of each device, once the program has launched in a context of that device.
static PRIMARY: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

/// The primary context of a device, NULL if it can not be had.
pub fn primary(device: i32) -> usize {
    let Some(known) = usize::try_from(device).ok().and_then(|d| PRIMARY.get(d)) else { return 0 };
    if known.load(Relaxed) == 0 {
        let mut context = 0;
        // SAFETY: writes a handle. It is kept, as the runtime keeps it.
        unsafe {
            plain!(LIBRARIES, c"cuDevicePrimaryCtxRetain", fn(*mut usize, i32), (&mut context, device))
        };
        known.store(context, Relaxed);
    }
    known.load(Relaxed)
}

fn place() -> Result<Place, i32> {
    let (mut context, mut device) = (0, 0);
    // SAFETY: both write what they are given the address of.
    let (code, asked) = unsafe {
        (
            plain!(LIBRARIES, c"cuCtxGetCurrent", fn(*mut usize), (&mut context)).unwrap_or(UNKNOWN),
            plain!(LIBRARIES, c"cuCtxGetDevice", fn(*mut i32), (&mut device)).unwrap_or(UNKNOWN),
        )
    };
    match (code, asked) {
        (0, 0) if context != 0 => Ok(Place { device, shared: context == primary(device) }),
        (0, 0) => Err(INVALID_CONTEXT),
        (0, code) | (code, _) => Err(code),
    }
}

/// Made in the primary context, which nobody ends.
fn pinned(bytes: usize) -> Option<*mut u8> {
    const PORTABLE: u32 = 1;
    let context = primary(place().ok()?.device);
    let mut at = null_mut();
    // SAFETY: they write what they are given the address of; what was current is so again.
    unsafe {
        if plain!(LIBRARIES, c"cuCtxPushCurrent_v2", fn(usize), (context)) != Some(0) {
            return None;
        }
        let mut before = 0;
        let code =
            plain!(LIBRARIES, c"cuMemHostAlloc", fn(*mut *mut u8, usize, u32), (&mut at, bytes, PORTABLE));
        plain!(LIBRARIES, c"cuCtxPopCurrent_v2", fn(*mut usize), (&mut before));
        (code == Some(0)).then_some(at)
    }
}

/// The sizes of each function's parameters that was launched.
static SIZES: Mutex<Option<HashMap<usize, Arc<[usize]>>>> = Mutex::new(None);

fn known() -> MutexGuard<'static, Option<HashMap<usize, Arc<[usize]>>>> {
    SIZES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a function says of parameter after parameter; the first code, if it says nothing.
fn list(ask: impl Fn(usize, &mut usize, &mut usize) -> Option<i32>) -> Result<Vec<usize>, Option<i32>> {
    let mut sizes = Vec::new();
    let (mut offset, mut size) = (0, 0);
    loop {
        match ask(sizes.len(), &mut offset, &mut size) {
            Some(0) => sizes.push(size),
            Some(INVALID_VALUE) => return Ok(sizes),
            code if sizes.is_empty() => return Err(code),
            _ => return Ok(sizes),
        }
    }
}

/// The sizes of a function's or a library kernel's parameters, if the driver can say.
pub fn sizes(function: usize) -> Option<Arc<[usize]>> {
    if let Some(known) = known().as_ref().and_then(|all| all.get(&function)) {
        return Some(known.clone());
    }
    type Room = *mut usize;
    // SAFETY: they write what they are given the address of, and check what they are asked of.
    let of_function = list(|i, offset, size| unsafe {
        plain!(LIBRARIES, c"cuFuncGetParamInfo", fn(usize, usize, Room, Room), (function, i, offset, size))
    });
    let sizes = match of_function {
        Ok(sizes) if !sizes.is_empty() => sizes,
        other => {
            // SAFETY: as above. A kernel of a library may be launched like a function.
            let of_kernel = list(|i, offset, size| unsafe {
                plain!(
                    LIBRARIES,
                    c"cuKernelGetParamInfo",
                    fn(usize, usize, Room, Room),
                    (function, i, offset, size)
                )
            });
            of_kernel.or(other).ok()?
        }
    };
    let sizes: Arc<[usize]> = sizes.into();
    known().get_or_insert_with(HashMap::new).insert(function, sizes.clone());
    Some(sizes)
}

/// Functions are gone, and their handles may come again.
pub fn forget_sizes() {
    *known() = None;
}
