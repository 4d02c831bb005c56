//! A kernel as a value. API context only.

use super::Device;
use crate::error::Result;
use crate::launch::{HostFunction, KernelId};
use crate::raw;

/// A kernel of one device, launched by [`Stream::launch`](crate::Stream::launch). Comes from
/// [`Module::kernel`](crate::Module::kernel); valid until the runtime is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub(super) device: Device,
    pub(super) id: KernelId,
}

impl Kernel {
    /// Makes a kernel of a function of this program. Host backend only.
    ///
    /// A launch calls it once, on the stream's thread, with the launch's configuration and a pointer to each argument;
    /// arguments that are managed memory are already device addresses.
    ///
    /// # Safety
    /// Whenever it is launched, the function takes its arguments as the launch passes them, uses memory as the launch
    /// says, touches no managed memory by its host address, and does not unwind.
    ///
    /// # Errors
    /// [`Error::NoDevice`](crate::Error::NoDevice) after a restart with fewer devices, and
    /// [`Error::Shutdown`](crate::Error::Shutdown).
    pub unsafe fn from_function(device: &Device, function: HostFunction) -> Result<Kernel> {
        // SAFETY: the caller's promise.
        let id = unsafe { raw::kernel_from_function(device.number, function)? };
        Ok(Kernel { device: *device, id })
    }

    /// Its device.
    pub fn device(&self) -> Device {
        self.device
    }
}
