//! Managed memory by `Layout`: what the allocator and the owning types share. Blocks start at page boundaries; larger
//! alignments go their own way. API context only.

use crate::addr::{HostAddr, PAGE};
use crate::error::{Error, Result};
use crate::{moves, raw};
use bytemuck::Pod;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// What memory is for, in errors.
const WHAT: &str = "a managed block";

/// A block for `layout`, whose size is not 0; with `zeroed` all zeros.
pub(crate) fn allocate(layout: Layout, zeroed: bool) -> Result<NonNull<u8>> {
    let (size, align) = (layout.size(), layout.align());
    let at = match (align > PAGE, zeroed) {
        (false, false) => raw::malloc(size)?,
        (false, true) => raw::calloc(1, size)?,
        (true, _) => raw::aligned_alloc(align, size)?,
    };
    if align > PAGE && zeroed {
        // SAFETY: a fresh block of at least `size` bytes.
        unsafe { at.write_bytes(0, size) };
    }
    NonNull::new(at).ok_or(Error::NoMemory { what: WHAT, bytes: size })
}

/// Changes a block's size from `old` to `new`, neither empty; keeps the bytes up to the smaller of the two. Pages on a
/// device move there. On failure the block is what it was.
///
/// # Safety
/// `at` is a live block that was allocated with `old` (at least its alignment), and nobody else uses it.
pub(crate) unsafe fn reallocate(at: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<u8>> {
    let size = new.size();
    if new.align() <= PAGE {
        // SAFETY: the caller's promise.
        let at = unsafe { raw::realloc(at.as_ptr(), size)? };
        return NonNull::new(at).ok_or(Error::NoMemory { what: WHAT, bytes: size });
    }
    let to = allocate(new, false)?;
    let (from, len) = (HostAddr::from(at.as_ptr().cast_const()), old.size().min(size));
    // SAFETY: two blocks, each of at least so many bytes, of which the caller is the only user. The one that is not given out goes.
    unsafe {
        let copied = moves::copy(from, HostAddr::from(to.as_ptr().cast_const()), len, "ptr");
        free(if copied.is_ok() { at } else { to });
        copied.map(|()| to)
    }
}

/// Frees a block. Waits for kernels that use it. One that can't be freed is leaked: a forgotten guard has it, or this is
/// a forked child.
///
/// # Safety
/// A live block that nobody uses any more.
pub(crate) unsafe fn free(at: NonNull<u8>) {
    // SAFETY: the caller's promise.
    let _ = unsafe { raw::free(at.as_ptr()) };
}

/// Room for elements of `T`, initialized or not; freed when dropped. Never forms references to them.
pub(crate) struct Buffer<T> {
    at: NonNull<T>,
    /// In elements; 0: there is no block. Not limited for elements without a size, which have no block either.
    capacity: usize,
    _owns: PhantomData<T>,
}

// SAFETY: a buffer owns its memory as `Vec` does.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: as above; through a shared buffer one gets no more than a pointer.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T> Buffer<T> {
    const EMPTY: usize = if size_of::<T>() == 0 { usize::MAX } else { 0 };

    /// No room.
    pub(crate) const fn new() -> Buffer<T> {
        Buffer { at: NonNull::dangling(), capacity: Self::EMPTY, _owns: PhantomData }
    }

    /// The first element's place.
    pub(crate) fn ptr(&self) -> *mut T {
        self.at.as_ptr()
    }

    /// How many elements there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// A block for `n` elements. What does not fit the address space is out of memory.
    fn layout(n: usize) -> Result<Layout> {
        let bytes = n.saturating_mul(size_of::<T>());
        Layout::array::<T>(n).map_err(|_| Error::NoMemory { what: WHAT, bytes })
    }

    /// Gives the block up to a new owner; a place for elements without a size if there is none.
    pub(crate) fn into_block(self) -> NonNull<T> {
        let at = self.at;
        core::mem::forget(self);
        at
    }

    fn has_block(&self) -> bool {
        self.capacity != Self::EMPTY
    }
}

impl<T: Pod> Buffer<T> {
    /// Room for at least `n` elements; with `zeroed` the first `n` are zeros.
    pub(crate) fn with_room(n: usize, zeroed: bool) -> Result<Buffer<T>> {
        let layout = Self::layout(n)?;
        if layout.size() == 0 {
            return Ok(Buffer::new());
        }
        Ok(Self::of_block(allocate(layout, zeroed)?, n))
    }

    /// Wraps a block for `n` elements; it may have room for more.
    fn of_block(at: NonNull<u8>, n: usize) -> Buffer<T> {
        let capacity = (raw::usable_size(at.as_ptr()) / size_of::<T>()).max(n);
        Buffer { at: at.cast(), capacity, _owns: PhantomData }
    }

    /// Makes room for `n` elements; it may move. On failure nothing is changed.
    pub(crate) fn grow(&mut self, n: usize) -> Result<()> {
        if n <= self.capacity {
            return Ok(());
        }
        let grown = if self.has_block() {
            let (old, new) = (Self::layout(self.capacity)?, Self::layout(n)?);
            // SAFETY: the block is ours and was allocated with `T`'s alignment. It is a new owner's below.
            let at = unsafe { reallocate(self.at.cast(), old, new)? };
            Self::of_block(at, n)
        } else {
            Self::with_room(n, false)?
        };
        core::mem::forget(core::mem::replace(self, grown)); // the old block is gone, or there was none
        Ok(())
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.has_block() {
            // SAFETY: our block; nobody borrows from its owner any more.
            unsafe { free(self.at.cast()) };
        }
    }
}
