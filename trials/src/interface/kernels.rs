//! Kernels of the trials' own, as host functions: what they find is compared on the device's side. `args` of each: the
//! range, its length, and a number.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use hmmrt_interface::kernel::{hmm_kernel_from_function, hmm_launch};
use hmmrt_interface::status::hmm_status;
use hmmrt_interface::types::{hmm_arg, hmm_kernel, hmm_launch_config, hmm_stream};

/// The kinds, with the access mode of their range.
pub(super) const READ: usize = 0;
pub(super) const FILL: usize = 1;
pub(super) const ADD: usize = 2;
pub(super) const MODES: [i32; 3] = [1, 2, 3];

type Function = unsafe extern "C" fn(*const hmm_launch_config, *const *mut c_void);
const FUNCTIONS: [Function; 3] = [sum, fill, add];

/// An enum as C passes it: any number.
pub(super) fn raw<E>(value: i32) -> MaybeUninit<E> {
    const { assert!(size_of::<E>() == 4) };
    let mut raw = MaybeUninit::<E>::uninit();
    // SAFETY: room for an int, checked above.
    unsafe { raw.as_mut_ptr().cast::<i32>().write(value) };
    raw
}

/// The bytes of the range, and the number.
///
/// # Safety
/// `args` are those of a launch by [`launch`].
unsafe fn arguments<'a>(args: *const *mut c_void) -> (&'a mut [u8], u64) {
    // SAFETY: three arguments; the runtime has made the range this kernel's.
    unsafe {
        let at = args.read().cast::<*mut u8>().read();
        let len = args.add(1).read().cast::<usize>().read();
        (core::slice::from_raw_parts_mut(at, len), args.add(2).read().cast::<u64>().read())
    }
}

/// # Safety
/// As [`arguments`].
unsafe extern "C" fn sum(_: *const hmm_launch_config, args: *const *mut c_void) {
    // SAFETY: as `arguments` says.
    let (bytes, expected) = unsafe { arguments(args) };
    let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    if sum != expected {
        eprintln!("a kernel reads {sum:#x} from {} bytes and should read {expected:#x}", bytes.len());
        std::process::abort();
    }
}

/// # Safety
/// As [`arguments`].
unsafe extern "C" fn fill(_: *const hmm_launch_config, args: *const *mut c_void) {
    // SAFETY: as `arguments` says.
    let (bytes, value) = unsafe { arguments(args) };
    bytes.fill(value as u8);
}

/// # Safety
/// As [`arguments`].
unsafe extern "C" fn add(_: *const hmm_launch_config, args: *const *mut c_void) {
    // SAFETY: as `arguments` says.
    let (bytes, value) = unsafe { arguments(args) };
    bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(value as u8));
}

pub(super) fn get(device: i32, which: usize) -> Result<hmm_kernel, hmm_status> {
    let mut kernel = core::ptr::null_mut();
    // SAFETY: a function that stays, and room for the answer.
    let status = unsafe { hmm_kernel_from_function(device, Some(FUNCTIONS[which]), &raw mut kernel) };
    if status == hmm_status::HMM_OK { Ok(kernel) } else { Err(status) }
}

/// Launches one of ours.
pub(super) fn launch(
    kernel: hmm_kernel,
    stream: hmm_stream,
    range: (*const c_void, usize),
    mode: i32,
    number: u64,
) -> hmm_status {
    let value = |data: *const c_void| hmm_arg { kind: raw(0), mode: raw(0), data, size: 8 };
    let len = range.1;
    let args = [
        hmm_arg { kind: raw(1), mode: raw(mode), data: range.0, size: len },
        value((&raw const len).cast()),
        value((&raw const number).cast()),
    ];
    let config = hmm_launch_config {
        struct_size: size_of::<hmm_launch_config>(),
        grid: [1; 3],
        block: [1; 3],
        shared_bytes: 0,
        stream,
    };
    // SAFETY: both are valid, and the kernel touches no more than the range.
    unsafe { hmm_launch(kernel, &raw const config, args.as_ptr(), args.len()) }
}
