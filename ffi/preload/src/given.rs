//! Reading and writing what a call of the program's points to, as the kernel would: what can't be read is no fault, and the
//! kernel says EFAULT when it is given it. The kernel is asked first, by a system call that every filter allows (futex); the
//! stack pointer's own page, where much of it is, is there. Managed memory is touched, which brings it home. Any context.

use core::mem::MaybeUninit;
use hmmrt_core::raw::{self, preload};

const PAGE: usize = 4096;

/// Whether `len` bytes, one at least, can be read, or written.
pub fn can(at: *const u8, len: usize, write: bool) -> bool {
    let here = 0_u8;
    let page = (&raw const here).addr() / PAGE;
    let last = at.wrapping_add(len - 1);
    at.addr() / PAGE == page && last.addr() / PAGE == page
        || raw::owns(at)
        || raw::owns(last)
        || preload::is_accessible(at, len, write)
}

/// Reads so many values from `at`; whether they can be read.
pub fn fill<T: Copy>(at: *const T, to: &mut [MaybeUninit<T>]) -> bool {
    let len = size_of_val(to);
    if len == 0 || !can(at.cast(), len, false) {
        return len == 0;
    }
    // SAFETY: memory of the program's, of which it says that there are so many values.
    unsafe { fill_from(at, to) };
    true
}

/// As [`fill`], of what can be read. It may change meanwhile, and has any alignment: bytes.
///
/// # Safety
/// The values can be read.
pub unsafe fn fill_from<T: Copy>(at: *const T, to: &mut [MaybeUninit<T>]) {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::copy(at.cast::<u8>(), to.as_mut_ptr().cast(), size_of_val(to)) };
}

/// The value at `at`, if it can be read. `T` is valid for any bytes.
pub fn read<T: Copy>(at: *const T) -> Option<T> {
    let mut value = [MaybeUninit::<T>::uninit()];
    // SAFETY: written; plain numbers and addresses of the kernel's interface are valid for any bytes.
    fill(at, &mut value).then(|| unsafe { value[0].assume_init() })
}

/// Writes a value; whether that could be done.
pub fn write<T: Copy>(to: *mut T, value: T) -> bool {
    if !can(to.cast_const().cast(), size_of::<T>(), true) {
        return false;
    }
    // SAFETY: as in `fill`.
    unsafe { to.write_unaligned(value) };
    true
}
