//! `hipInit`, versions, and what can be asked about devices. Attributes are numbered as since ROCm 6.

use hmmrt_double_core::argument::{Out, Room};
use hmmrt_double_core::{Error, Result, device, entries, process, settings, streams};

use crate::current;

/// ROCm 6.3's.
const VERSION: i32 = 60_342_134;

/// `hipDeviceAttribute*` by number; what is not here is 0.
fn attribute(number: i32) -> Result<i32> {
    let settings = settings::get();
    Ok(match number {
        2 => 2,                         // AsyncEngineCount
        3 => 1,                         // CanMapHostMemory
        4 => 1,                         // CanUseHostPointerForRegisteredMem
        8 => 1,                         // ConcurrentKernels
        9 => settings.pageable.into(),  // ConcurrentManagedAccess
        23 => 9,                        // ComputeCapabilityMajor
        24 => 1,                        // ManagedMemory
        26 | 27 | 28 | 56 => 1024,      // MaxBlockDimX, Y, Z, MaxThreadsPerBlock
        29 => i32::MAX,                 // MaxGridDimX
        30 | 31 => 65535,               // MaxGridDimY, Z
        57 => 2048,                     // MaxThreadsPerMultiProcessor
        63 => 4,                        // MultiprocessorCount
        65 => settings.pageable.into(), // PageableMemoryAccess
        66 => settings.pageable.into(), // PageableMemoryAccessUsesHostPageTables
        74 => 48 << 10,                 // MaxSharedMemoryPerBlock
        75 => 227 << 10,                // SharedMemPerBlockOptin
        85 => 1,                        // UnifiedAddressing
        87 => 64,                       // WarpSize
        89 => settings.vmm.into(),      // VirtualMemoryManagementSupported
        _ => match number {
            0..100 | 10000..10100 => 0,
            _ => return Err(Error::INVALID_VALUE),
        },
    })
}

entries! {
    Process fn hipInit(_, flags: u32) {
        if flags == 0 { process::init() } else { Err(Error::INVALID_VALUE) }
    }

    Nothing fn hipDriverGetVersion(_, out: Out<i32>) {
        out.put(settings::get().version.unwrap_or(VERSION))
    }

    Nothing fn hipRuntimeGetVersion(_, out: Out<i32>) {
        out.put(settings::get().version.unwrap_or(VERSION))
    }

    Init fn hipGetDeviceCount(_, out: Out<i32>) {
        out.put(device::all().len() as i32)
    }

    Init fn hipDeviceGet(_, out: Out<i32>, number: i32) {
        out.put(device::get(number)?.number as i32)
    }

    Init fn hipSetDevice(_, number: i32) {
        current::set(number)
    }

    Init fn hipGetDevice(frame, out: Out<i32>) {
        out.put(frame.device()?.number as i32)
    }

    Init fn hipDeviceGetName(_, name: Room, size: i32, number: i32) {
        device::get(number)?;
        name.put(usize::try_from(size).unwrap_or(0), &format!("libhmmrt HIP double {number}"))
    }

    Init fn hipDeviceGetUuid(_, out: Room, number: i32) {
        device::get(number)?;
        let mut bytes = *b"hmmrt double\0\0\0\0";
        bytes[15] = number as u8;
        out.put_bytes(&bytes)
    }

    Init fn hipDeviceTotalMem(_, out: Out<usize>, number: i32) {
        out.put(device::get(number)?.total() as usize)
    }

    Init fn hipDeviceGetAttribute(_, out: Out<i32>, name: i32, number: i32) {
        device::get(number)?;
        out.put(attribute(name)?)
    }

    Init fn hipDeviceCanAccessPeer(_, out: Out<i32>, from: i32, to: i32) {
        let (from, to) = (device::get(from)?, device::get(to)?);
        out.put(i32::from(from.number != to.number))
    }

    Health fn hipDeviceEnablePeerAccess(frame, peer: i32, flags: u32) {
        let (device, peer) = (frame.device()?, device::get(peer)?);
        if flags != 0 || peer.number == device.number {
            return Err(Error::INVALID_VALUE);
        }
        // hipErrorPeerAccessAlreadyEnabled
        if device.reach(peer.number, true) { Ok(()) } else { Err(Error(704)) }
    }

    Health fn hipDeviceSynchronize(frame) {
        streams::synchronize_all(frame)
    }
}
