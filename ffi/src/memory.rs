//! The allocator's functions, with the C library's conventions for NULL, zero sizes and errno, and adopting the caller's
//! own memory. Called from ordinary threads, not from signal handlers.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use errno::{Errno, errno, set_errno};
use hmmrt_core::raw;

use crate::guard::{self, Failure};
use crate::status::hmm_status;
use crate::types::{self, hmm_protection};

/// Linux's numbers, the same on every architecture that the runtime knows.
const ENOMEM: Errno = Errno(12);
const EINVAL: Errno = Errno(22);

/// Answers like malloc: NULL and errno on failure.
fn allocate(function: &str, body: impl FnOnce() -> Result<*mut u8, Failure>) -> *mut c_void {
    match guard::value(function, body) {
        Ok(block) => block.cast(),
        Err(status) => {
            set_errno(match status {
                hmm_status::HMM_ERR_NO_MEMORY
                | hmm_status::HMM_ERR_DEVICE_MEMORY
                | hmm_status::HMM_ERR_SYSTEM => ENOMEM,
                _ => EINVAL,
            });
            ptr::null_mut()
        }
    }
}

/// Allocates size bytes of managed memory, aligned for any type. The contents are undefined. Size 0 gives a pointer of its
/// own that can be freed. On failure: NULL, errno ENOMEM or EINVAL, and hmm_last_error.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_malloc(size: usize) -> *mut c_void {
    allocate("hmm_malloc", || raw::malloc(size).map_err(Failure::size))
}

/// Allocates n * size bytes of zeros; they take no memory before they are touched. ENOMEM when the product overflows.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_calloc(n: usize, size: usize) -> *mut c_void {
    allocate("hmm_calloc", || {
        if n.checked_mul(size).is_none() {
            return Err(Failure::Overflow);
        }
        raw::calloc(n, size).map_err(Failure::size)
    })
}

/// Changes a block's size, moving it if need be; what is on a device moves without a trip over the host. NULL for ptr: as
/// hmm_malloc. Size 0 frees the block and gives NULL, as glibc's. On failure: NULL, and the block is as it was.
///
/// # Safety
/// Nobody else uses the block during the call, nor its old address after it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_realloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    allocate("hmm_realloc", || {
        // SAFETY: the caller's promise is the runtime's; it checks the pointer itself.
        unsafe {
            if size == 0 && !ptr.is_null() {
                raw::free(ptr.cast())?;
                return Ok(ptr::null_mut());
            }
            raw::realloc(ptr.cast(), size).map_err(Failure::size)
        }
    })
}

/// Allocates size bytes at a multiple of alignment, which is a power of two; size need not be a multiple of it.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    allocate("hmm_aligned_alloc", || raw::aligned_alloc(alignment, size).map_err(Failure::size))
}

/// Frees a block, wherever its pages are; its contents are not copied back, and its pins are forgotten. NULL is fine; errno
/// is kept; after hmm_shutdown too. A pointer that is not the start of a live block changes nothing: it is reported to
/// stderr, in one line, and to hmm_last_error.
///
/// # Safety
/// Nobody uses the block any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_free(ptr: *mut c_void) {
    let kept = errno();
    // SAFETY: the caller's promise is the runtime's; it checks the pointer itself. The status has nowhere to go, so the
    // failure is logged.
    let _ = guard::logged("hmm_free", || Ok(unsafe { raw::free(ptr.cast()) }?));
    set_errno(kept);
}

/// How many bytes of the block can be used, at least what was asked for; 0 if ptr is not the start of a live block.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_usable_size(ptr: *const c_void) -> usize {
    guard::value("hmm_usable_size", || Ok(raw::usable_size(ptr.cast()))).unwrap_or(0)
}

/// Whether ptr lies in managed memory: in a live block, or in an adopted range.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_owns(ptr: *const c_void) -> bool {
    guard::value("hmm_owns", || Ok(raw::owns(ptr.cast()))).unwrap_or(false)
}

/// Makes the caller's own memory managed, in place: private anonymous memory from a page boundary on; len is rounded up to
/// whole pages.
///
/// # Safety
/// The range stays mapped until hmm_disown, and the program changes its protection only with hmm_protect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_adopt(addr: *mut c_void, len: usize) -> hmm_status {
    // SAFETY: the caller's promise is the runtime's.
    guard::status("hmm_adopt", || Ok(unsafe { raw::adopt(addr.cast(), len) }?))
}

/// Brings adopted memory home and gives it back to the caller, contents and protection as they are; a part of what was
/// adopted will do.
///
/// # Safety
/// No device uses the range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_disown(addr: *mut c_void, len: usize) -> hmm_status {
    // SAFETY: the caller's promise is the runtime's.
    guard::status("hmm_disown", || Ok(unsafe { raw::disown(addr.cast(), len) }?))
}

/// The program's own protection of managed memory: use this where you would use mprotect. It holds wherever the pages are,
/// for devices too. addr is at a page boundary; len is rounded up to whole pages.
///
/// # Safety
/// Nobody relies on an access that the new protection forbids.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_protect(
    addr: *mut c_void,
    len: usize,
    protection: MaybeUninit<hmm_protection>,
) -> hmm_status {
    guard::status("hmm_protect", || {
        let protection = types::protection("protection", protection)?;
        // SAFETY: the caller's promise is the runtime's.
        Ok(unsafe { raw::protect(addr.cast(), len, protection) }?)
    })
}
