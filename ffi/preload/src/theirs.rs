//! The C library's allocator, which has all blocks that are not ours: its free and its sizes, and what it is shown of the
//! large blocks that it does not see. Any thread, any time.

use crate::names;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use hmmrt_core::raw::preload as heap;

/// The C library's allocator learns from the large blocks that a program frees: from the longest on it keeps twice as much
/// memory at the end of its own heap, instead of giving it back to the kernel and asking again. Those are ours, so it is
/// shown one of that length: mapped and unmapped, if it is longer than all before. What the program or its environment has
/// set stands.
pub fn teach(len: usize) {
    /// What it begins with.
    const SHORTEST: usize = 128 << 10;
    /// It learns from no longer ones.
    const LONGEST: usize = 32 << 20;
    static LEARNT: AtomicUsize = AtomicUsize::new(SHORTEST);
    if len > LEARNT.load(Relaxed) && len < LONGEST && !heap::in_child() {
        // By steps, so that a program whose blocks grow a little each time does not pay for each.
        LEARNT.store(len + len / 4, Relaxed);
        // SAFETY: a block of its own, which nobody touches.
        unsafe { names::__libc_free(names::__libc_malloc(len)) };
    }
}

/// free(3) of its own. Keeps errno.
///
/// # Safety
/// A block of the C library's, or NULL, that nobody uses any more.
#[inline]
pub unsafe fn free(ptr: *mut c_void) {
    // It keeps errno itself since 2.33; before that, munmap of a large block may change it.
    // SAFETY: the caller's promise.
    unsafe {
        match KEEPS_ERRNO.load(Relaxed) {
            true => names::__libc_free(ptr),
            false => free_keeping_errno(ptr),
        }
    }
}

/// # Safety
/// A block of the C library's, or NULL, that nobody uses any more.
#[inline(never)]
unsafe fn free_keeping_errno(ptr: *mut c_void) {
    let saved = names::errno();
    // SAFETY: the caller's promise.
    unsafe { names::__libc_free(ptr) };
    names::set_errno(saved);
}

/// Whether the C library's free keeps errno.
static KEEPS_ERRNO: AtomicBool = AtomicBool::new(false);

/// The C library's malloc_usable_size, which has no private name.
static USABLE_SIZE: names::Real = names::Real::of_the_c_library(c"malloc_usable_size");

/// Whether it is known how large its blocks are.
pub fn knows_sizes() -> bool {
    USABLE_SIZE.known() != 0
}

/// Looks up what has no private name: the constructor.
pub fn resolve() {
    USABLE_SIZE.address();
    // SAFETY: a C string that is there for good.
    let version = unsafe { core::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) }.to_str();
    let minor = version.ok().and_then(|v| v.strip_prefix("2.")?.split('.').next()?.parse::<u32>().ok());
    KEEPS_ERRNO.store(minor.is_some_and(|minor| minor >= 33), Relaxed);
}

/// malloc_usable_size(3) of its own; 0 if it has none.
///
/// # Safety
/// A live block of the C library's.
pub unsafe fn usable_size(ptr: *mut c_void) -> usize {
    match USABLE_SIZE.address() {
        0 => 0,
        // SAFETY: the function of that name; the block is the C library's.
        at => unsafe {
            let f: unsafe extern "C" fn(*mut c_void) -> usize =
                core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
            f(ptr)
        },
    }
}
