//! Managed memory and the crate [`hip-sys`](::hip_sys): `hipStream_t` as a stream, `hipDeviceptr_t` of acquired memory. Its
//! functions are the HIP runtime's own, so everything that uses what comes from here is `unsafe`. API context only.

use super::common::{Native, adopt, part};
use crate::error::Result;
use crate::guard::AccessGuard;
use crate::handle::{Device, Stream};
use ::hip_sys::hiprt::{hipDeviceptr_t, hipStream_t};
use core::ops::Deref;

const HIP: Native =
    Native { backend: "hip", why: "hip-sys speaks to AMD's runtime: the device must be of the hip backend" };

/// A `hipStream_t` as a [`Stream`]. Dropping it waits for its work and leaves the native stream alone.
///
/// ```no_run
/// use hip_sys::hiprt::{hipError_t, hipMemcpyDtoDAsync, hipStream_t, hipStreamCreate, hipStreamDestroy};
/// use hmmrt::interop::hip_sys::HipStream;
/// use hmmrt::{ManagedVec, Runtime, Use};
///
/// let device = Runtime::new()?.device(0)?;
/// let from = ManagedVec::from_slice(&[7_u32; 4096])?;
/// let mut to = ManagedVec::<u32>::zeroed(4096)?;
///
/// let mut theirs: hipStream_t = std::ptr::null_mut();
/// // SAFETY: writes a handle.
/// assert_eq!(unsafe { hipStreamCreate(&mut theirs) }, hipError_t::hipSuccess);
/// // SAFETY: a live stream, destroyed below, when `stream` is gone.
/// let stream = unsafe { HipStream::new(&device, theirs)? };
/// let guard = stream.acquire(vec![Use::read(&from), Use::write(&mut to)])?;
/// let (x, y) = (stream.pointer::<u32>(&guard, 0)?, stream.pointer::<u32>(&guard, 1)?);
/// // SAFETY: both are 16 KiB of device memory until the release.
/// let copied = unsafe { hipMemcpyDtoDAsync(y, x, 16 << 10, theirs) };
/// guard.release()?;
/// assert_eq!(copied, hipError_t::hipSuccess);
/// assert_eq!(to[4095], 7); // waits for the copy
///
/// drop(stream);
/// // SAFETY: nobody uses it any more.
/// unsafe { hipStreamDestroy(theirs) };
/// # Ok::<(), hmmrt::Error>(())
/// ```
#[derive(Debug)]
pub struct HipStream {
    stream: Stream,
}

impl HipStream {
    /// Takes a stream, NULL for the default one, of the HIP device with the same number.
    ///
    /// # Safety
    /// `theirs` is NULL or a live stream of that device, and lives until the result is dropped.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) if the device is not of the hip backend, and for
    /// `hipStreamPerThread`; what [`raw::stream_from_native`](crate::raw::stream_from_native) fails with.
    pub unsafe fn new(device: &Device, theirs: hipStream_t) -> Result<HipStream> {
        // SAFETY: the caller's promise.
        Ok(HipStream { stream: unsafe { adopt(device, &HIP, theirs.cast())? } })
    }

    /// The device address of use number `index` of the guard, as elements of `T`. NULL for empty memory.
    ///
    /// Only device work that is queued on this stream before the guard's release may use it, in the way that the memory
    /// was acquired for.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the guard is of another stream, if it has fewer uses,
    /// or if the memory is not aligned for `T` or not a whole number of them.
    pub fn pointer<T>(&self, guard: &AccessGuard<'_>, index: usize) -> Result<hipDeviceptr_t> {
        let (at, _) = part::<T>(&self.stream, guard, index, false)?;
        Ok(core::ptr::with_exposed_provenance_mut(at as usize))
    }
}

impl Deref for HipStream {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.stream
    }
}
