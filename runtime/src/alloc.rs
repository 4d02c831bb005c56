//! `HmmAlloc`: managed memory for containers, as an `allocator_api2` allocator and as a global one. Every thread calls
//! it, the runtime's own and the runtime inside its own locks included when it is the global one; never the signal
//! handler.

use crate::addr::PAGE;
use crate::{buffer, raw};
use allocator_api2::alloc::{AllocError, Allocator, GlobalAlloc, Layout, System};
use core::num::NonZero;
use core::ptr::NonNull;

/// Allocates managed memory.
///
/// **As an [`Allocator`]** for the containers of `allocator_api2` (and of crates that use its trait, such as
/// `hashbrown`) every block is managed, and has pages of its own: the least one takes 4 KiB. Growing moves what is on a
/// device there. Dropping a container waits for kernels that use its memory.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use hmmrt::{HmmAlloc, Location, Residency, raw};
///
/// let mut x: Vec<u32, HmmAlloc> = Vec::new_in(HmmAlloc);
/// x.extend(0..100_000);
/// assert!(raw::owns(x.as_ptr().cast()));
/// x.migrate(Location::Device(0))?;
/// assert_eq!(x[99_999], 99_999);
/// # Ok::<(), hmmrt::Error>(())
/// ```
///
/// **As a [`GlobalAlloc`]** blocks of a page (4 KiB) or more are managed; smaller ones, for which a page each would be
/// a waste, are [`System`]'s. So is what the runtime allocates for itself, and what it can't serve: in a forked child,
/// after a shutdown, or when its address space is used up. Memory of the C library and of system calls' results is the
/// program's own business, as always: what may be on a device is made ready before it is passed to the kernel
/// ([`raw::host_ready`]).
///
/// ```
/// use hmmrt::{HmmAlloc, Location, Residency};
///
/// #[global_allocator]
/// static ALLOCATOR: HmmAlloc = HmmAlloc;
///
/// # fn main() -> Result<(), hmmrt::Error> {
/// let x = vec![1_u8; 1 << 20]; // an ordinary vector
/// assert_eq!(x.migrate(Location::Device(0))?, 256);
/// assert_eq!(x[1000], 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HmmAlloc;

/// What a block of no bytes is: a place at the right alignment.
fn nowhere(layout: Layout) -> NonNull<[u8]> {
    let align = NonZero::new(layout.align()).unwrap_or(NonZero::<usize>::MIN);
    NonNull::slice_from_raw_parts(NonNull::without_provenance(align), 0)
}

fn allocate(layout: Layout, zeroed: bool) -> Result<NonNull<[u8]>, AllocError> {
    if layout.size() == 0 {
        return Ok(nowhere(layout));
    }
    let at = buffer::allocate(layout, zeroed).map_err(|_| AllocError)?;
    Ok(NonNull::slice_from_raw_parts(at, layout.size()))
}

// SAFETY: blocks stay where they are until they are freed or resized, by whichever value of the type; they have at
// least the size and alignment asked for, and a failed call leaves the old block as it was.
unsafe impl Allocator for HmmAlloc {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        allocate(layout, false)
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        allocate(layout, true)
    }

    unsafe fn deallocate(&self, at: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: the caller's promise: a block of ours that nobody uses.
            unsafe { buffer::free(at) };
        }
    }

    unsafe fn grow(&self, at: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 {
            return allocate(new, false);
        }
        // SAFETY: the caller's promise; `new` is not smaller, so neither is empty.
        let at = unsafe { buffer::reallocate(at, old, new) }.map_err(|_| AllocError)?;
        Ok(NonNull::slice_from_raw_parts(at, new.size()))
    }

    unsafe fn grow_zeroed(
        &self,
        at: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 {
            return allocate(new, true);
        }
        // SAFETY: the caller's promise; what is zeroed lies between the old end and the new one.
        unsafe {
            let grown = self.grow(at, old, new)?;
            grown.cast::<u8>().add(old.size()).write_bytes(0, new.size() - old.size());
            Ok(grown)
        }
    }

    unsafe fn shrink(&self, at: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if new.size() == 0 {
            // SAFETY: the caller's promise.
            unsafe { self.deallocate(at, old) };
            return Ok(nowhere(new));
        }
        // SAFETY: the caller's promise; neither is empty.
        let at = unsafe { buffer::reallocate(at, old, new) }.map_err(|_| AllocError)?;
        Ok(NonNull::slice_from_raw_parts(at, new.size()))
    }
}

/// Whether the global allocator makes such a block a managed one, if it can.
fn is_for_us(size: usize) -> bool {
    size >= PAGE && raw::preload::may_use_heap()
}

/// Whether `at`, a block for `layout`, is a managed one.
fn is_ours(at: *mut u8, layout: Layout) -> bool {
    layout.size() >= PAGE && raw::usable_size(at) != 0
}

impl HmmAlloc {
    /// The managed block for `layout`, or the system's.
    ///
    /// # Safety
    /// The size is not 0.
    unsafe fn get(layout: Layout, zeroed: bool) -> *mut u8 {
        if is_for_us(layout.size())
            && let Ok(at) = buffer::allocate(layout, zeroed)
        {
            return at.as_ptr();
        }
        // SAFETY: the caller's promise.
        unsafe { if zeroed { System.alloc_zeroed(layout) } else { System.alloc(layout) } }
    }
}

// SAFETY: each block is either a managed one or the system's, and goes back to where it came from; both keep the
// contract, and nothing here unwinds.
unsafe impl GlobalAlloc for HmmAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { HmmAlloc::get(layout, false) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { HmmAlloc::get(layout, true) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        match NonNull::new(at) {
            // SAFETY: a live block of ours, by the caller's promise that it is one of this allocator's.
            Some(block) if is_ours(at, layout) => unsafe { buffer::free(block) },
            // SAFETY: the caller's promise.
            _ => unsafe { System.dealloc(at, layout) },
        }
    }

    unsafe fn realloc(&self, at: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: rounded up to the alignment, `size` does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, old.align()) };
        let ours = is_ours(at, old);
        if !ours && size < PAGE {
            // SAFETY: the system's block, by the caller's promise.
            return unsafe { System.realloc(at, old, size) };
        }
        if ours
            && is_for_us(size)
            && let Some(block) = NonNull::new(at)
            // SAFETY: a live block of ours that only the caller uses.
            && let Ok(to) = unsafe { buffer::reallocate(block, old, new) }
        {
            return to.as_ptr();
        }
        // SAFETY: from one kind of block to the other, or what could not be done in place; both are live for `n` bytes.
        unsafe {
            let to = HmmAlloc::get(new, false);
            if !to.is_null() {
                if raw::preload::copy(at, to, old.size().min(size)).is_err() {
                    self.dealloc(to, new);
                    return core::ptr::null_mut();
                }
                self.dealloc(at, old);
            }
            to
        }
    }
}
