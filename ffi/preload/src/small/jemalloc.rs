//! The allocator of small objects: arenas of jemalloc's with the runtime's memory. Its settings are linked in, so that no
//! variable and no file changes them. A thread uses one arena, by its number, and jemalloc's cache for that thread, in
//! which nothing else can be: nobody calls jemalloc but this file. Any thread, any time, also in forked children, which free
//! what they have and get nothing new.

use super::extents;
use crate::{maps, names, settings};
use core::arch::global_asm;
use core::ffi::{CStr, c_int, c_uint, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering::*};
use hmmrt_core::raw::preload as heap;
use tikv_jemalloc_sys::{self as je, extent_hooks_t};

/// Whether the library has them.
pub const IS_BUILT: bool = true;

// jemalloc reads these settings last. One arena of its own, because nothing comes from it but bookkeeping; no thread; nothing
// is ever written into what is free.
global_asm!(
    ".pushsection .data.rel.ro.hmmrt_jemalloc, \"aw\"",
    ".balign 8",
    ".globl _rjem_malloc_conf_2_conf_harder",
    ".hidden _rjem_malloc_conf_2_conf_harder",
    ".type _rjem_malloc_conf_2_conf_harder, %object",
    ".size _rjem_malloc_conf_2_conf_harder, 8",
    "_rjem_malloc_conf_2_conf_harder: .quad 1f",
    ".popsection",
    ".pushsection .rodata.hmmrt_jemalloc, \"a\"",
    "1: .asciz \"narenas:1,retain:true,oversize_threshold:0,background_thread:false,hpa:false,tcache:true,\
zero:false,junk:false,abort:false,abort_conf:false,stats_print:false,dirty_decay_ms:10000,muzzy_decay_ms:0\"",
    ".popsection",
);

/// What every block is aligned to; smaller ones of jemalloc's would not be.
const ALIGNED: usize = 16;
/// The most arenas.
const MOST: usize = 8;

static ARENAS: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);

const NOT_YET: u8 = 0;
const PREPARING: u8 = 1;
const READY: u8 = 2;
const REFUSED: u8 = 3;
static STATE: AtomicU8 = AtomicU8::new(NOT_YET);

/// As in jemalloc.
#[repr(C)]
struct ArenaConfig {
    hooks: *const extent_hooks_t,
    metadata_uses_hooks: bool,
}

/// Reads or writes a setting of jemalloc's.
fn control<R, W>(name: &CStr, read: Option<&mut R>, write: Option<&mut W>) -> bool {
    let mut len = size_of::<R>();
    let (old, old_len) = match read {
        Some(value) => ((&raw mut *value).cast(), &raw mut len),
        None => (null_mut(), null_mut()),
    };
    let (new, new_len) = match write {
        Some(value) => ((&raw mut *value).cast(), size_of::<W>()),
        None => (null_mut(), 0),
    };
    // SAFETY: each of jemalloc's names that is used here has values of that type.
    unsafe { je::mallctl(name.as_ptr(), old, old_len, new, new_len) == 0 }
}

/// Makes the arenas.
#[cold]
fn prepare() {
    if STATE.compare_exchange(NOT_YET, PREPARING, SeqCst, Relaxed).is_err() {
        return; // another thread does
    }
    extents::prepare();
    let wanted = std::thread::available_parallelism().map_or(1, |n| n.get()).min(MOST);
    let mut made = 0;
    for slot in ARENAS.iter().take(wanted) {
        let mut config = ArenaConfig { hooks: &extents::HOOKS, metadata_uses_hooks: false };
        let mut number: c_uint = 0;
        if !control(c"experimental.arenas_create_ext", Some(&mut number), Some(&mut config)) {
            break;
        }
        // Each extent is one chunk, as far as its object has room there: what is moved for one object stays small.
        let mut most = extents::CHUNK;
        let name = format!("arena.{number}.retain_grow_limit\0");
        if let Ok(name) = CStr::from_bytes_with_nul(name.as_bytes()) {
            control(name, None::<&mut usize>, Some(&mut most));
        }
        slot.store(number, Relaxed);
        made += 1;
    }
    COUNT.store(made, Relaxed);
    STATE.store(if made > 0 { READY } else { REFUSED }, Release);
    if made == 0 {
        names::say("hmmrt error: jemalloc makes no arena; small objects are not managed\n");
    }
}

