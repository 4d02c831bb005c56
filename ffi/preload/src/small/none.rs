//! A library that was built without small objects: there are none. Any thread, any context.

use core::ffi::c_void;

/// Whether the library has them.
pub const IS_BUILT: bool = false;

/// None.
#[inline]
pub fn allocate(_size: usize, _alignment: usize, _zeroed: bool, _caller: usize) -> Option<*mut c_void> {
    None
}

/// Nothing is.
#[inline]
pub fn owns(_ptr: *const c_void) -> bool {
    false
}

/// # Safety
/// Never called: nothing is owned.
pub unsafe fn usable_size(_ptr: *const c_void) -> usize {
    0
}

/// # Safety
/// As [`usable_size`].
pub unsafe fn grow(_ptr: *mut c_void, _size: usize) -> bool {
    false
}

/// # Safety
/// As [`usable_size`].
pub unsafe fn free(_ptr: *mut c_void) {}
