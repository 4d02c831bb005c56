//! Moving pages, keeping them where they are, and saying where they should be. Called from ordinary threads; all of them
//! may wait for other threads' moves, `hmm_prefetch` excepted.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;

use hmmrt_core::raw;

use crate::guard::{self, Failure};
use crate::status::hmm_status;
use crate::stream;
use crate::types::{self, hmm_access_mode, hmm_advice, hmm_stream};

/// Starts moving a range to a location, in the order of the stream, and returns at once. A hint: pages that are pinned or
/// in use stay where they are.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_prefetch(
    ptr: *const c_void,
    len: usize,
    location: c_int,
    stream: hmm_stream,
) -> hmm_status {
    guard::status("hmm_prefetch", || {
        raw::prefetch(ptr.cast(), len, location, stream::id(stream)).map_err(Failure::location)
    })
}

/// Moves a range to a location; it is there on return. moved_pages, unless NULL, becomes the number of 4 KiB pages that
/// moved: fewer than asked is no error (some were there already).
///
/// # Safety
/// `moved_pages` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_migrate(
    ptr: *const c_void,
    len: usize,
    location: c_int,
    moved_pages: *mut usize,
) -> hmm_status {
    guard::status("hmm_migrate", || {
        let moved = raw::migrate(ptr.cast(), len, location).map_err(Failure::location)?;
        if !moved_pages.is_null() {
            // SAFETY: not NULL, and the caller promises that it is writable.
            unsafe { moved_pages.write(moved) };
        }
        Ok(())
    })
}

/// Makes a range ready for the CPU and for the kernel's own accesses (read(2) into it gives EFAULT otherwise): on return
/// it can be touched as mode says without a fault, until it is next moved. With a mode that writes nothing of it is sent away
/// on a guess of the runtime's own (HMM_POLICY_AUTO) before a device has been given some of it again.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_host_ready(
    ptr: *const c_void,
    len: usize,
    mode: MaybeUninit<hmm_access_mode>,
) -> hmm_status {
    guard::status("hmm_host_ready", || {
        let mode = types::access_mode("mode", mode)?;
        Ok(raw::host_ready(ptr.cast(), len, mode)?)
    })
}

/// Brings a range home and keeps it there, readable and writable, until hmm_unpin: for system calls in flight and DMA.
/// Pins count.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_pin(ptr: *const c_void, len: usize) -> hmm_status {
    guard::status("hmm_pin", || Ok(raw::pin(ptr.cast(), len)?))
}

/// Takes back one hmm_pin of exactly the same range.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_unpin(ptr: *const c_void, len: usize) -> hmm_status {
    guard::status("hmm_unpin", || Ok(raw::unpin(ptr.cast(), len)?))
}

/// Says that a range's contents are no longer needed: the whole pages in it become untouched, and no copy is made.
///
/// # Safety
/// Nobody relies on the contents.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_discard(addr: *mut c_void, len: usize) -> hmm_status {
    // SAFETY: the caller's promise is the runtime's.
    guard::status("hmm_discard", || Ok(unsafe { raw::discard(addr.cast(), len) }?))
}

/// Says how a range will be used. The location matters for HMM_ADVISE_PREFERRED_LOCATION, HMM_ADVISE_ACCESSED_BY and their
/// unset; pass HMM_HOST with the others.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_advise(
    ptr: *const c_void,
    len: usize,
    advice: MaybeUninit<hmm_advice>,
    location: c_int,
) -> hmm_status {
    guard::status("hmm_advise", || {
        let advice = types::advice("advice", advice)?;
        raw::advise(ptr.cast(), len, advice, location).map_err(Failure::location)
    })
}
