//! A stream as a value that ends with it. API context only.

use super::{Device, Kernel};
use crate::error::{Error, Result};
use crate::guard::{self, AccessGuard, Arg, Use};
use crate::launch::{LaunchArg, LaunchConfig};
use crate::raw;
use crate::stream::StreamId;

/// A queue of a device's work, done in order. Comes from [`Device::stream`] or [`Device::default_stream`].
///
/// Dropping a stream waits for its work and ends it; dropping one that stands for a device's default stream does
/// nothing. Streams can be shared between threads.
#[derive(Debug)]
pub struct Stream {
    device: Device,
    id: StreamId,
}

impl Stream {
    pub(crate) fn owned(device: Device, id: StreamId) -> Stream {
        Stream { device, id }
    }

    /// Its device.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Its number for the functions of [`raw`]; valid as long as `self`.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Waits until all that was queued is done. On a default stream: on the default streams of all devices.
    ///
    /// Results need no call of this: a CPU access to a page that a kernel may still be writing waits by itself.
    ///
    /// # Errors
    /// [`Error::Device`] if the device reports one, [`Error::BadHandle`] for a stream from before a shutdown.
    pub fn synchronize(&self) -> Result<()> {
        raw::stream_synchronize(self.id)
    }

    /// Makes memory resident on the device and keeps it there for device work that the program queues by other means:
    /// a driver's own calls, or kernels that find pointers inside the data. A launch does this by itself.
    ///
    /// The guard borrows the memory, mutably where the device writes it, so the CPU can't use it meanwhile; see
    /// [`AccessGuard`]. Memory in [`Use::write`] is given up: what the device does not write has any value afterwards.
    ///
    /// A stream has one guard at a time: acquire all of it in one call, or use another stream.
    ///
    /// ```
    /// use hmmrt::{ManagedVec, Runtime, Use};
    ///
    /// let stream = Runtime::new()?.device(0)?.stream()?;
    /// let x = ManagedVec::from_slice(&[1_u32; 1024])?;
    /// let mut y = ManagedVec::<u32>::zeroed(1024)?;
    ///
    /// let guard = stream.acquire(vec![Use::read(&x), Use::read_write(&mut y)])?;
    /// let (from, to) = (guard.device_ptr(0)?, guard.device_ptr(1)?); // for device code
    /// assert!(!from.is_null() && from != to);
    /// guard.release()?; // the device is done with it when the stream gets here
    /// assert_eq!(y[0], 0);
    /// # Ok::<(), hmmrt::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotManaged`] and [`Error::OutOfRange`] for memory that is not managed, [`Error::Busy`] if the stream
    /// has a guard already, or if the memory is pinned or acquired elsewhere, [`Error::DeviceMemory`] if it does not
    /// fit. Nothing is acquired then.
    pub fn acquire<'a>(&'a self, uses: Vec<Use<'a>>) -> Result<AccessGuard<'a>> {
        AccessGuard::acquire(self, uses)
    }

    /// Queues a kernel: acquires what the arguments name, launches, and releases. Returns once it is queued.
    ///
    /// `config.stream` is not looked at: the kernel runs on this stream. Its grid and block are counts, see
    /// [`LaunchConfig`].
    ///
    /// The borrows in `args` end when this returns, although the kernel runs later. That is sound: until it is done,
    /// every CPU access to pages that it may write waits, what it reads is a copy that CPU writes do not reach, and
    /// freeing waits for it.
    ///
    /// # Safety
    /// `args` fit the kernel's parameters in number, order and type. The kernel touches no more memory than `args`
    /// name, in the ways that they say, and no managed memory by its host address. Memory that it writes holds valid
    /// values of its type afterwards, which any bytes are.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the kernel is another device's, if the configuration is not allowed, or if the
    /// arguments do not fit where the parameters are known; else as [`Stream::acquire`].
    pub unsafe fn launch(&self, kernel: &Kernel, config: &LaunchConfig, args: &mut [Arg<'_>]) -> Result<()> {
        if kernel.device != self.device {
            return Err(Error::InvalidArgument { arg: "kernel", why: "it is not of the stream's device" });
        }
        let config = LaunchConfig { stream: self.id, ..*config };
        let args: Vec<LaunchArg> = args.iter().map(|arg| arg.get()).collect();
        // SAFETY: the caller's promise; values are borrowed until the call has copied them.
        unsafe { raw::launch(kernel.id, &config, &args) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.id != StreamId::DEFAULT {
            // Fails only when the stream is gone already: after a shutdown, or in a forked child.
            let _ = raw::stream_destroy(self.id);
            guard::stream_ended(self);
        }
    }
}
