//! Structs that begin with `struct_size`: how an older or newer caller's struct is read and written. The rules are those of
//! openat2(2) and clone3(2): too small is an error; bytes that this version does not know must be zero; what is written
//! back never goes past what the caller has. Called first thing in each function that takes such a struct.

use core::mem::MaybeUninit;

use crate::guard::Failure;

/// No struct is larger; a larger `struct_size` is an uninitialised one, and its bytes are not looked at.
const LARGEST: usize = 4096;

/// A struct of the C interface whose first field is `struct_size`.
///
/// # Safety
/// `repr(C)`, and the first field is a `usize` that holds the caller's `sizeof`.
pub(crate) unsafe trait Sized_: Copy {
    /// The struct's size in the first version that had it: the least that a caller can have.
    const FIRST: usize;
}

/// Reads a struct from the caller.
///
/// # Safety
/// `from` is NULL or points at `struct_size` readable bytes, `struct_size` being the first field.
pub(crate) unsafe fn read<T: Sized_>(argument: &'static str, from: *const T) -> Result<T, Failure> {
    // SAFETY: the caller's promise is ours.
    let size = unsafe { size(argument, from) }?;
    let ours = size_of::<T>();
    for at in ours..size {
        // SAFETY: `at < struct_size`.
        if unsafe { from.cast::<u8>().add(at).read() } != 0 {
            return Err(Failure::UnknownFields { argument, size, ours });
        }
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: at most `struct_size` bytes are read and `size_of::<T>()` written; zeros are valid in every field of a later
    // version that the caller's lacks (the C interface's structs hold numbers, pointers and MaybeUninit enums).
    unsafe {
        value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from.cast(), size.min(ours));
        Ok(value.assume_init())
    }
}

/// Checks a struct that will be written to.
///
/// # Safety
/// As [`read`].
pub(crate) unsafe fn check<T: Sized_>(argument: &'static str, to: *const T) -> Result<(), Failure> {
    // SAFETY: the caller's promise is ours.
    unsafe { size(argument, to) }.map(drop)
}

/// Writes `value` to the caller's struct, all but its `struct_size`, and no further than the caller's struct goes.
///
/// # Safety
/// `to` was checked with [`check`] and is writable.
pub(crate) unsafe fn write<T: Sized_>(to: *mut T, value: &T) {
    let head = size_of::<usize>();
    // SAFETY: the first field is the size; both sides have the bytes up to the smaller of the two sizes. They are copied
    // as MaybeUninit, because there may be padding among them.
    unsafe {
        let size = to.cast::<usize>().read().min(size_of::<T>());
        let from = (&raw const *value).cast::<MaybeUninit<u8>>();
        to.cast::<MaybeUninit<u8>>().add(head).copy_from_nonoverlapping(from.add(head), size - head);
    }
}

/// The caller's `struct_size`, checked.
///
/// # Safety
/// As [`read`].
unsafe fn size<T: Sized_>(argument: &'static str, from: *const T) -> Result<usize, Failure> {
    if from.is_null() {
        return Err(Failure::Null(argument));
    }
    // SAFETY: not NULL, and the struct begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    if size < T::FIRST || size > LARGEST {
        return Err(Failure::StructSize { argument, size, ours: size_of::<T>() });
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this version knows; the first version had only `a`.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Now {
        struct_size: usize,
        a: u64,
        b: u64,
    }
    // SAFETY: repr(C), the size comes first.
    unsafe impl Sized_ for Now {
        const FIRST: usize = 16;
    }

    fn words(words: &[u64]) -> Result<Now, Failure> {
        // SAFETY: each test's size is that of its words, or refused before they are read.
        unsafe { read("now", words.as_ptr().cast()) }
    }

    #[test]
    fn an_older_struct_is_filled_up_with_zeros() {
        assert_eq!(words(&[16, 7, 99]).unwrap(), Now { struct_size: 16, a: 7, b: 0 });
        assert_eq!(words(&[24, 7, 8]).unwrap(), Now { struct_size: 24, a: 7, b: 8 });
    }

    #[test]
    fn a_newer_struct_must_not_use_what_is_not_known() {
        assert_eq!(words(&[40, 7, 8, 0, 0]).unwrap().b, 8);
        assert!(matches!(words(&[40, 7, 8, 0, 1]), Err(Failure::UnknownFields { size: 40, ours: 24, .. })));
        assert!(matches!(words(&[25, 7, 8, 1]), Err(Failure::UnknownFields { size: 25, .. })));
    }

    #[test]
    fn sizes_that_can_not_be_are_refused() {
        for size in [0, 8, 15, 4097, u64::MAX] {
            assert!(matches!(words(&[size, 7, 8]), Err(Failure::StructSize { ours: 24, .. })), "{size}");
        }
        // SAFETY: NULL is allowed.
        assert!(matches!(unsafe { read::<Now>("now", core::ptr::null()) }, Err(Failure::Null("now"))));
    }

    #[test]
    fn the_first_version_and_the_largest_are_read() {
        use crate::config::hmm_config;
        use crate::types::{hmm_device_info_s, hmm_launch_config, hmm_stats};
        fn is_read<T: Sized_>(size: usize) -> bool {
            let mut caller = [0; LARGEST / size_of::<usize>()];
            caller[0] = size;
            // SAFETY: as many bytes as any size that is not refused.
            unsafe { read::<T>("caller", caller.as_ptr().cast()) }.is_ok()
        }
        assert!(is_read::<hmm_config>(88) && !is_read::<hmm_config>(87));
        assert!(is_read::<hmm_launch_config>(48) && !is_read::<hmm_launch_config>(47));
        assert!(is_read::<hmm_stats>(160) && !is_read::<hmm_stats>(159));
        assert!(is_read::<hmm_device_info_s>(176) && !is_read::<hmm_device_info_s>(175));
        assert!(is_read::<hmm_config>(LARGEST) && !is_read::<hmm_config>(LARGEST + 1));
    }

    #[test]
    fn writing_stops_at_the_end_of_either() {
        let value = Now { struct_size: 0, a: 1, b: 2 };
        for (size, after) in
            [(16, [16, 1, 9, 9]), (20, [20, 1, 2, 9]), (24, [24, 1, 2, 9]), (32, [32, 1, 2, 9])]
        {
            let mut to = [size, 9, 9, 9_u64];
            // SAFETY: four words are there, and the size is at most that.
            unsafe {
                check::<Now>("now", to.as_ptr().cast()).unwrap();
                write::<Now>(to.as_mut_ptr().cast(), &value);
            }
            let known = if size == 20 { [to[0], to[1], to[2] & 0xffff_ffff, to[3]] } else { to };
            assert_eq!(known, after, "{size}");
        }
    }
}
