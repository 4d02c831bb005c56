//! `ManagedVec`: a growable array in managed memory. Not for the fault path; its elements' pages may be anywhere.

use crate::buffer::Buffer;
use crate::error::{Error, Result};
use crate::managed::Managed;
use bytemuck::Pod;
use core::fmt;
use core::ops::{Deref, DerefMut};

/// A growable array in managed memory: as `Vec`, but its pages can be on a device, and what can fail says so.
///
/// It derefs to a slice. The CPU reads and writes it like any other; a page that is on a device comes home by itself.
/// [`Residency`](crate::Residency) moves it, [`crate::kernels`] and [`Stream::launch`](crate::Stream::launch) work on it.
///
/// A vector has pages of its own, so moving it moves nothing else; the least block is a page of 4 KiB. Growing moves
/// what is on a device there, without a trip over the host. Dropping waits for kernels that use the memory. Memory that
/// can't be freed then (a forgotten [`AccessGuard`](crate::AccessGuard) has it) is leaked.
///
/// ```
/// use hmmrt::{Location, ManagedVec, Residency};
///
/// let mut x = ManagedVec::from_slice(&[1_u64, 2, 3])?;
/// x.migrate(Location::Device(0))?;
/// x.push(4)?;
/// assert_eq!(x[..], [1, 2, 3, 4]);
/// assert_eq!(x.iter().sum::<u64>(), 10);
/// # Ok::<(), hmmrt::Error>(())
/// ```
pub struct ManagedVec<T> {
    buffer: Buffer<T>,
    /// The first `len` elements are initialized.
    len: usize,
}

impl<T: Pod> ManagedVec<T> {
    /// An empty vector. Allocates nothing.
    pub const fn new() -> ManagedVec<T> {
        ManagedVec { buffer: Buffer::new(), len: 0 }
    }

    /// An empty vector with room for at least `capacity` elements.
    ///
    /// # Errors
    /// [`Error::NoMemory`], also for more bytes than the address space has; [`Error::Shutdown`] and [`Error::Forked`].
    /// The same for all that allocates here.
    pub fn with_capacity(capacity: usize) -> Result<ManagedVec<T>> {
        Ok(ManagedVec { buffer: Buffer::with_room(capacity, false)?, len: 0 })
    }

    /// `len` elements of all zeros. Fresh pages have no memory behind them until they are touched.
    ///
    /// # Errors
    /// As [`ManagedVec::with_capacity`].
    pub fn zeroed(len: usize) -> Result<ManagedVec<T>> {
        Ok(ManagedVec { buffer: Buffer::with_room(len, true)?, len })
    }

    /// A copy of `elements`.
    ///
    /// # Errors
    /// As [`ManagedVec::with_capacity`].
    pub fn from_slice(elements: &[T]) -> Result<ManagedVec<T>> {
        let mut vec = ManagedVec::with_capacity(elements.len())?;
        vec.extend_from_slice(elements)?;
        Ok(vec)
    }

    /// Appends an element.
    ///
    /// # Errors
    /// As [`ManagedVec::reserve`].
    pub fn push(&mut self, element: T) -> Result<()> {
        self.reserve(1)?;
        // SAFETY: there is room for one element more.
        unsafe { self.buffer.ptr().add(self.len).write(element) };
        self.len += 1;
        Ok(())
    }

    /// Appends a copy of `elements`.
    ///
    /// # Errors
    /// As [`ManagedVec::reserve`].
    pub fn extend_from_slice(&mut self, elements: &[T]) -> Result<()> {
        self.reserve(elements.len())?;
        // SAFETY: there is room for as many elements more, in memory that nothing else borrows.
        unsafe {
            let end = self.buffer.ptr().add(self.len);
            core::ptr::copy_nonoverlapping(elements.as_ptr(), end, elements.len());
        }
        self.len += elements.len();
        Ok(())
    }

    /// Makes room for `more` elements, and for twice the present capacity if that can be had.
    ///
    /// # Errors
    /// As [`ManagedVec::with_capacity`], and [`Error::Busy`] if a forgotten guard has the memory. The vector is then
    /// what it was.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        let bytes = usize::MAX;
        let need = self.len.checked_add(more).ok_or(Error::NoMemory { what: "a ManagedVec", bytes })?;
        let capacity = self.buffer.capacity();
        if need <= capacity {
            return Ok(());
        }
        match self.buffer.grow(need.max(capacity.saturating_mul(2))) {
            Err(Error::NoMemory { .. }) => self.buffer.grow(need),
            done => done,
        }
    }

    /// How many elements there is room for.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Keeps the first `len` elements, all if there are no more. Gives no memory back.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Ends growing. The block stays where and as it is, spare room included: pages that were never touched cost nothing.
    pub fn into_boxed(self) -> Managed<[T]> {
        Managed::from_buffer(self.buffer, self.len)
    }
}

impl<T: Pod> Default for ManagedVec<T> {
    fn default() -> Self {
        ManagedVec::new()
    }
}

impl<T> Deref for ManagedVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` elements are initialized. Kernels that were queued while the memory was borrowed may
        // still be to run, but no access sees it: the runtime lets each wait until they are done, in the fault handler.
        unsafe { core::slice::from_raw_parts(self.buffer.ptr(), self.len) }
    }
}

impl<T> DerefMut for ManagedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; a kernel that reads has a copy of its own, which writes do not reach.
        unsafe { core::slice::from_raw_parts_mut(self.buffer.ptr(), self.len) }
    }
}

impl<T: fmt::Debug> fmt::Debug for ManagedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<'a, T> IntoIterator for &'a ManagedVec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut ManagedVec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
