//! The HIP backend: AMD's runtime, `libamdhip64.so`, ROCm 5 to 7. What it shares with CUDA is in `gpu`.

mod image;

use super::Device;
use super::gpu::{self, Driver, Features, Kind, Names, Vendor};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::log::log;

const NAMES: Names = Names {
    kind: Kind::Hip,
    backend: "hip",
    libraries: &["libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"],
    oldest: (50_000_000, "the runtime is older than ROCm 5.0"),
    not_found: "libamdhip64.so, AMD's HIP runtime, can't be loaded",
};

/// `hipDeviceAttributeVirtualMemoryManagementSupported`, since ROCm 6.
pub(crate) const VIRTUAL_MEMORY_MANAGEMENT: i32 = 89;
/// `hipDeviceAttributePageableMemoryAccess`: the kernel migrates pages by itself (HSA_XNACK=1).
pub(crate) const PAGEABLE_MEMORY_ACCESS: i32 = 65;

#[derive(Clone)]
struct Hip;

/// Whether the program has loaded the runtime.
pub(super) fn is_loaded() -> bool {
    NAMES.is_loaded()
}

/// Opens the runtime and its devices.
pub(super) fn open(config: &Config) -> Result<Vec<Box<dyn Device>>> {
    let driver = Driver::open(&NAMES, &config.hip_library)?;
    gpu::open(driver, Hip, config)
}

/// As [`open`], but leaves the runtime alone where the kernel has no AMD GPU: it is large, and slow to find that out.
pub(super) fn open_if_any(config: &Config) -> Result<Vec<Box<dyn Device>>> {
    // The second is a GPU of the host's in WSL.
    let nodes = ["/dev/kfd", "/dev/dxg"];
    if config.hip_library.is_empty() && !nodes.iter().any(|node| std::path::Path::new(node).exists()) {
        return Err(Error::Unsupported {
            what: "the hip backend",
            why: "there is no /dev/kfd, AMD's kernel driver",
        });
    }
    open(config)
}

impl Vendor for Hip {
    fn features(&self, driver: &Driver, device: i32) -> Features {
        let mapped = driver.attribute(device, VIRTUAL_MEMORY_MANAGEMENT) != 0;
        let faults = driver.attribute(device, PAGEABLE_MEMORY_ACCESS) != 0;
        if faults {
            // The kernel maps host pages for the device at their own addresses: two mappings would meet there.
            log!(Info, "device {device}: XNACK is on, device addresses are not laid over host addresses");
        }
        Features { mapped, overlay: !faults }
    }
    fn image(&self, driver: &'static Driver, given: &[u8]) -> Result<Vec<u8>> {
        if image::is_source(given) { image::compile(driver, given) } else { Ok(given.to_vec()) }
    }
    fn builtin(&self, driver: &'static Driver) -> Result<Vec<u8>> {
        image::compile(driver, image::BUILTIN)
    }
}
