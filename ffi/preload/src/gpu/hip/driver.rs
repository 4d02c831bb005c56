//! HIP's runtime as the rest of the folder asks it: the device that is current, waiting, copying. Any thread.

use crate::gpu::symbols::plain;
use crate::gpu::{Driver, Place, UNKNOWN};
use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::AtomicU8;

/// Its names.
pub const LIBRARIES: &[&CStr] =
    &[c"libamdhip64.so.7", c"libamdhip64.so.6", c"libamdhip64.so.5", c"libamdhip64.so"];
/// `hipMemcpyDefault`: whatever the pointers are.
pub const ANY: i32 = 4;

/// HIP.
pub static DRIVER: Driver = Driver {
    backend: "hip",
    place: || {
        let mut device = 0;
        // SAFETY: writes an int.
        match unsafe { plain!(LIBRARIES, c"hipGetDevice", fn(*mut i32), (&mut device)) } {
            Some(0) => Ok(Place { device, shared: true }),
            code => Err(code.unwrap_or(UNKNOWN)),
        }
    },
    wait: |stream| {
        // SAFETY: a stream of the program's.
        unsafe { plain!(LIBRARIES, c"hipStreamSynchronize", fn(usize), (stream)) }.unwrap_or(UNKNOWN)
    },
    wait_all: || {
        // SAFETY: no preconditions.
        unsafe { plain!(LIBRARIES, c"hipDeviceSynchronize", fn(), ()) }.unwrap_or(UNKNOWN)
    },
    is_recording: |stream| {
        let mut state = 0;
        // SAFETY: writes an int.
        let code =
            unsafe { plain!(LIBRARIES, c"hipStreamIsCapturing", fn(usize, *mut i32), (stream, &mut state)) };
        code == Some(0) && state != 0
    },
    copy: |to, from, n, stream| {
        // SAFETY: the program's pointers, and a buffer with room for `n` bytes.
        unsafe {
            plain!(
                LIBRARIES,
                c"hipMemcpyAsync",
                fn(usize, usize, usize, i32, usize),
                (to, from, n, ANY, stream)
            )
        }
        .unwrap_or(UNKNOWN)
    },
    pinned: |bytes| {
        const PORTABLE: u32 = 1;
        let mut at = null_mut();
        // SAFETY: writes an address.
        let code = unsafe {
            plain!(LIBRARIES, c"hipHostMalloc", fn(*mut *mut u8, usize, u32), (&mut at, bytes, PORTABLE))
        };
        (code == Some(0)).then_some(at)
    },
    ready: AtomicU8::new(0),
};
