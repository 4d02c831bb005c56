//! The tests' own functions `hmmrt_double_*`, the same in each front-end: arm failures, read counters.

use std::ffi::{CStr, c_char};

use crate::{device, inject};

/// Reads a text of the test.
///
/// # Safety
/// `text` is NULL or ends with a NUL.
unsafe fn read<'a>(text: *const c_char) -> Option<&'a str> {
    // SAFETY: not NULL, and the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().ok()).flatten()
}

/// Replaces the failures, starts counters at 0, revives lost devices. 0: done, 1: not understood.
///
/// # Safety
/// `spec` is NULL (nothing fails) or a text.
pub unsafe fn arm(spec: *const c_char) -> i32 {
    // SAFETY: the caller's promise.
    let text = if spec.is_null() { Some("") } else { unsafe { read(spec) } };
    if !text.is_some_and(inject::arm) {
        return 1;
    }
    device::all().iter().for_each(device::Device::revive);
    0
}

/// How often a function was called since [`arm`], or `pageable`: copies from and to pageable memory.
///
/// # Safety
/// `name` is NULL or a text.
pub unsafe fn calls(name: *const c_char) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { read(name) }.map_or(0, inject::calls)
}

/// Calls of all functions since [`arm`].
pub fn calls_total() -> u64 {
    inject::total()
}

/// Calls since [`arm`] that one of its failures was for.
pub fn failed() -> u64 {
    inject::failed()
}

/// Bytes of a device in use; 0 for one that is not there.
pub fn used(device: i32) -> u64 {
    device::get(device).map_or(0, device::Device::used)
}

/// Writes the functions called since [`arm`], a line each: name, blank, number. Gives the length of all, as snprintf does.
///
/// # Safety
/// `buffer` has room for `size` bytes, or `size` is 0.
pub unsafe fn call_names(buffer: *mut c_char, size: usize) -> usize {
    let text = inject::list();
    if size != 0 && !buffer.is_null() {
        let n = text.len().min(size - 1);
        // SAFETY: n + 1 bytes fit, by the caller's promise.
        unsafe {
            core::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), n);
            buffer.add(n).write(0);
        }
    }
    text.len()
}

/// Exports them from a front-end.
#[macro_export]
macro_rules! controls {
    () => {
        /// See [`hmmrt_double_core::control::arm`].
        ///
        /// # Safety
        /// As there.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn hmmrt_double_arm(spec: *const core::ffi::c_char) -> i32 {
            // SAFETY: the caller's promise.
            unsafe { $crate::control::arm(spec) }
        }

        /// See [`hmmrt_double_core::control::calls`].
        ///
        /// # Safety
        /// As there.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn hmmrt_double_calls(name: *const core::ffi::c_char) -> u64 {
            // SAFETY: the caller's promise.
            unsafe { $crate::control::calls(name) }
        }

        /// See [`hmmrt_double_core::control::call_names`].
        ///
        /// # Safety
        /// As there.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn hmmrt_double_call_names(
            buffer: *mut core::ffi::c_char,
            size: usize,
        ) -> usize {
            // SAFETY: the caller's promise.
            unsafe { $crate::control::call_names(buffer, size) }
        }

        /// See [`hmmrt_double_core::control::calls_total`].
        #[unsafe(no_mangle)]
        pub extern "C" fn hmmrt_double_calls_total() -> u64 {
            $crate::control::calls_total()
        }

        /// See [`hmmrt_double_core::control::failed`].
        #[unsafe(no_mangle)]
        pub extern "C" fn hmmrt_double_failed() -> u64 {
            $crate::control::failed()
        }

        /// See [`hmmrt_double_core::control::used`].
        #[unsafe(no_mangle)]
        pub extern "C" fn hmmrt_double_used(device: i32) -> u64 {
            $crate::control::used(device)
        }
    };
}
