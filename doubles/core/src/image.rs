//! Modules: which of the known kernels an image holds. The double runs no code out of it. PTX names its kernels; of any
//! other image it is enough that the name stands in it as a word, which it does in ELF files and sources.

use core::ffi::c_void;
use std::ptr;

use crate::kernels::ALL;
use crate::table::Kernel;
use crate::{Error, Result};

/// A loaded module.
pub struct Module {
    /// What can be launched.
    pub kernels: Vec<&'static Kernel>,
    /// Of which device's context it is.
    pub device: usize,
}

impl Module {
    /// The kernel of that name, or NOT_FOUND.
    pub fn kernel(&self, name: &str) -> Result<&'static Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name).copied().ok_or(Error::NOT_FOUND)
    }
}

/// Reads an image, whose size is only to be found in it.
///
/// # Safety
/// It is a text with a NUL, or begins with the header of an ELF file or a fat binary and is as long as that says.
pub unsafe fn load(image: *const c_void) -> Result<Vec<&'static Kernel>> {
    if image.is_null() {
        return Err(Error::INVALID_VALUE);
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(image.cast()) };
    if bytes.is_empty() {
        return Err(Error::INVALID_PTX);
    }
    if is_ptx(bytes) {
        return ptx(bytes);
    }
    let kernels: Vec<_> = ALL.iter().filter(|kernel| has_word(bytes, kernel.name)).collect();
    let container = bytes.starts_with(ELF) || bytes.starts_with(&FATBIN) || bytes.starts_with(BUNDLE);
    if kernels.is_empty() {
        return Err(if container { Error::NO_BINARY } else { Error::INVALID_IMAGE });
    }
    Ok(kernels)
}

const ELF: &[u8] = b"\x7fELF";
const FATBIN: [u8; 4] = 0xBA55_ED50u32.to_le_bytes();
const BUNDLE: &[u8] = b"__CLANG_OFFLOAD_BUNDLE__";

/// The bytes of an image.
///
/// # Safety
/// As [`load`].
unsafe fn bytes<'a>(image: *const u8) -> &'a [u8] {
    let begins = |with: &[u8]| {
        // SAFETY: byte by byte, and not past one that differs, so not past a text's end.
        with.iter().enumerate().all(|(i, byte)| unsafe { *image.add(i) } == *byte)
    };
    // SAFETY: the header of such a file is there, by the caller's promise.
    let number = |at: usize| unsafe { image.add(at).cast::<u64>().read_unaligned() };
    let len = if begins(ELF) {
        // The table of sections is an ELF file's end: its place, and the size and number of its entries.
        let sizes = number(0x3a);
        number(0x28) + (sizes & 0xffff) * (sizes >> 16 & 0xffff)
    } else if begins(&FATBIN) {
        (number(0) >> 48) + number(8)
    } else if begins(BUNDLE) {
        bundle(&number)
    } else {
        // SAFETY: a text, by the caller's promise.
        unsafe { std::ffi::CStr::from_ptr(image.cast()) }.count_bytes() as u64
    };
    // SAFETY: as long as was found.
    unsafe { &*ptr::slice_from_raw_parts(image, len as usize) }
}

/// The length of a bundle: each entry has offset, size, and the length of a name that follows.
fn bundle(number: &dyn Fn(usize) -> u64) -> u64 {
    let (mut at, mut len) = (32, 32);
    for _ in 0..number(24).min(64) {
        len = len.max(number(at) + number(at + 8));
        at += 24 + number(at + 16) as usize;
    }
    len
}

/// Whether the first word is PTX's.
fn is_ptx(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = text.trim_start();
    loop {
        let after = match rest.get(..2) {
            Some("//") => rest.split_once('\n').map(|(_, after)| after),
            Some("/*") => rest.split_once("*/").map(|(_, after)| after),
            _ => return rest.starts_with(".version"),
        };
        let Some(after) = after else { return false };
        rest = after.trim_start();
    }
}

/// The kernels of a PTX text. Others than the known ones may be in it; they are not found later.
fn ptx(bytes: &[u8]) -> Result<Vec<&'static Kernel>> {
    let text = String::from_utf8_lossy(bytes);
    let count = |c| text.matches(c).count();
    if !text.contains(".target") || count('{') != count('}') || count('(') != count(')') {
        return Err(Error::INVALID_PTX);
    }
    let names: Vec<&str> = text
        .split(".entry")
        .skip(1)
        .map(|rest| rest.trim_start())
        .map(|rest| &rest[..rest.find(|c| !is_word(c as u32)).unwrap_or(rest.len())])
        .collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err(Error::INVALID_PTX);
    }
    Ok(ALL.iter().filter(|kernel| names.contains(&kernel.name)).collect())
}

fn is_word(c: u32) -> bool {
    char::from_u32(c).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
}

/// Whether a name stands in the bytes with no letter, digit or underscore at either side.
pub fn has_word(bytes: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    let edge = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_none_or(|b| !is_word(u32::from(*b)));
    bytes
        .windows(name.len())
        .enumerate()
        .any(|(i, window)| window == name && edge(i.checked_sub(1)) && edge(Some(i + name.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(image: &[u8]) -> Result<Vec<&'static str>> {
        // SAFETY: the tests' images end with a NUL or say how long they are.
        unsafe { load(image.as_ptr().cast()) }.map(|kernels| kernels.iter().map(|k| k.name).collect())
    }

    #[test]
    fn ptx_names_its_kernels() {
        let text = b"// inc\n.version 6.0\n.target sm_50\n.visible .entry hmm_fill(.param .u64 p){ }\n.entry other(){}\0";
        assert_eq!(names(text), Ok(vec!["hmm_fill"]));
        assert_eq!(names(b".version 6.0\n.target sm_50\n.entry hmm_fill({\0"), Err(Error::INVALID_PTX));
        assert_eq!(names(b"\0"), Err(Error::INVALID_PTX));
    }

    #[test]
    fn other_images_hold_what_stands_in_them() {
        assert_eq!(names(b"void triad(double *a) my_inc hmm_fills\0"), Ok(vec!["triad"]));
        assert_eq!(names(b"nothing\0"), Err(Error::INVALID_IMAGE));
        let mut elf = vec![0u8; 100];
        elf[..4].copy_from_slice(ELF);
        elf[0x28] = 100;
        assert_eq!(names(&elf), Err(Error::NO_BINARY));
        elf[80..83].copy_from_slice(b"inc");
        assert_eq!(names(&elf), Ok(vec!["inc"]));
    }

    #[test]
    fn parameters_are_aligned() {
        let kernel = ALL.iter().find(|kernel| kernel.name == "hmm_saxpy").unwrap();
        let at: Vec<_> = (0..5).map(|i| kernel.param(i)).collect();
        assert_eq!(at, [Some((0, 8)), Some((8, 8)), Some((16, 4)), Some((24, 8)), None]);
        assert_eq!(kernel.bytes(), 32);
    }
}
