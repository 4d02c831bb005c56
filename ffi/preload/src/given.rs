//! Reading and writing what a call of the program's points to, as the kernel would: what can't be read is no fault, and the
//! kernel says EFAULT when it is given it. By process_vm_readv(2) of this process; what lies beside the stack pointer, where
//! most of it is, directly. Managed memory is touched, which brings it home. Any context.

use crate::names;
use core::mem::MaybeUninit;
use hmmrt_core::raw;

/// So far above the stack pointer is the stack of callers.
const NEAR: usize = 16 << 10;

fn is_near(at: usize) -> bool {
    let here = 0_u8;
    at.wrapping_sub((&raw const here).addr()) < NEAR
}

/// Copies `len` bytes between memory of ours and the program's; whether that could be done.
fn copy(number: core::ffi::c_long, ours: usize, theirs: usize, len: usize) -> Result<(), bool> {
    let part = |at: usize| libc::iovec { iov_base: core::ptr::with_exposed_provenance_mut(at), iov_len: len };
    let (local, remote) = (part(ours), part(theirs));
    let [local, remote] = [&local, &remote].map(|part| core::ptr::from_ref(part).expose_provenance());
    // SAFETY: the kernel looks at the far side itself; ours has so many bytes.
    let done = unsafe { names::bare(number, [names::process() as usize, local, 1, remote, 1, 0]) };
    match done {
        n if n == len as isize => Ok(()),
        // Part of it, or nothing.
        n if n >= 0 || n == -(libc::EFAULT as isize) => Err(false),
        _ => Err(true), // it may not be asked here
    }
}

/// Whether the program's memory has to be touched: it is managed, or there is no other way.
fn must_touch(at: usize, len: usize, refused: bool) -> bool {
    let ptr = core::ptr::with_exposed_provenance::<u8>;
    refused || raw::owns(ptr(at)) || raw::owns(ptr(at.wrapping_add(len - 1)))
}

/// Reads so many values from `at`; whether they can be read.
pub fn fill<T: Copy>(at: *const T, to: &mut [MaybeUninit<T>]) -> bool {
    let (from, len) = (at.expose_provenance(), size_of_val(to));
    if len == 0 {
        return true;
    }
    if !is_near(from) {
        let ours = to.as_mut_ptr().expose_provenance();
        match copy(libc::SYS_process_vm_readv, ours, from, len) {
            Ok(()) => return true,
            Err(refused) if !must_touch(from, len, refused) => return false,
            Err(_) => {}
        }
    }
    // SAFETY: memory of the program's, of which it says that there are so many values. It may change meanwhile, and has any
    // alignment: bytes.
    unsafe { core::ptr::copy(at.cast::<u8>(), to.as_mut_ptr().cast(), len) };
    true
}

/// The value at `at`, if it can be read. `T` is valid for any bytes.
pub fn read<T: Copy>(at: *const T) -> Option<T> {
    let mut value = [MaybeUninit::<T>::uninit()];
    // SAFETY: written; plain numbers and addresses of the kernel's interface are valid for any bytes.
    fill(at, &mut value).then(|| unsafe { value[0].assume_init() })
}

/// Writes a value; whether that could be done.
pub fn write<T: Copy>(to: *mut T, value: T) -> bool {
    let (at, len) = (to.expose_provenance(), size_of::<T>());
    if !is_near(at) {
        match copy(libc::SYS_process_vm_writev, (&raw const value).expose_provenance(), at, len) {
            Ok(()) => return true,
            Err(refused) if !must_touch(at, len, refused) => return false,
            Err(_) => {}
        }
    }
    // SAFETY: as in `fill`.
    unsafe { to.write_unaligned(value) };
    true
}
