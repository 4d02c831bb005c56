//! Devices: how many, what they are, and their access to managed memory. Called from ordinary threads; `hmm_acquire` may
//! wait for other threads' moves.

use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;

use hmmrt_core::{Access, raw};

use crate::array;
use crate::guard::{self, Failure};
use crate::sized;
use crate::status::hmm_status;
use crate::stream;
use crate::types::{self, hmm_access, hmm_device_info_s, hmm_stream};

/// How many devices there are: their numbers are 0 and up. 0 also when the runtime can't start; hmm_last_error then has why.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_device_count() -> c_int {
    guard::value("hmm_device_count", || Ok(raw::device_count()?))
        .map_or(0, |count| c_int::try_from(count).unwrap_or(c_int::MAX))
}

/// Describes a device. Set out->struct_size first; no more than that is written. Where same_address is set, hmm_malloc's
/// memory has the same addresses on the device, so that pointers inside data work in kernels. A driver can often do that only
/// for memory that is made after it was started: call hmm_device_count before the first hmm_malloc.
///
/// # Safety
/// `out` points at out->struct_size writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_device_info(device: c_int, out: *mut hmm_device_info_s) -> hmm_status {
    guard::status("hmm_device_info", || {
        // SAFETY: the caller promises that `out` is what it says.
        unsafe { sized::check("out", out) }?;
        let info = raw::device_info(device)?;
        // SAFETY: integers and a bool: zeros are valid, and leave no padding undefined.
        let mut answer: hmm_device_info_s = unsafe { MaybeUninit::zeroed().assume_init() };
        fill(&mut answer.name, &info.name);
        fill(&mut answer.backend, info.backend);
        answer.memory_total = info.memory_total;
        answer.memory_free = info.memory_free;
        answer.same_address = info.same_address;
        // SAFETY: checked above, and writable as the caller promises.
        unsafe { sized::write(out, &answer) };
        Ok(())
    })
}

/// Copies as much of `text` as fits, cut at a character's boundary, into a buffer of zeros whose last one stays.
fn fill(to: &mut [c_char], text: &str) {
    let mut take = text.len().min(to.len() - 1);
    while !text.is_char_boundary(take) {
        take -= 1;
    }
    for (to, byte) in to.iter_mut().zip(&text.as_bytes()[..take]) {
        *to = *byte as c_char;
    }
}

/// Makes ranges usable by the device, from where the stream stands on, until hmm_release: what is launched on the stream in
/// between may touch them as they say. Pages that are written belong to the device until it is done. All or none of the
/// ranges are acquired; after a failure, ranges that were to be only written may be undefined.
///
/// # Safety
/// `accesses` points at `count` elements, and the device stays within them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_acquire(
    device: c_int,
    stream: hmm_stream,
    accesses: *const hmm_access,
    count: usize,
) -> hmm_status {
    guard::status("hmm_acquire", || {
        // SAFETY: the caller promises `count` elements.
        let ranges = unsafe {
            array::collect("accesses", accesses, count, |index, access: hmm_access| {
                let mode =
                    types::access_mode("mode", access.mode).map_err(|e| e.element("accesses", index))?;
                Ok(Access { ptr: access.ptr.cast(), len: access.len, mode })
            })
        }?;
        // SAFETY: the caller's promise is the runtime's.
        unsafe { raw::acquire(device, stream::id(stream), &ranges) }.map_err(Failure::within("accesses"))
    })
}

/// Gives back everything that was acquired on the stream: the device is done with it when the stream gets here. CPU touches
/// wait until then by themselves.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_release(device: c_int, stream: hmm_stream) -> hmm_status {
    guard::status("hmm_release", || Ok(raw::release(device, stream::id(stream))?))
}

/// The address at which the device sees a managed address; the same number where same_address is set. Usable by work that
/// was given access to the range.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_device_ptr(
    ptr: *const c_void,
    device: c_int,
    out: *mut *mut c_void,
) -> hmm_status {
    guard::status("hmm_device_ptr", || {
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        let address = raw::device_ptr(ptr.cast(), device)?;
        // SAFETY: not NULL, and the caller promises that it is writable.
        unsafe { out.write(address) };
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_at_a_character_and_ended() {
        let mut to = [0 as c_char; 8];
        fill(&mut to, "abcdefé");
        assert_eq!(to.map(|c| c as u8), *b"abcdef\0\0");
        let mut to = [0 as c_char; 8];
        fill(&mut to, "abc");
        assert_eq!(to.map(|c| c as u8), *b"abc\0\0\0\0\0");
    }
}
