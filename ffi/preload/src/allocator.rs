//! What this library allocates for itself comes from the C library's allocator under its private names, so that nothing
//! here ever calls the functions that it stands for.

use crate::{names, spare};
use core::alloc::{GlobalAlloc, Layout};

/// The private allocator.
struct Private;

#[global_allocator]
static PRIVATE: Private = Private;

/// What every block of the C library's is aligned to.
const ALIGNED: usize = 16;

// SAFETY: the C library's allocator keeps the contract; sizes that are multiples of nothing are fine with it.
unsafe impl GlobalAlloc for Private {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if spare::is_used()
            && let Some(at) = spare::allocate(layout.size(), layout.align())
        {
            return at;
        }
        // SAFETY: no preconditions.
        unsafe {
            match layout.align() <= ALIGNED {
                true => names::__libc_malloc(layout.size()).cast(),
                false => names::__libc_memalign(layout.align(), layout.size()).cast(),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: no preconditions; the block has the layout's size.
        unsafe {
            if layout.align() <= ALIGNED && !spare::is_used() {
                return names::__libc_calloc(1, layout.size()).cast();
            }
            let at = self.alloc(layout);
            if !at.is_null() {
                at.write_bytes(0, layout.size());
            }
            at
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, _: Layout) {
        if spare::owns(at) {
            return spare::free(at);
        }
        if spare::is_used() {
            return; // a leak: there is no other way in a signal handler
        }
        // SAFETY: a block of this allocator, by the caller's promise.
        unsafe { names::__libc_free(at.cast()) };
    }

    unsafe fn realloc(&self, at: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; the copy is of what both blocks have.
        unsafe {
            let spares = spare::owns(at) || spare::is_used();
            if old.align() <= ALIGNED && !spares {
                return names::__libc_realloc(at.cast(), size).cast();
            }
            let new = self.alloc(Layout::from_size_align_unchecked(size, old.align()));
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(at, new, old.size().min(size));
                self.dealloc(at, old);
            }
            new
        }
    }
}
