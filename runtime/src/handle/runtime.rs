//! The process-wide runtime as a value: the way to the devices. API context only.

use super::Device;
use crate::error::{Error, Result};
use crate::raw;

/// The runtime of this process, running. There is one; every `Runtime` stands for it, and dropping one changes nothing.
///
/// Managed memory does not need it: the first allocation starts the runtime by itself.
///
/// ```
/// let runtime = hmmrt::Runtime::new()?;
/// for device in runtime.devices() {
///     println!("{}: {}", device.number(), device.info()?.name);
/// }
/// assert_eq!(runtime.device(-5).unwrap_err().code(), -12); // there is no such device
/// # Ok::<(), hmmrt::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    devices: i32,
}

impl Runtime {
    /// Starts the runtime with the environment's settings unless it runs already, and opens its devices.
    /// [`raw::init`], called before, starts it with other settings; [`raw::shutdown`] ends it.
    ///
    /// # Errors
    /// [`Error::Config`] for an `HMMRT_*` variable that is not understood, [`Error::Unsupported`] for a backend that
    /// this release lacks, [`Error::Shutdown`] after [`raw::shutdown`], [`Error::Forked`] in a forked child, and what
    /// opening a device fails with.
    pub fn new() -> Result<Runtime> {
        let devices = raw::device_count()?;
        Ok(Runtime { devices: i32::try_from(devices).unwrap_or(i32::MAX) })
    }

    /// The device with this number, from 0.
    ///
    /// # Errors
    /// [`Error::NoDevice`].
    pub fn device(&self, number: i32) -> Result<Device> {
        if (0..self.devices).contains(&number) {
            Ok(Device { number })
        } else {
            Err(Error::NoDevice { device: number, count: self.devices as usize })
        }
    }

    /// All devices, by number.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = Device> + use<> {
        (0..self.devices).map(|number| Device { number })
    }
}
