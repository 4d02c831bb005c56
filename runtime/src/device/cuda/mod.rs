//! The CUDA backend: NVIDIA's driver, `libcuda.so.1`. What it shares with HIP is in `gpu`.

mod image;

use super::Device;
use super::gpu::{self, Driver, Features, Kind, Names, Vendor};
use crate::config::Config;
use crate::error::Result;

const NAMES: Names = Names {
    kind: Kind::Cuda,
    backend: "cuda",
    libraries: &["libcuda.so.1"],
    // PTX 6.0, which the built-in kernels are, came with it.
    oldest: (9000, "the driver is older than CUDA 9.0"),
    not_found: "libcuda.so.1, NVIDIA's driver, can't be loaded",
};

/// `CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED`.
pub(crate) const VIRTUAL_MEMORY_MANAGEMENT: i32 = 102;

#[derive(Clone)]
struct Cuda;

/// Whether the program has loaded the driver.
pub(super) fn is_loaded() -> bool {
    NAMES.is_loaded()
}

/// Opens the driver and its devices.
pub(super) fn open(config: &Config) -> Result<Vec<Box<dyn Device>>> {
    let driver = Driver::open(&NAMES, &config.cuda_library)?;
    gpu::open(driver, Cuda, config)
}

impl Vendor for Cuda {
    fn features(&self, driver: &Driver, device: i32) -> Features {
        Features { mapped: driver.attribute(device, VIRTUAL_MEMORY_MANAGEMENT) != 0, overlay: true }
    }
    fn image(&self, _: &'static Driver, given: &[u8]) -> Result<Vec<u8>> {
        Ok(image::terminated(given))
    }
    fn builtin(&self, _: &'static Driver) -> Result<Vec<u8>> {
        Ok(image::terminated(image::BUILTIN))
    }
}
