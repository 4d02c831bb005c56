//! `cuCtx*` and the primary contexts.

use hmmrt_double_core::argument::Out;
use hmmrt_double_core::device;
use hmmrt_double_core::{Error, entries, streams};

use crate::current;

entries! {
    Init fn cuDevicePrimaryCtxRetain(_, out: Out<u64>, number: i32) {
        out.check()?;
        out.put(current::retain(device::get(number)?))
    }

    Init fn cuDevicePrimaryCtxRelease_v2(frame, number: i32) {
        let device = device::get(number)?;
        if current::release(device)? {
            frame.unlock();
            device.wait();
            frame.relock();
            // Somebody may have retained it meanwhile.
            if current::primary(device).count == 0 {
                current::end(device);
            }
        }
        Ok(())
    }

    Init fn cuDevicePrimaryCtxReset_v2(frame, number: i32) {
        let device = device::get(number)?;
        frame.unlock();
        device.wait();
        frame.relock();
        current::end(device);
        Ok(())
    }

    Init fn cuDevicePrimaryCtxGetState(_, number: i32, flags: Out<u32>, active: Out<i32>) {
        let state = current::primary(device::get(number)?);
        flags.put(0)?;
        active.put(i32::from(state.count != 0))
    }

    Init fn cuDevicePrimaryCtxSetFlags_v2(_, number: i32, _flags: u32) {
        device::get(number).map(drop)
    }

    Init fn cuCtxCreate_v2(_, out: Out<u64>, _flags: u32, number: i32) {
        out.check()?;
        let context = current::create(device::get(number)?);
        current::push(context)?;
        out.put(context)
    }

    Init fn cuCtxDestroy_v2(_, context: u64) {
        current::destroy(context)
    }

    Init fn cuCtxPushCurrent_v2(_, context: u64) {
        current::push(context)
    }

    Init fn cuCtxPopCurrent_v2(_, out: Out<u64>) {
        out.put_if(current::pop()?);
        Ok(())
    }

    Init fn cuCtxSetCurrent(_, context: u64) {
        current::set(context)
    }

    Init fn cuCtxGetCurrent(_, out: Out<u64>) {
        out.put(current::top())
    }

    Context fn cuCtxGetDevice(frame, out: Out<i32>) {
        out.put(frame.device()?.number as i32)
    }

    Context fn cuCtxGetApiVersion(_, context: u64, out: Out<u32>) {
        if context != 0 {
            current::device_of(context)?;
        }
        out.put(3020)
    }

    Context fn cuCtxGetFlags(_, out: Out<u32>) {
        out.put(0)
    }

    Health fn cuCtxSynchronize(frame) {
        streams::synchronize_all(frame)
    }

    Health fn cuCtxEnablePeerAccess(frame, peer: u64, flags: u32) {
        let (device, peer) = (frame.device()?, current::device_of(peer)?);
        if flags != 0 || peer.number == device.number {
            return Err(Error::INVALID_VALUE);
        }
        // CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED
        if device.reach(peer.number, true) { Ok(()) } else { Err(Error(704)) }
    }

    Health fn cuCtxDisablePeerAccess(frame, peer: u64) {
        let (device, peer) = (frame.device()?, current::device_of(peer)?);
        // CUDA_ERROR_PEER_ACCESS_NOT_ENABLED
        if device.reach(peer.number, false) { Ok(()) } else { Err(Error(705)) }
    }
}
