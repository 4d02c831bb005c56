//! An open driver: its library, its table of functions, and what its codes are called. Made once for each library and
//! never given up, like the library itself. API context, the service thread and the backend's own threads; never the
//! signal handler.

use super::table::{Kind, Missing, Table};
use crate::error::{Error, Result};
use crate::log::log;
use crate::sys::library::{self, Library};
use core::ffi::{CStr, c_char};
use std::sync::Mutex;

/// The number of a device in errors of calls that belong to none.
pub(crate) const NO_DEVICE: i32 = -1;

/// What the two drivers need to be told apart by.
pub(crate) struct Names {
    pub(crate) kind: Kind,
    /// `cuda` or `hip`.
    pub(crate) backend: &'static str,
    /// The library's names, the preferred first.
    pub(crate) libraries: &'static [&'static str],
    /// The oldest version of the driver's interface that has all we need, and how errors call what is older.
    pub(crate) oldest: (i32, &'static str),
    /// What an error calls the library that can't be loaded.
    pub(crate) not_found: &'static str,
}

impl Names {
    /// Whether the program has loaded the driver.
    pub(crate) fn is_loaded(&self) -> bool {
        self.libraries.iter().any(|name| Library::loaded(name).is_some())
    }
}

/// An open driver.
pub(crate) struct Driver {
    pub(crate) kind: Kind,
    pub(crate) backend: &'static str,
    pub(crate) table: Table,
    /// Its version, as it gives it: CUDA 12080 is 12.8.
    pub(crate) version: i32,
    hip_error_name: Option<unsafe extern "C" fn(i32) -> *const c_char>,
    library: Library,
    path: String,
}

/// The drivers that were opened, by their library's path (empty: the usual one).
static OPEN: Mutex<Vec<&'static Driver>> = Mutex::new(Vec::new());

impl Driver {
    /// Opens and initialises the driver, or finds it open. `path` names another library than the usual one; it is not
    /// looked at in a setuid program.
    pub(crate) fn open(names: &Names, path: &str) -> Result<&'static Driver> {
        let path = if library::is_privileged() { "" } else { path };
        let mut open = OPEN.lock().unwrap_or_else(|e| e.into_inner());
        let found = open.iter().copied().find(|d| d.kind == names.kind && d.path == path);
        let driver = match found {
            Some(driver) => driver,
            None => {
                let library = find(names, path)?;
                let driver: &'static Driver = Box::leak(Box::new(resolve(names, library, path)?));
                open.push(driver);
                driver
            }
        };
        drop(open);
        driver.start(names)?;
        Ok(driver)
    }

    fn start(&self, names: &Names) -> Result<()> {
        // SAFETY: flags must be 0.
        unsafe { call!(self, NO_DEVICE, init(0)) }?;
        if self.version < names.oldest.0 {
            let (call, code, name) = (self.table.driver_version.name, self.version, names.oldest.1);
            return Err(Error::Device { device: NO_DEVICE, call, code, name });
        }
        Ok(())
    }

    /// How many devices it has.
    pub(crate) fn count(&self) -> Result<usize> {
        let mut count = 0;
        // SAFETY: writes an int.
        unsafe { call!(self, NO_DEVICE, device_count(&mut count)) }?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// An attribute of a device; 0 where the driver does not know it.
    pub(crate) fn attribute(&self, device: i32, attribute: i32) -> i32 {
        let mut value = 0;
        // SAFETY: writes an int.
        match unsafe { call!(self, device, device_attribute(&mut value, attribute, device)) } {
            Ok(()) => value,
            Err(_) => 0,
        }
    }

    /// What a result says.
    pub(crate) fn check(&self, device: i32, call: &'static str, code: i32) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(Error::Device { device, call, code, name: self.name_of(code) }) }
    }

    /// The driver's name for a code. The text is the driver's own and stays, as the library does.
    fn name_of(&self, code: i32) -> &'static str {
        let mut name: *const c_char = core::ptr::null();
        // SAFETY: both functions give a static text, or none.
        unsafe {
            match (self.table.error_name.function, self.hip_error_name) {
                (Some(f), _) => {
                    f(code, &mut name);
                }
                (None, Some(f)) => name = f(code),
                (None, None) => {}
            }
            if name.is_null() { None } else { CStr::from_ptr(name).to_str().ok() }
        }
        .unwrap_or("a code that the driver has no name for")
    }

    /// A function that the table does not hold: for optional parts, such as hiprtc.
    pub(crate) fn library(&self) -> &Library {
        &self.library
    }
}

/// The program's own driver if it has loaded one, else the system's.
fn find(names: &Names, path: &str) -> Result<Library> {
    let unsupported = Error::Unsupported { what: names.backend, why: names.not_found };
    if !path.is_empty() {
        return Library::load(path).map_err(|why| {
            log!(Warn, "{}: {why}", names.backend);
            unsupported
        });
    }
    if let Some(library) = names.libraries.iter().find_map(|name| Library::loaded(name)) {
        log!(Info, "{}: the program's own driver is used", names.backend);
        return Ok(library);
    }
    let mut reasons = Vec::new();
    for name in names.libraries {
        match Library::load(name) {
            Ok(library) => return Ok(library),
            Err(why) => reasons.push(why),
        }
    }
    log!(Info, "{}: {}", names.backend, reasons.join("; "));
    Err(unsupported)
}

fn resolve(names: &Names, library: Library, path: &str) -> Result<Driver> {
    // SAFETY: the names are the driver's, each with the ABI that its header declares for it.
    let table = unsafe { Table::resolve(names.kind, &mut |name| library.find(name)) };
    let table = table.map_err(|Missing(what)| Error::Unsupported { what, why: "the driver lacks it" })?;
    let hip_error_name = match names.kind {
        Kind::Cuda => None,
        // SAFETY: the function has this signature in every version of HIP.
        Kind::Hip => unsafe { library.function(c"hipGetErrorName") },
    };
    let (kind, backend) = (names.kind, names.backend);
    let mut driver =
        Driver { kind, backend, table, version: 0, hip_error_name, library, path: path.to_owned() };
    // SAFETY: writes an int; needs no initialised driver.
    unsafe { call!(driver, NO_DEVICE, driver_version(&mut driver.version)) }?;
    Ok(driver)
}

/// Calls a function of the table: `call!(driver, device, function(arguments))` is `Result<()>`. Unsafe as the function is.
macro_rules! call {
    ($driver:expr, $device:expr, $function:ident($($arg:expr),* $(,)?)) => {{
        let call = $driver.table.$function;
        match call.function {
            Some(function) => {
                let code = {
                    let _inside = $crate::device::gpu::inside::Inside::enter();
                    function($($arg),*)
                };
                $driver.check($device, call.name, code)
            }
            None => Err($crate::error::Error::Unsupported { what: stringify!($function), why: "the driver lacks it" }),
        }
    }};
}
pub(crate) use call;
