//! What the driver makes of a pointer: `cuPointerGetAttribute(s)`, `cuMemGetAddressRange`.

use core::ffi::c_void;

use hmmrt_double_core::argument::{In, Out};
use hmmrt_double_core::host::Kind;
use hmmrt_double_core::space::{self, Found};
use hmmrt_double_core::{Error, Result, entries};

use crate::current;

const CONTEXT: i32 = 1;
const MEMORY_TYPE: i32 = 2;
const DEVICE_POINTER: i32 = 3;
const HOST_POINTER: i32 = 4;
const IS_MANAGED: i32 = 8;
const DEVICE_ORDINAL: i32 = 9;
const RANGE_START: i32 = 11;
const RANGE_SIZE: i32 = 12;
const MAPPED: i32 = 13;

/// An attribute: its value and how many bytes that has.
fn attribute(name: i32, at: u64) -> Result<(u64, usize)> {
    // Whether it is the host's too, where it begins, its size, its device, and whether it is managed.
    let (host, start, size, device, managed) = match space::find(at) {
        Found::Device(start, size, device) => (false, start, size, device, false),
        Found::Host(b) => (true, b.start, b.len, b.device, matches!(b.kind, Kind::Managed(_))),
        _ => return Err(Error::INVALID_VALUE),
    };
    Ok(match name {
        CONTEXT => (current::primary(device).handle, 8),
        MEMORY_TYPE => (if host && !managed { 1 } else { 2 }, 4),
        DEVICE_POINTER => (at, 8),
        HOST_POINTER if host => (at, 8),
        IS_MANAGED => (managed.into(), 4),
        DEVICE_ORDINAL => (device.number as u64, 4),
        RANGE_START => (start, 8),
        RANGE_SIZE => (size, 8),
        MAPPED => (1, 4),
        _ => return Err(Error::INVALID_VALUE),
    })
}

/// Writes an attribute's value.
///
/// # Safety
/// `out` is room for it.
unsafe fn put(out: *mut c_void, (value, size): (u64, usize)) {
    // SAFETY: the caller's promise; little-endian, so the first bytes are the small number.
    unsafe { core::ptr::copy_nonoverlapping(value.to_le_bytes().as_ptr(), out.cast(), size) };
}

entries! {
    Context fn cuPointerGetAttribute(_, out: *mut c_void, name: i32, at: u64) {
        if out.is_null() {
            return Err(Error::INVALID_VALUE);
        }
        let value = attribute(name, at)?;
        // SAFETY: the caller's room for this attribute.
        unsafe { put(out, value) };
        Ok(())
    }

    Context fn cuPointerGetAttributes(_, count: u32, names: In<i32>, out: In<*mut c_void>, at: u64) {
        for i in 0..count as usize {
            let (name, out) = (names.at(i)?, out.at(i)?);
            let size = if matches!(name, MEMORY_TYPE | IS_MANAGED | DEVICE_ORDINAL | MAPPED) { 4 } else { 8 };
            // What a pointer does not have is 0 here, and no error.
            let value = attribute(name, at).unwrap_or((0, size));
            // SAFETY: the caller's room for this attribute.
            unsafe { put(out, value) };
        }
        Ok(())
    }

    Context fn cuMemGetAddressRange_v2(_, base: Out<u64>, size: Out<usize>, at: u64) {
        // CUDA_ERROR_NOT_FOUND
        let Found::Device(start, len, _) = space::find(at) else { return Err(Error::NOT_FOUND) };
        base.put_if(start);
        size.put_if(len as usize);
        Ok(())
    }
}
