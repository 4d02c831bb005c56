//! Device code for HIP: code objects as the driver takes them, and source, which hiprtc compiles for the devices that are
//! there. hiprtc is part of libamdhip64 up to ROCm 6 and a library of its own from then on. API context only.

use crate::device::gpu::{Driver, NO_DEVICE};
use crate::error::{Error, Result};
use crate::log::log;
use crate::sys::library::Library;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;

/// The built-in kernels' source, which includes nothing.
pub(super) const BUILTIN: &[u8] = include_bytes!("../../../../kernels/kernels.cu");

/// Whether an image is source: code objects are ELF files, bundles of them, or compressed bundles.
pub(super) fn is_source(image: &[u8]) -> bool {
    let magics: [&[u8]; 3] = [b"\x7fELF", b"__CLANG_OFFLOAD_BUNDLE__", b"CCOB"];
    !magics.iter().any(|m| image.starts_with(m)) && !image.contains(&0)
}

type Program = *mut c_void;

/// hiprtc's functions. All results are `hiprtcResult`, an int.
struct Compiler {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    code_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    code: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    error: unsafe extern "C" fn(c_int) -> *const c_char,
}

impl Compiler {
    fn find(driver: &Driver) -> Result<Compiler> {
        if let Some(compiler) = Compiler::in_library(driver.library()) {
            return Ok(compiler);
        }
        ["libhiprtc.so.7", "libhiprtc.so.6", "libhiprtc.so"]
            .iter()
            .find_map(|name| {
                let library = Library::loaded(name).or_else(|| Library::load(name).ok())?;
                let compiler = Compiler::in_library(&library);
                core::mem::forget(library); // its functions are used from now on
                compiler
            })
            .ok_or(Error::Unsupported { what: "hiprtc", why: "neither the driver nor libhiprtc.so has it" })
    }

    fn in_library(library: &Library) -> Option<Compiler> {
        // SAFETY: hiprtc's functions have had these signatures since there is hiprtc.
        unsafe {
            Some(Compiler {
                create: library.function(c"hiprtcCreateProgram")?,
                compile: library.function(c"hiprtcCompileProgram")?,
                code_size: library.function(c"hiprtcGetCodeSize")?,
                code: library.function(c"hiprtcGetCode")?,
                log_size: library.function(c"hiprtcGetProgramLogSize")?,
                log: library.function(c"hiprtcGetProgramLog")?,
                destroy: library.function(c"hiprtcDestroyProgram")?,
                error: library.function(c"hiprtcGetErrorString")?,
            })
        }
    }

    fn check(&self, call: &'static str, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: gives a static text.
        let name = unsafe {
            let text = (self.error)(code);
            if text.is_null() { "?" } else { CStr::from_ptr(text).to_str().unwrap_or("?") }
        };
        Err(Error::Device { device: NO_DEVICE, call, code, name })
    }
}

/// Compiles source for the current device's architecture.
pub(super) fn compile(driver: &Driver, source: &[u8]) -> Result<Vec<u8>> {
    let rtc = Compiler::find(driver)?;
    let mut text = source.to_vec();
    text.push(0);
    let mut program = null_mut();
    // SAFETY: texts that end with a NUL; no headers.
    let created = unsafe {
        let name = c"hmmrt.cu".as_ptr();
        (rtc.create)(&mut program, text.as_ptr().cast(), name, 0, core::ptr::null(), core::ptr::null())
    };
    rtc.check("hiprtcCreateProgram", created)?;
    let code = take(&rtc, program);
    // SAFETY: made above, and not used any more.
    unsafe { (rtc.destroy)(&mut program) };
    code
}

fn take(rtc: &Compiler, program: Program) -> Result<Vec<u8>> {
    // Two roundings stay two, as on the CPU.
    let options = [c"-O2".as_ptr(), c"-ffp-contract=off".as_ptr()];
    // SAFETY: a live program; the sizes say how much is written.
    unsafe {
        let compiled = (rtc.compile)(program, options.len() as c_int, options.as_ptr());
        if compiled != 0 {
            let mut len = 0;
            if (rtc.log_size)(program, &mut len) == 0 && len > 1 {
                let mut text = vec![0u8; len];
                (rtc.log)(program, text.as_mut_ptr().cast());
                log!(Error, "hiprtc: {}", String::from_utf8_lossy(&text).trim_end_matches(['\0', '\n']));
            }
        }
        rtc.check("hiprtcCompileProgram", compiled)?;
        let mut len = 0;
        rtc.check("hiprtcGetCodeSize", (rtc.code_size)(program, &mut len))?;
        let mut code = vec![0u8; len];
        rtc.check("hiprtcGetCode", (rtc.code)(program, code.as_mut_ptr().cast()))?;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_told_from_code() {
        assert!(is_source(BUILTIN));
        for code in [&b"\x7fELF\x02\x01"[..], b"__CLANG_OFFLOAD_BUNDLE__\x01", b"CCOB\x02", b"a\0b"] {
            assert!(!is_source(code));
        }
    }
}
