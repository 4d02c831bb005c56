//! `Managed<[T]>`: an array of fixed length in managed memory. Not for the fault path; its pages may be anywhere.

use crate::buffer::{self, Buffer};
use crate::error::Result;
use crate::managed_vec::ManagedVec;
use bytemuck::Pod;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// An owner of managed memory of fixed length, as `Box<[T]>`: `Managed<[T]>` is what there is.
///
/// It derefs to a slice; all that is said of [`ManagedVec`] but growing holds for it.
///
/// ```
/// use hmmrt::{Managed, Residency};
///
/// let mut x = Managed::<[f32]>::zeroed(1000)?;
/// x[999] = 0.5;
/// assert_eq!(x.len(), 1000);
/// let pin = x.pin()?; // stays on the host
/// # Ok::<(), hmmrt::Error>(())
/// ```
pub struct Managed<T: ?Sized> {
    /// A block of our own, or nowhere if it has no bytes. Initialized.
    at: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: it owns its memory as `Box` does.
unsafe impl<T: Send + ?Sized> Send for Managed<T> {}
// SAFETY: as above.
unsafe impl<T: Sync + ?Sized> Sync for Managed<T> {}

impl<T: Pod> Managed<[T]> {
    /// `len` elements of all zeros. Fresh pages have no memory behind them until they are touched.
    ///
    /// # Errors
    /// [`Error::NoMemory`](crate::Error::NoMemory), also for more bytes than the address space has;
    /// [`Error::Shutdown`](crate::Error::Shutdown) and [`Error::Forked`](crate::Error::Forked).
    pub fn zeroed(len: usize) -> Result<Managed<[T]>> {
        Ok(ManagedVec::zeroed(len)?.into_boxed())
    }

    /// A copy of `elements`.
    ///
    /// # Errors
    /// As [`Managed::zeroed`].
    pub fn from_slice(elements: &[T]) -> Result<Managed<[T]>> {
        Ok(ManagedVec::from_slice(elements)?.into_boxed())
    }

    /// Takes a buffer over. Its first `len` elements are initialized.
    pub(crate) fn from_buffer(buffer: Buffer<T>, len: usize) -> Managed<[T]> {
        let at = if len == 0 { NonNull::dangling() } else { buffer.into_block() };
        Managed { at: NonNull::slice_from_raw_parts(at, len), _owns: PhantomData }
    }
}

impl<T: Pod> From<ManagedVec<T>> for Managed<[T]> {
    fn from(vec: ManagedVec<T>) -> Self {
        vec.into_boxed()
    }
}

impl<T: ?Sized> Deref for Managed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: as in `ManagedVec::deref`.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for Managed<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `ManagedVec::deref_mut`.
        unsafe { self.at.as_mut() }
    }
}

impl<T: ?Sized> Drop for Managed<T> {
    fn drop(&mut self) {
        // Made for plain old data only: no element has anything to drop.
        if size_of_val(&**self) != 0 {
            // SAFETY: our block; nobody borrows from it any more.
            unsafe { buffer::free(self.at.cast()) };
        }
    }
}

impl<T: fmt::Debug + ?Sized> fmt::Debug for Managed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<'a, T> IntoIterator for &'a Managed<[T]> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Managed<[T]> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
