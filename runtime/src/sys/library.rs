//! Shared libraries opened at run time: the GPU drivers. Opened once and never closed, since they keep threads and exit
//! handlers of their own. API context only.

pub(crate) use super::process::is_privileged;
use core::ffi::{CStr, c_void};
use libloading::os::unix::Library as Handle;
use std::ffi::OsStr;

/// An open library.
#[derive(Debug)]
pub(crate) struct Library(Handle);

impl Library {
    /// The library that the program has loaded already under this name, if it has.
    pub(crate) fn loaded(name: &str) -> Option<Library> {
        open(OsStr::new(name), libc::RTLD_NOLOAD).ok()
    }

    /// Loads a library, by name from the system's places or by its path. Runs its constructors. The error is the
    /// dynamic linker's.
    pub(crate) fn load(name: &str) -> Result<Library, String> {
        open(OsStr::new(name), 0)
    }

    /// A function's address, or NULL.
    pub(crate) fn find(&self, name: &CStr) -> *mut c_void {
        // SAFETY: only the address is taken; who calls it says what it is.
        let found = unsafe { self.0.get::<*mut c_void>(name.to_bytes_with_nul()) };
        found.map_or(core::ptr::null_mut(), |symbol| symbol.into_raw())
    }

    /// A function as a function pointer of type `F`, if it is there.
    ///
    /// # Safety
    /// `F` is a function pointer type, and the function's own.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let at = self.find(name);
        // SAFETY: not NULL, and the caller's promise.
        (!at.is_null()).then(|| unsafe { core::mem::transmute_copy(&at) })
    }
}

fn open(name: &OsStr, flags: i32) -> Result<Library, String> {
    // SAFETY: drivers are what the user has installed or named; their constructors are trusted as those of any library
    // that a program links. RTLD_LOCAL: their symbols must not meet the program's.
    let opened = unsafe { Handle::open(Some(name), libc::RTLD_NOW | libc::RTLD_LOCAL | flags) };
    opened.map(Library).map_err(|e| {
        let inner = std::error::Error::source(&e).map(|s| s.to_string());
        inner.unwrap_or_else(|| e.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_is_not() {
        let c = Library::loaded("libc.so.6").expect("every program has it");
        assert!(!c.find(c"getpid").is_null());
        assert!(c.find(c"hmmrt_no_such_function").is_null());
        assert!(Library::loaded("libhmmrt_nothing.so.1").is_none());
        let why = Library::load("libhmmrt_nothing.so.1").expect_err("there is none");
        assert!(why.contains("libhmmrt_nothing.so.1"), "{why}");
    }
}
