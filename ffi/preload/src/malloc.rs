//! malloc and its family. Large blocks that the program asks for come from the runtime's heap, all others from the C
//! library, or from `small` where that is wanted; whose a block is, its address says. Each function first notes who called it, in a few instructions of
//! assembly: what the C library allocates for itself stays its own. Any thread, any time, also before any constructor.

use crate::{gpu, names, rival, settings, small, theirs};
use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use hmmrt_core::raw::preload as heap;
use hmmrt_core::{Error, raw};
use libc::{EINVAL, ENOMEM};

const PAGE: usize = 4096;

/// Defines an exported function that calls another with its own arguments and, after them, its return address.
macro_rules! exported {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),+) -> $ret:ty, $x86:literal, $after:literal, $body:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),+) -> $ret {
            #[cfg(target_arch = "x86_64")]
            naked_asm!("endbr64", concat!("mov ", $x86, ", [rsp]"), "jmp {body}", body = sym $body);
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aarch64/caller.s")),
                after = const $after,
                body = sym $body,
            );
        }
    };
}

exported! {
    /// malloc(3).
    malloc(size: usize) -> *mut c_void, "rsi", 1, malloc_for
}
exported! {
    /// calloc(3).
    calloc(n: usize, size: usize) -> *mut c_void, "rdx", 2, calloc_for
}
exported! {
    /// realloc(3).
    realloc(ptr: *mut c_void, size: usize) -> *mut c_void, "rdx", 2, realloc_for
}
exported! {
    /// reallocarray(3).
    reallocarray(ptr: *mut c_void, n: usize, size: usize) -> *mut c_void, "rcx", 3, reallocarray_for
}
exported! {
    /// posix_memalign(3).
    posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int, "rcx", 3, posix_memalign_for
}
exported! {
    /// aligned_alloc(3).
    aligned_alloc(alignment: usize, size: usize) -> *mut c_void, "rdx", 2, memalign_for
}
exported! {
    /// memalign(3).
    memalign(alignment: usize, size: usize) -> *mut c_void, "rdx", 2, memalign_for
}
exported! {
    /// valloc(3).
    valloc(size: usize) -> *mut c_void, "rsi", 1, valloc_for
}
exported! {
    /// pvalloc(3).
    pvalloc(size: usize) -> *mut c_void, "rsi", 1, pvalloc_for
}

fn no_memory() -> *mut c_void {
    names::set_errno(ENOMEM);
    core::ptr::null_mut()
}

/// A managed block, if this one may be and there is room for it. errno stays as it was.
#[inline(never)]
fn managed(size: usize, alignment: usize, zeroed: bool, caller: usize) -> Option<*mut c_void> {
    if !settings::allow(size, caller) || gpu::is_driver(caller) || !heap::may_use_heap() {
        return None;
    }
    let saved = names::errno();
    let block = match (zeroed, alignment <= PAGE) {
        (true, _) => raw::calloc(1, size),
        (false, true) => raw::malloc(size),
        (false, false) => raw::aligned_alloc(alignment, size),
    };
    if let Err(error) = &block {
        note(error);
    }
    names::set_errno(saved);
    block.ok().map(|at| at.cast())
}

/// The heap has no block. If it will be no better the next time, it says so and is not asked again.
pub fn note(error: &Error) {
    if matches!(error, Error::Config(_) | Error::Unsupported { .. }) {
        settings::refuse_all();
        names::say(&format!("hmmrt error: {error}; no memory is managed\n"));
    }
}

/// A block of the runtime's for `caller`, large or small; `None`: the C library is to give one.
#[inline]
fn ours(size: usize, alignment: usize, zeroed: bool, caller: usize) -> Option<*mut c_void> {
    match settings::is_large(size) {
        true => managed(size, alignment, zeroed, caller),
        false => small::allocate(size, alignment, zeroed, caller),
    }
}

/// # Safety
/// None that safe code could break: it is unsafe as malloc's type is, whose place it takes.
unsafe extern "C" fn malloc_for(size: usize, caller: usize) -> *mut c_void {
    if let Some(block) = ours(size, 1, false, caller) {
        return block;
    }
    // SAFETY: no preconditions.
    unsafe { names::__libc_malloc(size) }
}

/// # Safety
/// As [`malloc_for`].
unsafe extern "C" fn calloc_for(n: usize, size: usize, caller: usize) -> *mut c_void {
    let Some(bytes) = n.checked_mul(size) else { return no_memory() };
    if let Some(block) = ours(bytes, 1, true, caller) {
        return block;
    }
    // SAFETY: no preconditions.
    unsafe { names::__libc_calloc(n, size) }
}

