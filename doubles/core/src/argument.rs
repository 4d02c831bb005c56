//! Arguments of C functions as types: pointers that a C caller passes to be read or written. They have a pointer's ABI.
//! Only a C caller makes one, and it promises what each type says; so their methods are safe to call.

use core::ffi::{CStr, c_char, c_void};
use core::ptr;

use crate::{Error, Result};

/// NULL, or room for a `T`.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Whether the caller passed NULL.
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// An error unless there is room.
    pub fn check(&self) -> Result {
        if self.is_null() { Err(Error::INVALID_VALUE) } else { Ok(()) }
    }

    /// Writes the value; INVALID_VALUE for NULL.
    pub fn put(&self, value: T) -> Result {
        self.check()?;
        self.put_if(value);
        Ok(())
    }

    /// Writes the value if there is room.
    pub fn put_if(&self, value: T) {
        if !self.is_null() {
            // SAFETY: not NULL, so it is room for a `T`, by the type's promise.
            unsafe { self.0.write(value) };
        }
    }
}

/// NULL, or a `T`, or several in a row.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// The value; INVALID_VALUE for NULL.
    pub fn get(self) -> Result<T> {
        self.at(0)
    }

    /// The value at `index`, of which the caller said that it is there.
    pub fn at(self, index: usize) -> Result<T> {
        if self.0.is_null() {
            return Err(Error::INVALID_VALUE);
        }
        // SAFETY: not NULL, and the caller has that many, by the type's promise.
        Ok(unsafe { self.0.add(index).read() })
    }

    /// The first.
    pub fn pointer(self) -> *const T {
        self.0
    }
}

/// NULL, or a text that ends with a NUL.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// The text; INVALID_VALUE for NULL.
    pub fn get(self) -> Result<String> {
        if self.0.is_null() {
            return Err(Error::INVALID_VALUE);
        }
        // SAFETY: not NULL, so a text, by the type's promise.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_string_lossy().into_owned())
    }
}

/// NULL, or room for some bytes, the number of which is another argument.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Room(*mut c_char);

impl Room {
    /// Writes as much of the text as fits into `size` bytes, and a NUL.
    pub fn put(self, size: usize, text: &str) -> Result {
        if self.0.is_null() || size == 0 {
            return Err(Error::INVALID_VALUE);
        }
        let n = text.len().min(size - 1);
        // SAFETY: there is room for `size` bytes, by the type's promise, and n < size.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), self.0.cast(), n);
            self.0.add(n).write(0);
        }
        Ok(())
    }

    /// Writes bytes, for which the caller has room.
    pub fn put_bytes(self, bytes: &[u8]) -> Result {
        if self.0.is_null() {
            return Err(Error::INVALID_VALUE);
        }
        // SAFETY: there is room, by the type's promise.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.cast(), bytes.len()) };
        Ok(())
    }
}

/// A pointer that is not followed here, only its number matters.
pub fn number(pointer: *const c_void) -> u64 {
    pointer as u64
}
