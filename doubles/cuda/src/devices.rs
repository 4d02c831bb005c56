//! `cuInit`, the driver's version, and what can be asked about devices.

use hmmrt_double_core::argument::{Out, Room};
use hmmrt_double_core::{Error, Result, device, entries, process, settings};

/// Driver 570's.
const VERSION: i32 = 12080;

/// `CU_DEVICE_ATTRIBUTE_*` by number; what is not here is 0.
fn attribute(number: i32) -> Result<i32> {
    let settings = settings::get();
    Ok(match number {
        1 => 1024,                           // MAX_THREADS_PER_BLOCK
        2 | 3 => 1024,                       // MAX_BLOCK_DIM_X, Y
        4 => 64,                             // MAX_BLOCK_DIM_Z
        5 => i32::MAX,                       // MAX_GRID_DIM_X
        6 | 7 => 65535,                      // MAX_GRID_DIM_Y, Z
        8 => 48 << 10,                       // MAX_SHARED_MEMORY_PER_BLOCK
        10 => 32,                            // WARP_SIZE
        16 => 4,                             // MULTIPROCESSOR_COUNT
        19 => 1,                             // CAN_MAP_HOST_MEMORY
        31 => 1,                             // CONCURRENT_KERNELS
        39 => 2048,                          // MAX_THREADS_PER_MULTIPROCESSOR
        40 => 2,                             // ASYNC_ENGINE_COUNT
        41 => 1,                             // UNIFIED_ADDRESSING
        75 => 9,                             // COMPUTE_CAPABILITY_MAJOR
        76 => 0,                             // COMPUTE_CAPABILITY_MINOR
        83 => 1,                             // MANAGED_MEMORY
        88..=89 => settings.pageable.into(), // PAGEABLE_MEMORY_ACCESS, CONCURRENT_MANAGED_ACCESS
        91 => 1,                             // CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
        97 => 227 << 10,                     // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        99 => 1,                             // HOST_REGISTER_SUPPORTED
        100 => settings.pageable.into(),     // PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES
        102 => settings.vmm.into(),          // VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        n if (1..200).contains(&n) => 0,
        _ => return Err(Error::INVALID_VALUE),
    })
}

entries! {
    Process fn cuInit(_, flags: u32) {
        if flags == 0 { process::init() } else { Err(Error::INVALID_VALUE) }
    }

    Nothing fn cuDriverGetVersion(_, out: Out<i32>) {
        out.put(settings::get().version.unwrap_or(VERSION))
    }

    Init fn cuDeviceGetCount(_, out: Out<i32>) {
        out.put(device::all().len() as i32)
    }

    Init fn cuDeviceGet(_, out: Out<i32>, number: i32) {
        out.put(device::get(number)?.number as i32)
    }

    Init fn cuDeviceGetName(_, name: Room, size: i32, number: i32) {
        device::get(number)?;
        name.put(usize::try_from(size).unwrap_or(0), &format!("libhmmrt CUDA double {number}"))
    }

    Init fn cuDeviceGetUuid(_, out: Room, number: i32) {
        uuid(&out, number)
    }

    Init fn cuDeviceGetUuid_v2(_, out: Room, number: i32) {
        uuid(&out, number)
    }

    Init fn cuDeviceTotalMem_v2(_, out: Out<usize>, number: i32) {
        out.put(device::get(number)?.total() as usize)
    }

    Init fn cuDeviceGetAttribute(_, out: Out<i32>, name: i32, number: i32) {
        let device = device::get(number)?;
        out.check()?;
        match name {
            33 => out.put(device.number as i32 + 1), // PCI_BUS_ID
            name => out.put(attribute(name)?),
        }
    }

    Init fn cuDeviceComputeCapability(_, major: Out<i32>, minor: Out<i32>, number: i32) {
        device::get(number)?;
        major.put(attribute(75)?)?;
        minor.put(attribute(76)?)
    }

    Init fn cuDeviceCanAccessPeer(_, out: Out<i32>, from: i32, to: i32) {
        let (from, to) = (device::get(from)?, device::get(to)?);
        out.put(i32::from(from.number != to.number))
    }
}

fn uuid(out: &Room, number: i32) -> Result {
    device::get(number)?;
    let mut bytes = *b"hmmrt double\0\0\0\0";
    bytes[15] = number as u8;
    out.put_bytes(&bytes)
}