/// # Safety
/// As [`malloc_for`].
unsafe extern "C" fn memalign_for(alignment: usize, size: usize, caller: usize) -> *mut c_void {
    // The C library takes any alignment and rounds it up.
    if let Some(alignment) = alignment.max(1).checked_next_power_of_two()
        && let Some(block) = ours(size, alignment, false, caller)
    {
        return block;
    }
    // SAFETY: no preconditions.
    unsafe { names::__libc_memalign(alignment, size) }
}

/// # Safety
/// `out` is room for an address.
unsafe extern "C" fn posix_memalign_for(
    out: *mut *mut c_void,
    alignment: usize,
    size: usize,
    caller: usize,
) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return EINVAL;
    }
    let saved = names::errno();
    // SAFETY: no preconditions.
    let block = unsafe { memalign_for(alignment, size, caller) };
    names::set_errno(saved);
    if block.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller's pointer is valid.
    unsafe { *out = block };
    0
}

/// # Safety
/// As [`malloc_for`].
unsafe extern "C" fn valloc_for(size: usize, caller: usize) -> *mut c_void {
    // SAFETY: no preconditions.
    unsafe { memalign_for(names::page_size(), size, caller) }
}

/// # Safety
/// As [`malloc_for`].
unsafe extern "C" fn pvalloc_for(size: usize, caller: usize) -> *mut c_void {
    let page = names::page_size();
    match size.checked_next_multiple_of(page) {
        // SAFETY: no preconditions.
        Some(size) => unsafe { memalign_for(page, size, caller) },
        None => no_memory(),
    }
}

/// # Safety
/// As [`realloc_for`].
unsafe extern "C" fn reallocarray_for(ptr: *mut c_void, n: usize, size: usize, caller: usize) -> *mut c_void {
    let Some(bytes) = n.checked_mul(size) else { return no_memory() };
    // SAFETY: the caller's promise.
    unsafe {
        match rival::is_there() {
            true => rival::realloc(ptr, bytes),
            false => realloc_for(ptr, bytes, caller),
        }
    }
}

/// # Safety
/// `ptr` is NULL or a live block of this library's or the C library's, which nobody uses meanwhile, nor afterwards if it succeeds.
unsafe extern "C" fn realloc_for(ptr: *mut c_void, size: usize, caller: usize) -> *mut c_void {
    if ptr.is_null() {
        // SAFETY: no preconditions.
        return unsafe { malloc_for(size, caller) };
    }
    if small::owns(ptr) {
        // SAFETY: a live object, by the caller's promise.
        return unsafe { realloc_small(ptr, size, caller) };
    }
    if heap::may_be_ours(ptr.cast_const().cast())
        && let Some((start, len)) = heap::block(ptr.cast_const().cast())
    {
        // SAFETY: a live block of ours, by the caller's promise.
        return unsafe { realloc_managed(ptr, start, len, size, caller) };
    }
    if heap::is_dead(ptr.cast_const().cast()) {
        names::abort_with("realloc(): invalid pointer\n");
    }
    // The C library's own block. It moves if it becomes a large one, and if it is known how large it is.
    if theirs::knows_sizes()
        && settings::is_large(size)
        && size != 0
        && let Some(block) = managed(size, 1, false, caller)
    {
        // SAFETY: the block is the C library's, live, and only the caller's; both are as long as what is copied.
        unsafe {
            let old = theirs::usable_size(ptr);
            core::ptr::copy_nonoverlapping(ptr.cast::<u8>(), block.cast(), old.min(size));
            theirs::free(ptr);
        }
        return block;
    }
    // SAFETY: the caller's promise.
    unsafe { names::__libc_realloc(ptr, size) }
}

