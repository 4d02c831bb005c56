//! The one error type. Each variant is one C code (`hmm_status`), never renumbered, and its doc sentence is its message.
//! `Error` is `Copy` and holds no heap memory, so that the fault path can make one; text is only made by `Display`,
//! which the fault path never calls.

use thiserror::Error;

/// Everything an operation can fail with. Nothing was changed unless the variant says otherwise.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An argument has a value that is not allowed.
    #[error("{arg}: {why}")]
    InvalidArgument {
        /// The argument's name in the C interface.
        arg: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A pointer argument is NULL.
    #[error("{arg}: is NULL")]
    NullPointer {
        /// The argument's name in the C interface.
        arg: &'static str,
    },
    /// The host has no memory (or address space) left for this.
    #[error("{what}: out of host memory ({bytes} bytes asked)")]
    NoMemory {
        /// What the memory was for.
        what: &'static str,
        /// How much was asked for.
        bytes: usize,
    },
    /// The device has no memory left for this.
    #[error("device {device}: out of device memory ({bytes} bytes asked{})", of(*memory))]
    DeviceMemory {
        /// The device's number.
        device: i32,
        /// How much was asked for: of a launch all that it names, in whole chunks.
        bytes: usize,
        /// How much the device has in all; 0: not said.
        memory: u64,
    },
    /// The address is not managed by this library.
    #[error("{arg}: address {addr:#x} is not managed memory")]
    NotManaged {
        /// The argument's name.
        arg: &'static str,
        /// The first address that is not managed.
        addr: usize,
    },
    /// The range goes past the end of the block it starts in.
    #[error("{arg}: {len} bytes at {addr:#x} go past the end of the block, which ends at {end:#x}")]
    OutOfRange {
        /// The argument's name.
        arg: &'static str,
        /// Where the range starts.
        addr: usize,
        /// Its length in bytes.
        len: usize,
        /// Where the block ends.
        end: usize,
    },
    /// The program itself made the page inaccessible (PROT_NONE).
    #[error("{arg}: page {addr:#x} is inaccessible by the program's own protection")]
    AccessDenied {
        /// The argument's name.
        arg: &'static str,
        /// The page.
        addr: usize,
    },
    /// The program itself made the page read-only and this would write it.
    #[error("{arg}: page {addr:#x} is read-only by the program's own protection")]
    ReadOnly {
        /// The argument's name.
        arg: &'static str,
        /// The page.
        addr: usize,
    },
    /// Part of the range is not mapped.
    #[error("{arg}: nothing is mapped at {addr:#x}")]
    Hole {
        /// The argument's name.
        arg: &'static str,
        /// The first unmapped address.
        addr: usize,
    },
    /// The memory is shared, a file's, special, or otherwise not private anonymous memory.
    #[error("{arg}: the memory at {addr:#x} can't move: only private anonymous memory does")]
    NotMigratable {
        /// The argument's name.
        arg: &'static str,
        /// The first such address.
        addr: usize,
    },
    /// The memory is in use (pinned, or acquired by a stream) and can't be changed now.
    #[error("{arg}: the memory at {addr:#x} is in use ({why})")]
    Busy {
        /// The argument's name.
        arg: &'static str,
        /// The first such address.
        addr: usize,
        /// What uses it.
        why: &'static str,
    },
    /// There is no such device.
    #[error("device: there is no device {device} (there are {count})")]
    NoDevice {
        /// The number asked for.
        device: i32,
        /// How many there are.
        count: usize,
    },
    /// This build, backend or machine can't do that.
    #[error("{what}: not supported ({why})")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// Why it can't be done.
        why: &'static str,
    },
    /// A device or its driver reported an error.
    #[error("{}{call} failed: {name} ({code})", Prefix(*device))]
    Device {
        /// The device's number; -1 where the call was about no device in particular.
        device: i32,
        /// The call that failed.
        call: &'static str,
        /// The driver's own code.
        code: i32,
        /// The driver's own name for the code.
        name: &'static str,
    },
    /// The runtime has been shut down; `hmm_init` starts it again.
    #[error("{call}: called after hmm_shutdown")]
    Shutdown {
        /// The call that was made.
        call: &'static str,
    },
    /// A forked child called; devices belong to the parent.
    #[error("{call}: called in a forked child; the runtime and its devices belong to the parent process")]
    Forked {
        /// The call that was made.
        call: &'static str,
    },
    /// A stream, module or kernel handle is not valid (any more).
    #[error("{arg}: handle {value:#x} is not valid")]
    BadHandle {
        /// The argument's name.
        arg: &'static str,
        /// The handle's value.
        value: u64,
    },
    /// The only copy of the page was lost with its device.
    #[error("{arg}: the contents of page {addr:#x} were lost with their device")]
    Lost {
        /// The argument's name.
        arg: &'static str,
        /// The page.
        addr: usize,
    },
    /// An `HMMRT_*` variable or a field of `hmm_config` has a value that is not known.
    #[error("{0}")]
    Config(ConfigError),
    /// A call to the operating system failed.
    #[error("{call} failed with errno {errno}")]
    System {
        /// The system call.
        call: &'static str,
        /// Its errno.
        errno: i32,
    },
    /// A struct's `struct_size` does not fit this version of the library.
    #[error("{arg}: struct_size {size} does not fit this version (expected {expected})")]
    StructSize {
        /// The argument's name.
        arg: &'static str,
        /// The size given.
        size: usize,
        /// The size this version knows.
        expected: usize,
    },
    /// The runtime caught an error of its own at the C boundary.
    #[error("{call}: internal error")]
    Panic {
        /// The call that was made.
        call: &'static str,
    },
}

