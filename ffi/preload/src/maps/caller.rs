//! Whose a caller is: GPU drivers' mappings are not the program's. They reserve addresses, and give memory to their device
//! by its pages. Asked for large mappings only. Signal-safe with the C library's 2.35 and later.

use crate::names::{self, Real};
use core::ffi::{CStr, c_char, c_int, c_void};

/// The beginnings of the drivers' libraries' names, and of our own: its threads' signal stacks are not the program's.
const DRIVERS: [&str; 14] = [
    "libcuda.so",
    "libcudart.so",
    "libcudadebugger",
    "libnvidia",
    "libnvrtc",
    "libnvcuvid",
    "libamdhip64",
    "libhsa",
    "libamd",
    "libroc",
    "libdrm",
    "libOpenCL",
    "libze_",
    "libhmmrt",
];

/// As in <dlfcn.h>.
#[repr(C)]
struct Found {
    flags: u64,
    start: *mut c_void,
    end: *mut c_void,
    /// Its second field is the object's name.
    link_map: *const [*const c_char; 2],
    eh_frame: *mut c_void,
    reserved: [u64; 8],
}

static FIND: Real = Real::new(c"_dl_find_object");

/// Looks it up: the constructor.
pub fn resolve() {
    FIND.address();
}

/// Whether `caller` is in a GPU driver's library.
pub fn is_driver(caller: usize) -> bool {
    let at = FIND.address();
    if at == 0 {
        let mut is = false;
        names::objects(|name, start, end| is |= start <= caller && caller < end && is_name_of_driver(name));
        return is;
    }
    // SAFETY: the function of this name; zeros are valid for the struct, and names live as long as their objects, of which
    // this one is running.
    unsafe {
        let find: unsafe extern "C" fn(*const c_void, *mut Found) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
        let mut found: Found = core::mem::zeroed();
        if find(core::ptr::without_provenance(caller), &mut found) != 0 || found.link_map.is_null() {
            return false; // code that was made at run time: the program's
        }
        let name = (*found.link_map)[1];
        !name.is_null() && is_name_of_driver(CStr::from_ptr(name))
    }
}

fn is_name_of_driver(path: &CStr) -> bool {
    let path = path.to_bytes();
    let file = path.iter().rposition(|b| *b == b'/').map_or(path, |slash| &path[slash + 1..]);
    DRIVERS.iter().any(|driver| file.starts_with(driver.as_bytes()))
}
