//! jemalloc's extents: whole chunks of the runtime's heap, one block each, which jemalloc splits as it likes and keeps. What it
//! has no use for any more it gives up: host memory and devices' copies go, the addresses stay. Called by jemalloc, some of it
//! with locks of jemalloc's held; they come before the heap's.
//!
//! A fork keeps the heap's locks while jemalloc's own handlers take theirs, so nobody may wait for the heap with one of
//! those meanwhile: the gate is closed first, and who comes then gets nothing. Whose an address is, one bit for each chunk of
//! the address space says: without a lock, in any context.

use crate::malloc;
use core::ffi::{c_uint, c_void};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use hmmrt_core::raw;
use hmmrt_core::raw::preload as heap;
use tikv_jemalloc_sys::extent_hooks_t;

/// The runtime's unit of address space.
pub const CHUNK: usize = 2 << 20;

/// User addresses have at most 48 bits. Never touched where there is no extent.
static MARKS: [AtomicU64; (1 << 48) / CHUNK / 64] = [const { AtomicU64::new(0) }; (1 << 48) / CHUNK / 64];

/// Whether there is an extent at `at`.
#[inline]
pub fn has(at: usize) -> bool {
    let chunk = at / CHUNK;
    MARKS.get(chunk / 64).is_some_and(|word| word.load(Acquire) >> (chunk % 64) & 1 != 0)
}

fn mark(at: usize, len: usize) {
    for chunk in at / CHUNK..(at + len).div_ceil(CHUNK) {
        if let Some(word) = MARKS.get(chunk / 64) {
            word.fetch_or(1 << (chunk % 64), Release);
        }
    }
}

/// How many threads are in the runtime for jemalloc, and whether more may come.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicBool = AtomicBool::new(false);

/// A thread that is in the runtime for jemalloc. Signals wait: a handler that forks would wait for this thread.
struct Inside(#[expect(dead_code, reason = "for its drop")] heap::SignalsBlocked);

impl Inside {
    fn enter() -> Option<Inside> {
        let blocked = heap::SignalsBlocked::new();
        INSIDE.fetch_add(1, SeqCst);
        let inside = Inside(blocked); // leaves again if the gate is closed
        (!CLOSED.load(SeqCst) && heap::may_use_heap()).then_some(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, SeqCst);
    }
}

fn close() {
    CLOSED.store(true, SeqCst);
    // They wait for nobody who waits for this thread: it has locked nothing yet.
    while INSIDE.load(SeqCst) != 0 {
        std::thread::yield_now();
    }
}

fn open() {
    CLOSED.store(false, SeqCst);
}

/// Before the first extent.
pub fn prepare() {
    heap::around_fork(close, open);
}

/// What jemalloc calls. Nothing is ever unmapped, so what it frees it retains.
pub static HOOKS: extent_hooks_t = extent_hooks_t {
    alloc: Some(alloc),
    dalloc: None,
    destroy: None,
    commit: None,
    decommit: None,
    purge_lazy: None,
    purge_forced: Some(purge),
    split: Some(split),
    merge: Some(merge),
};

/// # Safety
/// `zero` and `commit` are jemalloc's variables, and nobody else's meanwhile.
unsafe extern "C" fn alloc(
    _: *mut extent_hooks_t,
    wanted: *mut c_void,
    size: usize,
    alignment: usize,
    zero: *mut bool,
    commit: *mut bool,
    _: c_uint,
) -> *mut c_void {
    let got = (|| {
        let _inside = Inside::enter().filter(|_| wanted.is_null())?;
        match raw::aligned_alloc(alignment.max(CHUNK), size) {
            Ok(at) => Some(at),
            Err(error) => {
                malloc::note(&error);
                None
            }
        }
    })();
    let Some(at) = got else { return core::ptr::null_mut() };
    mark(at.expose_provenance(), size);
    // SAFETY: jemalloc's own variables. The heap does not say whether it was used before.
    unsafe {
        *zero = false;
        *commit = true;
    }
    at.cast()
}

/// Whether it failed, as with all of them.
///
/// # Safety
/// The bytes are of an extent that jemalloc has from [`alloc`], and has given up: what they hold is lost.
unsafe extern "C" fn purge(
    _: *mut extent_hooks_t,
    at: *mut c_void,
    _: usize,
    offset: usize,
    len: usize,
    _: c_uint,
) -> bool {
    let Some(_inside) = Inside::enter() else { return true };
    // SAFETY: the caller's promise.
    unsafe { !heap::give_up(at.cast_const().cast::<u8>().wrapping_add(offset), len) }
}

/// # Safety
/// None: it is unsafe as the type of jemalloc's table is.
unsafe extern "C" fn split(
    _: *mut extent_hooks_t,
    _: *mut c_void,
    _: usize,
    _: usize,
    _: usize,
    _: bool,
    _: c_uint,
) -> bool {
    false
}

/// Only what is of one block: the runtime moves blocks.
///
/// # Safety
/// None: the addresses are only compared. Unsafe as the type of jemalloc's table is.
unsafe extern "C" fn merge(
    _: *mut extent_hooks_t,
    first: *mut c_void,
    _: usize,
    second: *mut c_void,
    _: usize,
    _: bool,
    _: c_uint,
) -> bool {
    heap::block(first.cast_const().cast()) != heap::block(second.cast_const().cast())
}
