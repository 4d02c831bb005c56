//! A device as a value: its number. API context only.

use super::{Module, Stream};
use crate::device::DeviceInfo;
use crate::error::Result;
use crate::raw;
use crate::stream::StreamId;

/// A device: where pages can be and kernels run. Comes from [`Runtime::device`](crate::Runtime::device).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    pub(super) number: i32,
}

impl Device {
    /// Its number, as in [`Location::Device`](crate::Location::Device).
    pub fn number(&self) -> i32 {
        self.number
    }

    /// Its name, its backend, and its memory in bytes, as it is now.
    ///
    /// # Errors
    /// [`Error::Shutdown`](crate::Error::Shutdown) and [`Error::Forked`](crate::Error::Forked), as every call below.
    pub fn info(&self) -> Result<DeviceInfo> {
        raw::device_info(self.number)
    }

    /// Makes a stream. Work on different streams overlaps.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) beyond 1,016 streams,
    /// [`Error::Device`](crate::Error::Device) if the device has none left.
    pub fn stream(&self) -> Result<Stream> {
        Ok(Stream::owned(*self, raw::stream_create(self.number)?))
    }

    /// The stream that was made with the device and lives as long as it.
    pub fn default_stream(&self) -> Stream {
        Stream::owned(*self, StreamId::DEFAULT)
    }

    /// The module of the built-in kernels (see `kernels/README.md`, and [`crate::kernels`] for typed calls of them).
    ///
    /// # Errors
    /// As [`Device::info`].
    pub fn builtin_module(&self) -> Result<Module> {
        Ok(Module { device: *self, id: raw::module_builtin(self.number)? })
    }

    /// Loads device code: PTX text, a cubin or a fat binary for CUDA; a code object, or source, for HIP. The host backend has
    /// [`Kernel::from_function`](crate::Kernel::from_function) instead.
    ///
    /// # Safety
    /// The image is what it says it is: drivers trust it.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) with the driver's own code for what it does not take,
    /// [`Error::Unsupported`](crate::Error::Unsupported) on the host backend.
    pub unsafe fn load_module(&self, image: &[u8]) -> Result<Module> {
        // SAFETY: the caller's promise.
        Ok(Module { device: *self, id: unsafe { raw::module_load(self.number, image)? } })
    }
}