/// What an error of a driver begins with.
struct Prefix(i32);

impl core::fmt::Display for Prefix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.0 < 0 { Ok(()) } else { write!(f, "device {}: ", self.0) }
    }
}

/// A configuration value that is not understood; keeps the start of the value for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The variable (`HMMRT_SPARE`) or the field of `hmm_config`.
    pub name: &'static str,
    /// What would be accepted.
    pub expected: &'static str,
    value: [u8; 48],
    len: u8,
}

impl ConfigError {
    /// An error about `name`, whose value was `value`.
    pub fn new(name: &'static str, value: &str, expected: &'static str) -> Self {
        let mut end = value.len().min(48);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let mut kept = [0; 48];
        kept[..end].copy_from_slice(&value.as_bytes()[..end]);
        Self { name, expected, value: kept, len: end as u8 }
    }
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let value = core::str::from_utf8(&self.value[..self.len as usize]).unwrap_or("?");
        write!(f, "{}: unknown value \"{}\" (expected {})", self.name, value, self.expected)
    }
}

fn of(memory: u64) -> String {
    if memory == 0 {
        String::new()
    } else {
        format!(", the device has {memory}, and nothing else can leave it")
    }
}

impl Error {
    /// The stable code of the C interface, negative.
    pub const fn code(&self) -> i32 {
        match self {
            Error::InvalidArgument { .. } => -1,
            Error::NullPointer { .. } => -2,
            Error::NoMemory { .. } => -3,
            Error::DeviceMemory { .. } => -4,
            Error::NotManaged { .. } => -5,
            Error::OutOfRange { .. } => -6,
            Error::AccessDenied { .. } => -7,
            Error::ReadOnly { .. } => -8,
            Error::Hole { .. } => -9,
            Error::NotMigratable { .. } => -10,
            Error::Busy { .. } => -11,
            Error::NoDevice { .. } => -12,
            Error::Unsupported { .. } => -13,
            Error::Device { .. } => -14,
            Error::Shutdown { .. } => -15,
            Error::Forked { .. } => -16,
            Error::BadHandle { .. } => -17,
            Error::Lost { .. } => -18,
            Error::Config(_) => -19,
            Error::System { .. } => -20,
            Error::StructSize { .. } => -21,
            Error::Panic { .. } => -22,
        }
    }

    /// What a code means, in a few words. `0` is success; unknown codes say so.
    pub const fn describe(code: i32) -> &'static str {
        match code {
            0 => "success",
            -1 => "invalid argument",
            -2 => "null pointer",
            -3 => "out of host memory",
            -4 => "out of device memory",
            -5 => "not managed memory",
            -6 => "range goes past the end of its block",
            -7 => "inaccessible by the program's own protection",
            -8 => "read-only by the program's own protection",
            -9 => "nothing mapped there",
            -10 => "only private anonymous memory can move",
            -11 => "memory is in use",
            -12 => "no such device",
            -13 => "not supported",
            -14 => "device or driver error",
            -15 => "called after shutdown",
            -16 => "called in a forked child",
            -17 => "invalid handle",
            -18 => "contents were lost with their device",
            -19 => "invalid configuration",
            -20 => "operating system call failed",
            -21 => "struct_size does not fit this version",
            -22 => "internal error",
            _ => "unknown status code",
        }
    }
}

/// `core::result::Result` with this crate's [`Error`](enum@Error).
pub type Result<T> = core::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_described_and_messages_name_the_argument() {
        let e = Error::OutOfRange { arg: "len", addr: 0x1000, len: 5, end: 0x1004 };
        assert_eq!(e.code(), -6);
        assert_eq!(
            e.to_string(),
            "len: 5 bytes at 0x1000 go past the end of the block, which ends at 0x1004"
        );
        for code in -22..=0 {
            assert_ne!(Error::describe(code), Error::describe(1), "{code}");
        }
    }

    #[test]
    fn config_error_cuts_at_a_character() {
        let e = ConfigError::new("HMMRT_LOG", &"ä".repeat(40), "a level");
        assert!(e.to_string().contains(&"ä".repeat(24)));
    }
}
