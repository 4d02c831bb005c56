//! printf and its family. A long string goes from the program's memory to write(2) past the stream's buffer, so where
//! devices are open the text is made in private memory first, and written from there. Where no device is open all go
//! straight to the C library. What fails to be formatted does so, too: the C library's own function knows what that
//! leaves in the stream. The wide functions need nothing: their streams convert everything into a buffer of their own.

use super::variadic::{List, variadic};
use crate::names::{self, Real};
use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;
use hmmrt_core::raw::preload;
use libc::FILE;

static FORMAT: Real = Real::new(c"__vasprintf_chk");
static FORMAT_SHORT: Real = Real::new(c"__vsnprintf_chk");
static TO_STREAM: Real = Real::new(c"__vfprintf_chk");
static TO_DESCRIPTOR: Real = Real::new(c"__vdprintf_chk");
static FWRITE: Real = Real::new(c"fwrite");
static WRITE: Real = Real::new(c"write");
static FREE: Real = Real::of_the_program(c"free");

unsafe extern "C" {
    static stdout: *mut FILE;
}

/// Looks up what this file needs.
pub fn resolve() {
    for function in [&FORMAT, &FORMAT_SHORT, &TO_STREAM, &TO_DESCRIPTOR, &FWRITE, &WRITE, &FREE] {
        function.address();
    }
}

/// A function of the C library's.
///
/// # Safety
/// `F` is its type.
unsafe fn real<F: Copy>(of: &Real) -> F {
    let at = core::ptr::with_exposed_provenance::<()>(of.address());
    // SAFETY: the caller's promise; functions are as large as pointers. All that are here are in every C library.
    unsafe { core::mem::transmute_copy(&at) }
}

/// So much needs no malloc: handlers print, too, and may have interrupted it.
const SHORT: usize = 1024;

/// A formatted text.
struct Text {
    short: [MaybeUninit<c_char>; SHORT],
    /// Where a longer one is, in memory that the C library has asked the program's malloc for; else null.
    long: *mut c_char,
    len: usize,
}

impl Text {
    /// What printf would write; `None`: no device is open, or it can't be made. `fortified`: see `__printf_chk`.
    ///
    /// # Safety
    /// As printf. The list is still to be used afterwards.
    unsafe fn of(fortified: c_int, format: *const c_char, list: *const List) -> Option<Text> {
        if !preload::is_active() {
            return None;
        }
        let saved = names::errno();
        let mut text = Text { short: [MaybeUninit::uninit(); SHORT], long: core::ptr::null_mut(), len: 0 };
        // SAFETY: copies of the list, which are used up; what the caller promises of the rest.
        let made = unsafe {
            let into: unsafe extern "C-unwind" fn(
                *mut c_char,
                usize,
                c_int,
                usize,
                *const c_char,
                *mut List,
            ) -> c_int = real(&FORMAT_SHORT);
            let (mut once, mut again) = (*list, *list);
            let mut n = into(text.short.as_mut_ptr().cast(), SHORT, fortified, SHORT, format, &mut once);
            if n >= SHORT as c_int {
                let f: unsafe extern "C-unwind" fn(
                    *mut *mut c_char,
                    c_int,
                    *const c_char,
                    *mut List,
                ) -> c_int = real(&FORMAT);
                let mut at = core::ptr::null_mut();
                n = f(&mut at, fortified, format, &mut again);
                if n >= 0 {
                    text.long = at;
                }
            }
            n
        };
        names::set_errno(saved);
        text.len = usize::try_from(made).ok()?;
        Some(text)
    }

    fn at(&self) -> *const c_char {
        if self.long.is_null() { self.short.as_ptr().cast() } else { self.long }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if self.long.is_null() {
            return;
        }
        let saved = names::errno();
        // SAFETY: a block that the C library has asked for, of whoever's malloc the program has; never a managed one.
        unsafe {
            let free: unsafe extern "C" fn(*mut c_char) = real(&FREE);
            free(self.long);
        }
        names::set_errno(saved);
    }
}

/// vfprintf(3) with the fortified one's flag.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __vfprintf_chk(
    file: *mut FILE,
    fortified: c_int,
    format: *const c_char,
    list: *mut List,
) -> c_int {
    // SAFETY: the functions of these names; the arguments are the caller's.
    unsafe {
        // An empty text is written as well: it gives the stream its orientation.
        if let Some(text) = Text::of(fortified, format, list).filter(|text| text.len > 0) {
            let f: unsafe extern "C-unwind" fn(*const c_char, usize, usize, *mut FILE) -> usize =
                real(&FWRITE);
            return if f(text.at(), 1, text.len, file) == text.len { text.len as c_int } else { -1 };
        }
        let f: unsafe extern "C-unwind" fn(*mut FILE, c_int, *const c_char, *mut List) -> c_int =
            real(&TO_STREAM);
        f(file, fortified, format, list)
    }
}

/// vdprintf(3) with the fortified one's flag.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __vdprintf_chk(
    fd: c_int,
    fortified: c_int,
    format: *const c_char,
    list: *mut List,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let Some(text) = Text::of(fortified, format, list) else {
            let f: unsafe extern "C-unwind" fn(c_int, c_int, *const c_char, *mut List) -> c_int =
                real(&TO_DESCRIPTOR);
            return f(fd, fortified, format, list);
        };
        let write: unsafe extern "C-unwind" fn(c_int, *const c_char, usize) -> isize = real(&WRITE);
        let mut done = 0;
        while done < text.len {
            match write(fd, text.at().add(done), text.len - done) {
                n if n < 0 => return -1,
                n => done += n as usize,
            }
        }
        text.len as c_int
    }
}

/// vfprintf(3).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn vfprintf(file: *mut FILE, format: *const c_char, list: *mut List) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { __vfprintf_chk(file, 0, format, list) }
}

/// vprintf(3).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn vprintf(format: *const c_char, list: *mut List) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { __vfprintf_chk(stdout, 0, format, list) }
}

/// vprintf(3) with the fortified one's flag.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __vprintf_chk(
    fortified: c_int,
    format: *const c_char,
    list: *mut List,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { __vfprintf_chk(stdout, fortified, format, list) }
}

/// vdprintf(3).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn vdprintf(fd: c_int, format: *const c_char, list: *mut List) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { __vdprintf_chk(fd, 0, format, list) }
}

variadic! {
    printf(1) -> vprintf;
    fprintf(2) -> vfprintf;
    dprintf(2) -> vdprintf;
    __printf_chk(2) -> __vprintf_chk;
    __fprintf_chk(3) -> __vfprintf_chk;
    __dprintf_chk(3) -> __vdprintf_chk;
}
