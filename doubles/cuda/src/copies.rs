//! Copies and fills. A function's name says which side is the host's, but a pointer into the device's address space is
//! taken for device memory on any side.

use core::ffi::c_void;
use std::sync::Arc;

use hmmrt_double_core::argument::number;
use hmmrt_double_core::call::Frame;
use hmmrt_double_core::copy::{Side, copy, fill};
use hmmrt_double_core::device::Device;
use hmmrt_double_core::stream::Stream;
use hmmrt_double_core::{Result, entries, streams};

use crate::current::device_of;

/// The default stream, in which copies run that are complete when the call ends.
fn now(frame: &Frame) -> Result<(Arc<Stream>, &'static Device, bool)> {
    Ok((frame.device()?.legacy()?, frame.device()?, true))
}

fn later(frame: &Frame, stream: u64) -> Result<(Arc<Stream>, &'static Device, bool)> {
    let stream = streams::stream(frame, stream)?;
    let device = stream.device;
    Ok((stream, device, false))
}

type In = (Arc<Stream>, &'static Device, bool);

fn copy_in(frame: &Frame, (stream, device, complete): In, to: u64, from: u64, n: u64) -> Result {
    let (to, from) = (Side::device(to, n, device)?, Side::any(from, n, device)?);
    copy(frame, &stream, to, from, n, complete)
}

fn copy_out(frame: &Frame, (stream, device, complete): In, to: u64, from: u64, n: u64) -> Result {
    let (to, from) = (Side::any(to, n, device)?, Side::device(from, n, device)?);
    copy(frame, &stream, to, from, n, complete)
}

fn copy_within(frame: &Frame, (stream, device, complete): In, to: u64, from: u64, n: u64) -> Result {
    let (to, from) = (Side::device(to, n, device)?, Side::device(from, n, device)?);
    copy(frame, &stream, to, from, n, complete)
}

fn copy_any(frame: &Frame, (stream, device, complete): In, to: u64, from: u64, n: u64) -> Result {
    let (to, from) = (Side::any(to, n, device)?, Side::any(from, n, device)?);
    copy(frame, &stream, to, from, n, complete)
}

fn copy_peer(frame: &Frame, (stream, _, complete): In, to: (u64, u64), from: (u64, u64), n: u64) -> Result {
    let to = Side::device(to.0, n, device_of(to.1)?)?;
    let from = Side::device(from.0, n, device_of(from.1)?)?;
    copy(frame, &stream, to, from, n, complete)
}

entries! {
    Health fn cuMemcpy(frame, to: u64, from: u64, n: usize) {
        copy_any(frame, now(frame)?, to, from, n as u64)
    }

    Context fn cuMemcpyAsync(frame, to: u64, from: u64, n: usize, stream: u64) {
        copy_any(frame, later(frame, stream)?, to, from, n as u64)
    }

    Health fn cuMemcpyHtoD_v2(frame, to: u64, from: *const c_void, n: usize) {
        copy_in(frame, now(frame)?, to, number(from), n as u64)
    }

    Context fn cuMemcpyHtoDAsync_v2(frame, to: u64, from: *const c_void, n: usize, stream: u64) {
        copy_in(frame, later(frame, stream)?, to, number(from), n as u64)
    }

    Health fn cuMemcpyDtoH_v2(frame, to: *mut c_void, from: u64, n: usize) {
        copy_out(frame, now(frame)?, number(to), from, n as u64)
    }

    Context fn cuMemcpyDtoHAsync_v2(frame, to: *mut c_void, from: u64, n: usize, stream: u64) {
        copy_out(frame, later(frame, stream)?, number(to), from, n as u64)
    }

    Health fn cuMemcpyDtoD_v2(frame, to: u64, from: u64, n: usize) {
        copy_within(frame, now(frame)?, to, from, n as u64)
    }

    Context fn cuMemcpyDtoDAsync_v2(frame, to: u64, from: u64, n: usize, stream: u64) {
        copy_within(frame, later(frame, stream)?, to, from, n as u64)
    }

    Health fn cuMemcpyPeer(frame, to: u64, to_context: u64, from: u64, from_context: u64, n: usize) {
        copy_peer(frame, now(frame)?, (to, to_context), (from, from_context), n as u64)
    }

    Context fn cuMemcpyPeerAsync(
        frame,
        to: u64,
        to_context: u64,
        from: u64,
        from_context: u64,
        n: usize,
        stream: u64,
    ) {
        copy_peer(frame, later(frame, stream)?, (to, to_context), (from, from_context), n as u64)
    }

    Health fn cuMemsetD8_v2(frame, at: u64, value: u8, n: usize) {
        fill(frame, &now(frame)?.0, at, n as u64, &[value], false)
    }

    Health fn cuMemsetD16_v2(frame, at: u64, value: u16, n: usize) {
        fill(frame, &now(frame)?.0, at, n as u64, &value.to_ne_bytes(), false)
    }

    Health fn cuMemsetD32_v2(frame, at: u64, value: u32, n: usize) {
        fill(frame, &now(frame)?.0, at, n as u64, &value.to_ne_bytes(), false)
    }

    Context fn cuMemsetD8Async(frame, at: u64, value: u8, n: usize, stream: u64) {
        fill(frame, &later(frame, stream)?.0, at, n as u64, &[value], false)
    }

    Context fn cuMemsetD32Async(frame, at: u64, value: u32, n: usize, stream: u64) {
        fill(frame, &later(frame, stream)?.0, at, n as u64, &value.to_ne_bytes(), false)
    }
}
