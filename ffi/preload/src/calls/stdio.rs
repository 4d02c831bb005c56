//! stdio, where it hands the program's own buffers to the kernel: large reads and writes go past the stream's buffer.
//! Streams' own buffers are the C library's and not managed; one that the program gives it is not used if it is.

use core::ffi::{c_char, c_int, c_void};
use hmmrt_core::raw::owns;
use libc::FILE;

crate::holds::wraps! {
    fn fread(to: *mut c_void, size: usize, n: usize, file: *mut FILE) -> usize |h| if always plain if !owns(to.cast()) => {
        large(h, file, to, size.saturating_mul(n), true)
    }
    fn fread_unlocked(to: *mut c_void, size: usize, n: usize, file: *mut FILE) -> usize |h| if always plain if !owns(to.cast()) => {
        large(h, file, to, size.saturating_mul(n), true)
    }
    fn __fread_chk(to: *mut c_void, room: usize, size: usize, n: usize, file: *mut FILE) -> usize |h| if always plain if !owns(to.cast()) => {
        large(h, file, to, size.saturating_mul(n), true)
    }
    fn __fread_unlocked_chk(to: *mut c_void, room: usize, size: usize, n: usize, file: *mut FILE) -> usize |h| if always plain if !owns(to.cast()) => {
        large(h, file, to, size.saturating_mul(n), true)
    }
    fn fwrite(from: *const c_void, size: usize, n: usize, file: *mut FILE) -> usize |h| if always plain if !owns(from.cast()) => {
        large(h, file, from, size.saturating_mul(n), false)
    }
    fn fwrite_unlocked(from: *const c_void, size: usize, n: usize, file: *mut FILE) -> usize |h| if always plain if !owns(from.cast()) => {
        large(h, file, from, size.saturating_mul(n), false)
    }
    fn fputs(text: *const c_char, file: *mut FILE) -> c_int |h| if always plain if !owns(text.cast()) => { h.text(text) }
    fn fputs_unlocked(text: *const c_char, file: *mut FILE) -> c_int |h| if always plain if !owns(text.cast()) => { h.text(text) }
    fn puts(text: *const c_char) -> c_int |h| if always plain if !owns(text.cast()) => { h.text(text) }
}

unsafe extern "C" {
    fn __fbufsize(file: *mut FILE) -> usize;
}

/// What is less than the stream's buffer goes through it. One that is not buffered has a byte, and one that has not been
/// used yet none.
fn large(h: &mut crate::holds::Holds, file: *mut FILE, at: *const c_void, len: usize, write: bool) {
    const LEAST: usize = 512;
    match write {
        // SAFETY: a stream, by the caller's promise; it only reads two words of it.
        _ if len < LEAST && unsafe { __fbufsize(file) } >= LEAST => {}
        true => h.writes(at, len),
        false => h.reads(at, len),
    }
}

mod given {
    use crate::names::Real;
    pub static SETVBUF: Real = Real::new(c"setvbuf");
}

/// setvbuf(3), but a managed buffer is not used: the stream gets one of its own.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setvbuf(file: *mut FILE, buf: *mut c_char, mode: c_int, n: usize) -> c_int {
    let managed = hmmrt_core::raw::owns(buf.cast_const().cast());
    let buf = if managed { core::ptr::null_mut() } else { buf };
    // SAFETY: the function of that name; the rest is the caller's.
    unsafe {
        let f: unsafe extern "C" fn(*mut FILE, *mut c_char, c_int, usize) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(given::SETVBUF.address()));
        f(file, buf, mode, n)
    }
}

/// setbuffer(3), as above.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setbuffer(file: *mut FILE, buf: *mut c_char, n: usize) {
    let mode = if buf.is_null() { libc::_IONBF } else { libc::_IOFBF };
    // SAFETY: the caller's promise.
    unsafe { setvbuf(file, buf, mode, n) };
}

/// setbuf(3), as above.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setbuf(file: *mut FILE, buf: *mut c_char) {
    // SAFETY: the caller's promise.
    unsafe { setbuffer(file, buf, libc::BUFSIZ as usize) };
}

/// Looks up what is not in the list above.
pub fn resolve_given() {
    given::SETVBUF.address();
}
