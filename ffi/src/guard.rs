//! The boundary that every C function passes: runs its body, keeps panics in, records the message of a failure and picks
//! the status. Called by every `hmm_` function that can fail; takes no lock.

use core::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hmmrt_core::Error;

use crate::last_error;
use crate::status::hmm_status;

/// Why a call failed: the runtime's reason, or one found here before the runtime was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    Runtime(Error),
    /// `NoDevice` where the argument is a location.
    Location(Error),
    /// `NoMemory` where the argument is a size.
    Size(Error),
    /// What is wrong with an array's element that is not known more closely.
    Within(&'static str, Error),
    /// n * size.
    Overflow,
    Null(&'static str),
    /// An enum that has none of its values.
    Enum {
        argument: &'static str,
        value: i32,
        name: &'static str,
    },
    /// The same in a field of `hmm_config`, which is a configuration error.
    ConfigEnum {
        field: &'static str,
        value: i32,
        name: &'static str,
    },
    /// A number of `hmm_config`, from 1 up.
    ConfigRange {
        field: &'static str,
        value: u64,
        most: u64,
    },
    StructSize {
        argument: &'static str,
        size: usize,
        ours: usize,
    },
    /// Fields that this version does not have are in use.
    UnknownFields {
        argument: &'static str,
        size: usize,
        ours: usize,
    },
    Invalid {
        argument: &'static str,
        why: &'static str,
    },
    Count {
        argument: &'static str,
        count: usize,
        needed: usize,
    },
    NoMemory {
        argument: &'static str,
        count: usize,
    },
    /// One of the above in a field of an array's element.
    Element {
        array: &'static str,
        index: usize,
        field: Box<Failure>,
    },
    Panic(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Runtime(error)
    }
}

impl Failure {
    /// For `map_err` where the device that may not exist was given as a location.
    pub(crate) fn location(error: Error) -> Self {
        match error {
            Error::NoDevice { .. } => Failure::Location(error),
            _ => Failure::Runtime(error),
        }
    }

    /// For `map_err` of calls that take an array of ranges, where the runtime names only a range's length.
    pub(crate) fn within(array: &'static str) -> impl Fn(Error) -> Self {
        move |error| match error {
            Error::OutOfRange { .. } | Error::InvalidArgument { arg: "len", .. } => {
                Failure::Within(array, error)
            }
            _ => Failure::Runtime(error),
        }
    }

    /// For `map_err` of allocations, whose `NoMemory` does not name the argument.
    pub(crate) fn size(error: Error) -> Self {
        match error {
            Error::NoMemory { .. } => Failure::Size(error),
            _ => Failure::Runtime(error),
        }
    }

    /// For a failure that names a field, in an array's element.
    pub(crate) fn element(self, array: &'static str, index: usize) -> Self {
        Failure::Element { array, index, field: Box::new(self) }
    }

    fn status(&self) -> hmm_status {
        match self {
            Failure::Runtime(error)
            | Failure::Location(error)
            | Failure::Size(error)
            | Failure::Within(_, error) => (*error).into(),
            Failure::Null(_) => hmm_status::HMM_ERR_NULL_POINTER,
            Failure::StructSize { .. } | Failure::UnknownFields { .. } => hmm_status::HMM_ERR_STRUCT_SIZE,
            Failure::Enum { .. } | Failure::Invalid { .. } | Failure::Count { .. } => {
                hmm_status::HMM_ERR_INVALID_ARGUMENT
            }
            Failure::ConfigEnum { .. } | Failure::ConfigRange { .. } => hmm_status::HMM_ERR_CONFIG,
            Failure::NoMemory { .. } | Failure::Overflow => hmm_status::HMM_ERR_NO_MEMORY,
            Failure::Element { field, .. } => field.status(),
            Failure::Panic(_) => hmm_status::HMM_ERR_PANIC,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Runtime(error) => write!(f, "{error}"),
            Failure::Location(Error::NoDevice { device, count }) => write!(
                f,
                "location: there is no device {device} (there are {count}; HMM_HOST, -1, is the host's memory)"
            ),
            Failure::Location(error) => write!(f, "location: {error}"),
            Failure::Size(error) => write!(f, "size: {error}"),
            Failure::Within(array, error) => write!(f, "{array}: {error}"),
            Failure::Overflow => write!(f, "n * size: the product overflows"),
            Failure::Null(argument) => write!(f, "{argument}: is NULL"),
            Failure::Enum { argument, value, name } => {
                write!(f, "{argument}: {value} is not a value of {name}")
            }
            Failure::ConfigEnum { field, value, name } => {
                write!(f, "{field}: {value} is not a value of {name}")
            }
            Failure::ConfigRange { field, value, most } => {
                write!(f, "{field}: {value} is not a number from 1 to {most}")
            }
            Failure::StructSize { argument, size, ours } => {
                write!(f, "{argument}: struct_size {size} does not fit this version (expected {ours})")
            }
            Failure::UnknownFields { argument, size, ours } => {
                write!(
                    f,
                    "{argument}: struct_size {size}: fields after byte {ours} are set that this version lacks"
                )
            }
            Failure::Invalid { argument, why } => write!(f, "{argument}: {why}"),
            Failure::Count { argument, count, needed } => {
                write!(f, "{argument}: {count} is too small, the range has {needed} pages")
            }
            Failure::NoMemory { argument, count } => {
                write!(f, "{argument}: out of host memory for {count} elements")
            }
            Failure::Element { array, index, field } => write!(f, "{array}[{index}].{field}"),
            Failure::Panic(what) => write!(f, "internal error: {what}"),
        }
    }
}

/// Runs a body that may fail or panic; a failure is recorded under `function`, which is the C function's name.
pub(crate) fn value<T>(function: &str, body: impl FnOnce() -> Result<T, Failure>) -> Result<T, hmm_status> {
    guarded(function, |_| false, body)
}

/// As [`value`], and the failure is also logged: for `hmm_free`, which can't answer. Not in a forked child: destructors
/// that run there are no mistake.
pub(crate) fn logged<T>(function: &str, body: impl FnOnce() -> Result<T, Failure>) -> Result<T, hmm_status> {
    guarded(function, |status| status != hmm_status::HMM_ERR_FORKED, body)
}

/// As [`value`], for functions that answer with a status.
pub(crate) fn status(function: &str, body: impl FnOnce() -> Result<(), Failure>) -> hmm_status {
    match guarded(function, |_| false, body) {
        Ok(()) => hmm_status::HMM_OK,
        Err(status) => status,
    }
}

fn guarded<T>(
    function: &str,
    log: impl Fn(hmm_status) -> bool,
    body: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, hmm_status> {
    // What a panic interrupts lies in the runtime, whose locks poison or abort as they see fit; nothing is kept here.
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Failure::Panic(text.unwrap_or_else(|| "panic".to_owned()))
        }
    };
    let status = failure.status();
    last_error::record(function, &failure, log(status));
    Err(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> String {
        let mut buf = [0_u8; 600];
        // SAFETY: the buffer has that room.
        let len = unsafe { last_error::hmm_last_error(buf.as_mut_ptr().cast(), buf.len()) };
        String::from_utf8(buf[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(status("hmm_test", || panic!("number {}", 7)), hmm_status::HMM_ERR_PANIC);
        assert_eq!(message(), "hmm_test: internal error: number 7");
        assert_eq!(value::<()>("hmm_test", || panic!("static")), Err(hmm_status::HMM_ERR_PANIC));
        assert_eq!(message(), "hmm_test: internal error: static");
        assert_eq!(value::<()>("hmm_test", || std::panic::panic_any(7_u32)), Err(hmm_status::HMM_ERR_PANIC));
        assert_eq!(message(), "hmm_test: internal error: panic");
    }

    #[test]
    fn success_leaves_the_message() {
        assert_eq!(status("hmm_test", || Err(Failure::Null("ptr"))), hmm_status::HMM_ERR_NULL_POINTER);
        assert_eq!(status("hmm_other", || Ok(())), hmm_status::HMM_OK);
        assert_eq!(message(), "hmm_test: ptr: is NULL");
    }
}
