//! The calling thread's device and last error. HIP starts itself with the first call, and has no contexts to speak of.

use std::cell::Cell;

use hmmrt_double_core::device::{self, Device};
use hmmrt_double_core::{Error, Result};

pub(crate) use hmmrt_double_core::process::init as ready;

thread_local! {
    static DEVICE: Cell<i32> = const { Cell::new(0) };
    static LAST: Cell<i32> = const { Cell::new(0) };
}

/// The thread's device.
pub(crate) fn device() -> Result<&'static Device> {
    device::get(DEVICE.get())
}

/// Makes a device the thread's.
pub(crate) fn set(number: i32) -> Result {
    device::get(number)?;
    DEVICE.set(number);
    Ok(())
}

/// The number that a call gives; the thread's last error from then on, if it is one.
pub(crate) fn finish(result: Result) -> i32 {
    let code = match result {
        Ok(()) => return 0,
        // Errors that only CUDA has.
        Err(Error::MISALIGNED) => Error::ILLEGAL_ADDRESS.0,
        Err(Error::NOT_PERMITTED) => 401,
        Err(error) => error.0,
    };
    if code != Error::NOT_READY.0 {
        LAST.set(code);
    }
    code
}

/// The last error.
pub(crate) fn last() -> i32 {
    LAST.get()
}

/// Forgets the last error.
pub(crate) fn forget() -> i32 {
    LAST.replace(0)
}