/// jemalloc's flags for this thread's arena.
fn arena() -> Option<c_int> {
    match STATE.load(Acquire) {
        READY => {}
        NOT_YET => {
            prepare();
            return arena();
        }
        _ => return None,
    }
    // SAFETY: no preconditions. Stacks, where the number comes from, are an odd number of pages apart.
    let thread = unsafe { libc::pthread_self() } as usize >> 12;
    let number = ARENAS[thread % COUNT.load(Relaxed)].load(Relaxed);
    Some(((number + 1) << 20) as c_int)
}

/// An object of `size` bytes at a multiple of `alignment`, a power of two, for `caller`; `None`: it is not for here, or there is
/// no room. errno stays as it was.
#[inline]
pub fn allocate(size: usize, alignment: usize, zeroed: bool, caller: usize) -> Option<*mut c_void> {
    match settings::has_small_objects() {
        true => allocate_for(size, alignment, zeroed, caller),
        false => None,
    }
}

#[inline(never)]
fn allocate_for(size: usize, alignment: usize, zeroed: bool, caller: usize) -> Option<*mut c_void> {
    // A driver's objects would go to the device with the program's: also those of its constructors, when nobody has asked for a
    // function of it yet. So its name decides. The runtime wants alignments up to 1 TiB; those above a chunk are not for small objects.
    if alignment > extents::CHUNK
        || !settings::allow_small(size, caller)
        || maps::is_driver(caller)
        || !heap::may_use_heap()
    {
        return None;
    }
    let saved = names::errno();
    let flags = arena()? | alignment.max(1).trailing_zeros() as c_int;
    // SAFETY: not 0 bytes.
    let object = unsafe { je::mallocx(size.max(ALIGNED), flags) };
    names::set_errno(saved);
    if object.is_null() {
        return None;
    }
    if !extents::has(object.addr()) {
        // SAFETY: just allocated.
        unsafe { je::dallocx(object, 0) };
        return None;
    }
    if zeroed {
        // Not by jemalloc, which could do it with a lock held.
        // SAFETY: it has so many bytes.
        unsafe { object.cast::<u8>().write_bytes(0, size) };
    }
    Some(object)
}

/// Whether an object here is, or was, at that address.
#[inline]
pub fn owns(ptr: *const c_void) -> bool {
    extents::has(ptr.addr())
}

/// What is no object's start, as far as that can be told from the address.
fn check(ptr: *const c_void, text: &str) {
    if !ptr.addr().is_multiple_of(ALIGNED) {
        names::abort_with(text);
    }
}

/// # Safety
/// A live object of this allocator's.
pub unsafe fn usable_size(ptr: *const c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { je::sallocx(ptr, 0) }
}

/// Whether the object has `size` bytes now, where it is.
///
/// # Safety
/// As [`usable_size`].
pub unsafe fn grow(ptr: *mut c_void, size: usize) -> bool {
    check(ptr, "realloc(): invalid pointer\n");
    let saved = names::errno();
    // SAFETY: the caller's promise; not 0 bytes.
    let has = unsafe { je::xallocx(ptr, size.max(ALIGNED), 0, 0) };
    names::set_errno(saved);
    has >= size
}

/// free(3) of an object. Keeps errno.
///
/// # Safety
/// As [`usable_size`]; nobody uses it any more.
pub unsafe fn free(ptr: *mut c_void) {
    check(ptr, "free(): invalid pointer\n");
    let saved = names::errno();
    // SAFETY: the caller's promise.
    unsafe { je::dallocx(ptr, 0) };
    names::set_errno(saved);
}
