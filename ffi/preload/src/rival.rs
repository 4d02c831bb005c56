//! Another malloc that comes before this library's: the program's own (jemalloc or tcmalloc linked into it, or the few
//! functions that the C library's manual asks of a replacement), or that of a library before this one. All blocks are its
//! own then, and what it does not define must give it none of ours. `settings` looks for it, once. Any thread, any time.

use crate::names::{self, Real};
use crate::settings;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering::*};

static REALLOC: Real = Real::of_the_program(c"realloc");
static FREE: Real = Real::of_the_program(c"free");
static FOUND: AtomicBool = AtomicBool::new(false);

/// Looks for one: whether any of the four functions that every malloc has is another's than this library's.
pub fn look() -> bool {
    static MALLOC: Real = Real::of_the_program(c"malloc");
    static CALLOC: Real = Real::of_the_program(c"calloc");
    let is_anothers = |function: &Real| match function.address() {
        0 => false,
        at => !names::is_ours(at) && names::is_defined(at),
    };
    let found = [&MALLOC, &CALLOC, &REALLOC, &FREE].into_iter().any(is_anothers);
    FOUND.store(found, Relaxed);
    found
}

/// Whether there is one.
pub fn is_there() -> bool {
    settings::is_read() && FOUND.load(Relaxed)
}

/// Its realloc(3).
///
/// # Safety
/// There is one; as the function.
pub unsafe fn realloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the function of that name, which was looked up; the caller's promise.
    unsafe {
        let f: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(REALLOC.address()));
        f(ptr, size)
    }
}

/// Its free(3).
///
/// # Safety
/// There is one; as the function.
pub unsafe fn free(ptr: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        let f: unsafe extern "C" fn(*mut c_void) =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(FREE.address()));
        f(ptr)
    }
}
