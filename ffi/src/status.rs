//! `hmm_status`: the codes of the C interface, and their texts. The numbers are `hmmrt::Error::code()`'s, which are never
//! renumbered; the texts are its too. Reads only constants: `hmm_strerror` may be called anywhere, signal handlers included.

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;

use hmmrt_core::Error;

/// What a call answers: HMM_OK, or one of the negative codes. Codes are never renumbered; a later version may add some.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum hmm_status {
    /// The call did what it was asked to.
    HMM_OK = 0,
    /// An argument has a value that is not allowed (a zero length, an alignment that is no power of two, ...).
    HMM_ERR_INVALID_ARGUMENT = -1,
    /// A pointer argument is NULL.
    HMM_ERR_NULL_POINTER = -2,
    /// The host has no memory or address space left for this.
    HMM_ERR_NO_MEMORY = -3,
    /// The device has no memory left for this.
    HMM_ERR_DEVICE_MEMORY = -4,
    /// The address is not managed by this library.
    HMM_ERR_NOT_MANAGED = -5,
    /// The range goes past the end of the block that it starts in.
    HMM_ERR_OUT_OF_RANGE = -6,
    /// The program itself made the memory inaccessible. Like the kernel's EFAULT.
    HMM_ERR_ACCESS_DENIED = -7,
    /// The program itself made the memory read-only and this would write it. Like the kernel's EPERM.
    HMM_ERR_READ_ONLY = -8,
    /// Part of the range is not mapped. Like the kernel's EINVAL.
    HMM_ERR_HOLE = -9,
    /// The memory is shared, a file's or otherwise special: only private anonymous memory moves.
    HMM_ERR_NOT_MIGRATABLE = -10,
    /// The memory is pinned, or acquired by a stream.
    HMM_ERR_BUSY = -11,
    /// There is no such device.
    HMM_ERR_NO_DEVICE = -12,
    /// This build, backend or machine can't do that.
    HMM_ERR_UNSUPPORTED = -13,
    /// A device or its driver reported an error; the message has the driver's own code and name.
    HMM_ERR_DEVICE = -14,
    /// Called after hmm_shutdown; hmm_init starts the runtime again.
    HMM_ERR_SHUTDOWN = -15,
    /// Called in a forked child; the runtime and its devices belong to the parent.
    HMM_ERR_FORKED = -16,
    /// A stream, module or kernel handle is not valid, or no longer.
    HMM_ERR_BAD_HANDLE = -17,
    /// The only copy of the memory's contents was lost with its device.
    HMM_ERR_LOST = -18,
    /// An HMMRT_* variable or a field of hmm_config has a value that is not known; the message names both.
    HMM_ERR_CONFIG = -19,
    /// A call to the operating system failed; the message names it.
    HMM_ERR_SYSTEM = -20,
    /// A struct's struct_size does not fit this version of the library.
    HMM_ERR_STRUCT_SIZE = -21,
    /// The library caught an error of its own. Please report it.
    HMM_ERR_PANIC = -22,
}

use hmm_status::*;

/// Every code, at the index `-code`.
const CODES: [hmm_status; 23] = [
    HMM_OK,
    HMM_ERR_INVALID_ARGUMENT,
    HMM_ERR_NULL_POINTER,
    HMM_ERR_NO_MEMORY,
    HMM_ERR_DEVICE_MEMORY,
    HMM_ERR_NOT_MANAGED,
    HMM_ERR_OUT_OF_RANGE,
    HMM_ERR_ACCESS_DENIED,
    HMM_ERR_READ_ONLY,
    HMM_ERR_HOLE,
    HMM_ERR_NOT_MIGRATABLE,
    HMM_ERR_BUSY,
    HMM_ERR_NO_DEVICE,
    HMM_ERR_UNSUPPORTED,
    HMM_ERR_DEVICE,
    HMM_ERR_SHUTDOWN,
    HMM_ERR_FORKED,
    HMM_ERR_BAD_HANDLE,
    HMM_ERR_LOST,
    HMM_ERR_CONFIG,
    HMM_ERR_SYSTEM,
    HMM_ERR_STRUCT_SIZE,
    HMM_ERR_PANIC,
];

impl From<Error> for hmm_status {
    /// The code of a runtime error; one that this file does not know (they are added together) counts as a panic.
    fn from(error: Error) -> Self {
        index(error.code()).map_or(HMM_ERR_PANIC, |index| CODES[index])
    }
}

/// Where a code's entry is in `CODES` and `TEXTS`.
fn index(code: i32) -> Option<usize> {
    let index = usize::try_from(code.checked_neg()?).ok()?;
    (index < CODES.len()).then_some(index)
}

/// Room for one text and its NUL; a longer text does not compile.
const TEXT: usize = 96;

/// `Error::describe`'s texts as C strings; the last one is for codes that are not known.
static TEXTS: [[u8; TEXT]; CODES.len() + 1] = {
    let mut texts = [[0; TEXT]; CODES.len() + 1];
    let mut row = 0;
    while row < texts.len() {
        let code = if row < CODES.len() { -(row as i32) } else { i32::MIN };
        let text = Error::describe(code).as_bytes();
        assert!(text.len() < TEXT);
        let mut at = 0;
        while at < text.len() {
            texts[row][at] = text[at];
            at += 1;
        }
        row += 1;
    }
    texts
};

/// What a status means, in a few words: a static string, also for a code that is not known.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_strerror(status: MaybeUninit<hmm_status>) -> *const c_char {
    // SAFETY: a C caller passes an int32_t, whose bits are all initialised; only as an enum could they be out of range.
    let code = unsafe { status.as_ptr().cast::<i32>().read() };
    let text = &TEXTS[index(code).unwrap_or(CODES.len())];
    // The table is built so that each row has a NUL.
    CStr::from_bytes_until_nul(text).unwrap_or(c"?").as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: i32) -> &'static str {
        let mut status = MaybeUninit::<hmm_status>::uninit();
        // SAFETY: any int may come from C; the pointer is the value's own. The result is a static C string.
        unsafe {
            status.as_mut_ptr().cast::<i32>().write(code);
            CStr::from_ptr(hmm_strerror(status)).to_str().unwrap()
        }
    }

    #[test]
    fn each_code_is_at_its_index() {
        for (index, code) in CODES.iter().enumerate() {
            assert_eq!(-(index as i32), *code as i32);
        }
    }

    #[test]
    fn the_codes_are_the_runtimes() {
        let unknown = Error::describe(i32::MIN);
        for code in CODES {
            assert_ne!(Error::describe(code as i32), unknown, "{code:?} is not known to the runtime");
        }
        let next = -(CODES.len() as i32);
        assert_eq!(Error::describe(next), unknown, "the runtime has a code {next} that hmm_status lacks");
    }

    #[test]
    fn strerror_is_describe_for_every_code() {
        for code in [i32::MIN, i32::MAX, 1, -1000].into_iter().chain(-30..=0) {
            assert_eq!(text(code), Error::describe(code), "code {code}");
        }
        assert_ne!(text(0), text(1));
    }
}
