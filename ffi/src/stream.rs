//! Streams, and the conversion between a stream's handle and the runtime's number for it. Called from ordinary threads.

use core::ffi::{c_int, c_void};
use core::ptr;

use hmmrt_core::{StreamId, raw};

use crate::guard::{self, Failure};
use crate::status::hmm_status;
use crate::types::hmm_stream;

/// The handle's value is the runtime's number; it points at nothing. NULL, 0, is the default stream.
pub(crate) fn id(stream: hmm_stream) -> StreamId {
    StreamId(stream.addr() as u64)
}

pub(crate) fn handle(id: StreamId) -> hmm_stream {
    ptr::without_provenance_mut(id.0 as usize)
}

/// Makes a new stream on a device. What is queued on one stream runs in order; streams run beside each other.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_stream_create(device: c_int, out: *mut hmm_stream) -> hmm_status {
    guard::status("hmm_stream_create", || {
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        let stream = raw::stream_create(device)?;
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { out.write(handle(stream)) };
        Ok(())
    })
}

/// Makes a handle of a stream of the driver's own (a CUstream or a hipStream_t), which stays the caller's. The name that stands for
/// another stream in each thread (CU_STREAM_PER_THREAD, hipStreamPerThread) is refused.
///
/// # Safety
/// `native` is a live stream of the device's driver, and outlives the handle; `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_stream_from_native(
    device: c_int,
    native: *mut c_void,
    out: *mut hmm_stream,
) -> hmm_status {
    guard::status("hmm_stream_from_native", || {
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        // SAFETY: the caller's promise is the runtime's.
        let stream = unsafe { raw::stream_from_native(device, native) }?;
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { out.write(handle(stream)) };
        Ok(())
    })
}

/// Waits until everything queued on the stream so far is done; NULL: on the default streams of all devices.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_stream_synchronize(stream: hmm_stream) -> hmm_status {
    guard::status("hmm_stream_synchronize", || Ok(raw::stream_synchronize(id(stream))?))
}

/// Waits for the stream's work, gives back what is acquired on it, and ends it. The handle is not valid afterwards. A
/// default stream can't be destroyed.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_stream_destroy(stream: hmm_stream) -> hmm_status {
    guard::status("hmm_stream_destroy", || Ok(raw::stream_destroy(id(stream))?))
}