/// realloc of a small object.
///
/// # Safety
/// A live object of `small`'s, which only the caller uses.
#[cold]
unsafe fn realloc_small(ptr: *mut c_void, size: usize, caller: usize) -> *mut c_void {
    if size == 0 {
        // SAFETY: the caller's promise.
        unsafe { small::free(ptr) };
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    let old = unsafe { small::usable_size(ptr) };
    // SAFETY: as above.
    if size <= old && size > old / 2
        // SAFETY: a live object, by the caller's promise.
        || !settings::is_large(size) && size > old && unsafe { small::grow(ptr, size) }
    {
        return ptr;
    }
    // SAFETY: both blocks are as long as what is copied.
    unsafe {
        let block = malloc_for(size, caller);
        if block.is_null() {
            return block;
        }
        if raw::preload::copy(ptr.cast(), block.cast(), old.min(size)).is_err() {
            free(block);
            return no_memory();
        }
        small::free(ptr);
        block
    }
}

/// realloc of a managed block.
///
/// # Safety
/// `ptr` is in the live block of `len` bytes from `start`, which only the caller uses.
unsafe fn realloc_managed(
    ptr: *mut c_void,
    start: usize,
    len: usize,
    size: usize,
    caller: usize,
) -> *mut c_void {
    if ptr.addr() != start {
        names::abort_with("realloc(): invalid pointer\n");
    }
    if size == 0 {
        // SAFETY: the caller's promise.
        unsafe { free(ptr) };
        return core::ptr::null_mut();
    }
    if size > isize::MAX as usize {
        return no_memory();
    }
    if settings::is_large(size) && settings::allow(size, caller) && heap::may_use_heap() {
        let saved = names::errno();
        // SAFETY: the caller's promise.
        let block = unsafe { raw::realloc(ptr.cast(), size) };
        names::set_errno(saved);
        if let Ok(block) = block {
            return block.cast();
        }
    } else if size <= len && (size > len / 2 || len == PAGE) {
        return ptr;
    }
    // A small block now, or one that the heap has no room for, or a forked child.
    // SAFETY: both blocks are as long as what is copied.
    unsafe {
        let block = small::allocate(size, 1, false, caller).unwrap_or_else(|| names::__libc_malloc(size));
        if block.is_null() {
            return block;
        }
        if raw::preload::copy(ptr.cast(), block.cast(), len.min(size)).is_err() {
            free(block);
            return no_memory();
        }
        free(ptr);
        block
    }
}

/// free(3). Keeps errno.
///
/// # Safety
/// As the C library's: NULL, or a block that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(ptr: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        match heap::may_be_ours(ptr.cast_const().cast()) {
            false => theirs::free(ptr),
            true => free_of_either(ptr),
        }
    }
}

/// cfree(3), which glibc has had no more since 2.26 but for programs linked before: whoever's malloc the program has.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cfree(ptr: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        match rival::is_there() {
            true => rival::free(ptr),
            false => free(ptr),
        }
    }
}

/// free_sized(3) of C23. The size is what the block's owner knows better.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(ptr: *mut c_void, _: usize) {
    // SAFETY: the caller's promise.
    unsafe { cfree(ptr) }
}

/// free_aligned_sized(3) of C23.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(ptr: *mut c_void, _: usize, _: usize) {
    // SAFETY: the caller's promise.
    unsafe { cfree(ptr) }
}

/// # Safety
/// As [`free`].
#[inline(never)] // most blocks are the C library's: nothing is saved on the stack for them
unsafe extern "C" fn free_of_either(ptr: *mut c_void) {
    if small::owns(ptr) {
        // SAFETY: a live object, by the caller's promise.
        return unsafe { small::free(ptr) };
    }
    match heap::block(ptr.cast_const().cast()) {
        None if !ptr.is_null() && heap::is_dead(ptr.cast_const().cast()) => {
            names::abort_with("free(): invalid pointer\n")
        }
        // SAFETY: NULL, or the C library's, by the caller's promise.
        None => unsafe { theirs::free(ptr) },
        Some((start, len)) => {
            if ptr.addr() != start {
                names::abort_with("free(): invalid pointer\n");
            }
            let saved = names::errno();
            // SAFETY: the caller's promise.
            unsafe { free_managed(ptr) };
            theirs::teach(len);
            names::set_errno(saved);
        }
    }
}

/// # Safety
/// As [`free`], for the start of a managed block.
#[inline(never)]
unsafe fn free_managed(ptr: *mut c_void) {
    if heap::in_child() {
        // The heap's locks may be held by threads that are not there: its address stays taken.
        // SAFETY: the caller's promise.
        unsafe { heap::drop_in_child(ptr.cast_const().cast()) };
    } else if heap::may_use_heap() {
        // An error means that a device uses it still: it stays, as a leak.
        // SAFETY: the caller's promise.
        let _ = unsafe { raw::free(ptr.cast()) };
    }
    // Else a signal handler or a fork handler inside of the heap, or a thread of the runtime's: a leak.
}

/// malloc_usable_size(3).
///
/// # Safety
/// As the C library's: NULL or a live block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(ptr: *mut c_void) -> usize {
    if ptr.is_null() {
        return 0;
    }
    if small::owns(ptr) {
        // SAFETY: a live object, by the caller's promise.
        return unsafe { small::usable_size(ptr) };
    }
    match raw::usable_size(ptr.cast_const().cast()) {
        // SAFETY: the caller's promise.
        0 => unsafe { theirs::usable_size(ptr) },
        n => n,
    }
}
