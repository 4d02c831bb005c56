//! Copies and fills. As on AMD's driver, a copy lies in one reservation or allocation on each side.

use core::ffi::c_void;

use hmmrt_double_core::argument::number;
use hmmrt_double_core::call::Frame;
use hmmrt_double_core::copy::{Side, copy, fill};
use hmmrt_double_core::device::{self, Device};
use hmmrt_double_core::space;
use hmmrt_double_core::{Error, Result, entries, streams};

/// `hipMemcpyKind`.
const IN: i32 = 1;
const OUT: i32 = 2;
const WITHIN: i32 = 3;
/// Whatever the pointers are.
const DEFAULT: i32 = 4;

/// A side that has to be a device's, or may be anything.
fn side(at: u64, n: u64, device: &'static Device, known: bool) -> Result<Side> {
    let side = if known { Side::device(at, n, device)? } else { Side::any(at, n, device)? };
    match side {
        Side::Device(..) if !space::in_one(at, n) => Err(Error::INVALID_VALUE),
        side => Ok(side),
    }
}

/// Copies in a stream; waits if the function is one that does.
fn go(frame: &Frame, stream: Option<u64>, to: u64, from: u64, n: u64, kind: i32) -> Result {
    // hipErrorInvalidMemcpyDirection
    if !(0..=DEFAULT).contains(&kind) {
        return Err(Error(21));
    }
    let complete = stream.is_none();
    let stream = streams::stream(frame, stream.unwrap_or(0))?;
    let to = side(to, n, stream.device, matches!(kind, IN | WITHIN))?;
    let from = side(from, n, stream.device, matches!(kind, OUT | WITHIN))?;
    copy(frame, &stream, to, from, n, complete)
}

fn set(frame: &Frame, stream: u64, at: u64, n: u64, pattern: &[u8]) -> Result {
    let stream = streams::stream(frame, stream)?;
    fill(frame, &stream, at, n, pattern, false)
}

entries! {
    Health fn hipMemcpy(frame, to: u64, from: u64, n: usize, kind: i32) {
        go(frame, None, to, from, n as u64, kind)
    }

    Context fn hipMemcpyAsync(frame, to: u64, from: u64, n: usize, kind: i32, stream: u64) {
        go(frame, Some(stream), to, from, n as u64, kind)
    }

    Health fn hipMemcpyHtoD(frame, to: u64, from: *const c_void, n: usize) {
        go(frame, None, to, number(from), n as u64, IN)
    }

    Context fn hipMemcpyHtoDAsync(frame, to: u64, from: *const c_void, n: usize, stream: u64) {
        go(frame, Some(stream), to, number(from), n as u64, IN)
    }

    Health fn hipMemcpyDtoH(frame, to: *mut c_void, from: u64, n: usize) {
        go(frame, None, number(to), from, n as u64, OUT)
    }

    Context fn hipMemcpyDtoHAsync(frame, to: *mut c_void, from: u64, n: usize, stream: u64) {
        go(frame, Some(stream), number(to), from, n as u64, OUT)
    }

    Health fn hipMemcpyDtoD(frame, to: u64, from: u64, n: usize) {
        go(frame, None, to, from, n as u64, WITHIN)
    }

    Context fn hipMemcpyDtoDAsync(frame, to: u64, from: u64, n: usize, stream: u64) {
        go(frame, Some(stream), to, from, n as u64, WITHIN)
    }

    Context fn hipMemcpyPeerAsync(
        frame,
        to: u64,
        to_device: i32,
        from: u64,
        from_device: i32,
        n: usize,
        stream: u64,
    ) {
        let to = side(to, n as u64, device::get(to_device)?, true)?;
        let from = side(from, n as u64, device::get(from_device)?, true)?;
        let stream = streams::stream(frame, stream)?;
        copy(frame, &stream, to, from, n as u64, false)
    }

    Health fn hipMemset(frame, at: u64, value: i32, n: usize) {
        set(frame, 0, at, n as u64, &[value as u8])
    }

    Context fn hipMemsetAsync(frame, at: u64, value: i32, n: usize, stream: u64) {
        set(frame, stream, at, n as u64, &[value as u8])
    }

    Health fn hipMemsetD8(frame, at: u64, value: u8, n: usize) {
        set(frame, 0, at, n as u64, &[value])
    }

    Context fn hipMemsetD8Async(frame, at: u64, value: u8, n: usize, stream: u64) {
        set(frame, stream, at, n as u64, &[value])
    }

    Context fn hipMemsetD32Async(frame, at: u64, value: i32, n: usize, stream: u64) {
        set(frame, stream, at, n as u64, &value.to_ne_bytes())
    }
}
