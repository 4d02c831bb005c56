//! HIP's compiler, hiprtc, for the peers' kernels: AMD has no portable code. It is part of libamdhip64 up to ROCm 6 and a
//! library of its own from then on.

use crate::Outcome;
use crate::driver::Driver;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;

type Create = unsafe extern "C" fn(
    *mut *mut c_void,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int;
type CodeSize = unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int;
type Code = unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int;

/// Compiles source for the device.
pub fn compile(driver: &'static Driver, source: &[u8]) -> Outcome<Vec<u8>> {
    // SAFETY: ROCm's own compiler.
    let own = ["libhiprtc.so.7", "libhiprtc.so.6", "libhiprtc.so"]
        .iter()
        .find_map(|name| unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.ok());
    let has = |library: &Library| {
        // SAFETY: only looked for.
        unsafe { library.get::<*mut c_void>(b"hiprtcCreateProgram").is_ok() }
    };
    let library: &Library = match own {
        _ if has(&driver.library) => &driver.library,
        Some(own) => Box::leak(Box::new(own)),
        None => return Err("there is no hiprtc".into()),
    };
    let checked = |call: &str, code: c_int| match code {
        0 => Ok(()),
        code => Err(format!("{call}: {code}")),
    };
    let mut text = source.to_vec();
    text.push(0);
    let options = [c"-O2".as_ptr(), c"-ffp-contract=off".as_ptr()];
    let (none, mut program, mut len) = (std::ptr::null(), null_mut(), 0);
    // SAFETY: hiprtc's functions by their names, with the signatures that they have had from the start; texts that end
    // with a NUL; a buffer of the size that was asked for. One program is left over for each source.
    unsafe {
        let create = library.get::<Create>(b"hiprtcCreateProgram")?;
        let compile = library.get::<Compile>(b"hiprtcCompileProgram")?;
        let code_size = library.get::<CodeSize>(b"hiprtcGetCodeSize")?;
        let get_code = library.get::<Code>(b"hiprtcGetCode")?;
        let text = text.as_ptr().cast();
        checked("hiprtcCreateProgram", create(&mut program, text, c"bench.cu".as_ptr(), 0, none, none))?;
        checked("hiprtcCompileProgram", compile(program, options.len() as c_int, options.as_ptr()))?;
        checked("hiprtcGetCodeSize", code_size(program, &mut len))?;
        let mut code = vec![0_u8; len];
        checked("hiprtcGetCode", get_code(program, code.as_mut_ptr().cast()))?;
        Ok(code)
    }
}
