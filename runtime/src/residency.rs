//! Where memory is, and should be: the trait [`Residency`] on slices, and with it on everything that derefs to one. Each
//! method is one call of [`crate::raw`]. API context only.

use crate::addr::PAGE;
use crate::error::{Error, Result};
use crate::guard::PinGuard;
use crate::handle::Stream;
use crate::query::Page;
use crate::raw::{self, Advice, HMM_HOST};
use bytemuck::Pod;

/// A place where pages can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// The host.
    Host,
    /// The device with this number.
    Device(i32),
}

impl Location {
    /// As the functions of [`raw`] take it. A negative device number is not the host, but no device.
    fn number(self) -> Result<i32> {
        match self {
            Location::Host => Ok(HMM_HOST),
            Location::Device(device) if device < 0 => {
                Err(Error::NoDevice { device, count: raw::device_count()? })
            }
            Location::Device(device) => Ok(device),
        }
    }
}

/// Moving memory, and looking where it is. For slices of managed memory, and so for [`ManagedVec`](crate::ManagedVec)
/// and [`Managed`](crate::Managed); a part of either will do.
///
/// Moves are of whole pages of 4 KiB: all that the slice touches, also in part. Nothing here changes what a program
/// reads from the memory, so all of it takes `&self`.
///
/// Errors of all but `pages`: [`Error::NotManaged`] and [`Error::OutOfRange`] for memory that is not managed,
/// [`Error::NoDevice`] for a location that there is not. An empty slice is fine wherever it points.
///
/// ```
/// use hmmrt::{Location, ManagedVec, Page, Residency};
///
/// let x = ManagedVec::<u32>::zeroed(1 << 20)?;
/// assert_eq!(x.migrate(Location::Device(0))?, 1024); // pages of 4 KiB
/// assert_eq!(x[..10].pages()?, [Page { flags: Page::DEVICE | Page::READ | Page::WRITE, device: 0 }]);
/// assert_eq!(x[0], 0); // comes home
/// # Ok::<(), hmmrt::Error>(())
/// ```
pub trait Residency {
    /// Moves the pages to `to` and returns when they are there; says how many were not before. Waits for kernels that
    /// may be writing them.
    ///
    /// # Errors
    /// Beside the common ones, [`Error::Busy`] if a page is pinned or acquired, [`Error::DeviceMemory`] if the device
    /// is full; pages before that may have moved.
    fn migrate(&self, to: Location) -> Result<usize>;

    /// Starts moving the pages to `to`, in the order of `stream`, and returns at once. A hint: pages that are in use or
    /// pinned stay. With a default stream it goes in the order of the default stream of the device that takes them, or
    /// gives them.
    ///
    /// # Errors
    /// The common ones, and [`Error::BadHandle`].
    fn prefetch(&self, to: Location, stream: &Stream) -> Result<()>;

    /// Says how the memory will be used. Advice holds for the whole chunks of 2 MiB that the slice touches; `at` counts
    /// for [`Advice::PreferredLocation`] and [`Advice::AccessedBy`] only.
    ///
    /// # Errors
    /// The common ones.
    fn advise(&self, what: Advice, at: Location) -> Result<()>;

    /// What each page is, one entry for each that the slice touches, and nothing is moved by looking. Memory that is not
    /// managed may be asked as well.
    ///
    /// # Errors
    /// None that a slice can cause.
    fn pages(&self) -> Result<Vec<Page>>;

    /// Brings the pages home, writable, and keeps them there while the guard lives. Waits for kernels that may be
    /// writing them.
    ///
    /// # Errors
    /// Beside the common ones, [`Error::Busy`] if a page is acquired by this thread.
    fn pin(&self) -> Result<PinGuard<'_>>;
}

impl<T: Pod> Residency for [T] {
    fn migrate(&self, to: Location) -> Result<usize> {
        raw::migrate(self.as_ptr().cast(), size_of_val(self), to.number()?)
    }

    fn prefetch(&self, to: Location, stream: &Stream) -> Result<()> {
        raw::prefetch(self.as_ptr().cast(), size_of_val(self), to.number()?, stream.id())
    }

    fn advise(&self, what: Advice, at: Location) -> Result<()> {
        raw::advise(self.as_ptr().cast(), size_of_val(self), what, at.number()?)
    }

    fn pages(&self) -> Result<Vec<Page>> {
        let (start, len) = (self.as_ptr().addr(), size_of_val(self));
        if len == 0 {
            return Ok(Vec::new());
        }
        let count = (start % PAGE + len).div_ceil(PAGE);
        let mut pages = vec![Page::default(); count];
        raw::query(self.as_ptr().cast(), len, &mut pages)?;
        Ok(pages)
    }

    fn pin(&self) -> Result<PinGuard<'_>> {
        PinGuard::pin(bytemuck::cast_slice(self))
    }
}
