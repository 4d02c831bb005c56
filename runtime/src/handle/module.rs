//! A module as a value. API context only.

use super::{Device, Kernel};
use crate::error::Result;
use crate::launch::ModuleId;
use crate::raw;

/// Kernels that were loaded together. Comes from [`Device::builtin_module`] or [`Device::load_module`]; valid until the runtime is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    pub(super) device: Device,
    pub(super) id: ModuleId,
}

impl Module {
    /// The kernel with this name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is none,
    /// [`Error::BadHandle`](crate::Error::BadHandle) for a module from before a shutdown.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        Ok(Kernel { device: self.device, id: raw::kernel_get(self.id, name)? })
    }

    /// Its device.
    pub fn device(&self) -> Device {
        self.device
    }
}
