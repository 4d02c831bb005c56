//! The test kernels on whatever backend runs: host functions, or device code from `kernels/`.

use hmmrt::{Error, KernelId, LaunchConfig, raw};
use std::ffi::c_void;

/// Reads the i-th argument.
///
/// # Safety
/// There is one, of type `T`.
unsafe fn arg<T: Copy>(args: *const *mut c_void, i: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { (*args.add(i)).cast::<T>().read_unaligned() }
}

/// `p[i] += v`
///
/// # Safety
/// Launched with p, n and v; the n bytes are acquired, to be written.
unsafe extern "C" fn add_bytes(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: launched with these three arguments, and the bytes are acquired.
    unsafe {
        let (p, n, v): (*mut u8, u64, u8) = (arg(args, 0), arg(args, 1), arg(args, 2));
        (0..n as usize).for_each(|i| *p.add(i) = (*p.add(i)).wrapping_add(v));
    }
}

/// `p[i] = v`
///
/// # Safety
/// As [`add_bytes`].
unsafe extern "C" fn fill_bytes(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: as above.
    unsafe { arg::<*mut u8>(args, 0).write_bytes(arg(args, 2), arg::<u64>(args, 1) as usize) }
}

/// `*p += 1`
///
/// # Safety
/// Launched with a pointer to a word that is acquired, to be written.
unsafe extern "C" fn add_word(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: launched with one pointer to an acquired word.
    unsafe { *arg::<*mut u64>(args, 0) += 1 }
}

fn wait(ns: u64) {
    std::thread::sleep(std::time::Duration::from_nanos(ns));
}

/// After a while: `p[i] += 1`
///
/// # Safety
/// Launched with a pointer to words that nobody else uses meanwhile, their number, and the time.
unsafe extern "C" fn slow_increment(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: launched with a pointer to words that nobody else uses meanwhile, their number, and the time.
    unsafe {
        wait(arg(args, 2));
        let words = std::slice::from_raw_parts_mut(arg::<*mut u32>(args, 0), arg::<u64>(args, 1) as usize);
        words.iter_mut().for_each(|w| *w += 1);
    }
}

/// After a while: `to[i] = from[i]`
///
/// # Safety
/// Launched with where to, where from, how many words, and the time; nobody writes either meanwhile.
unsafe extern "C" fn slow_copy(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: launched with where to, where from, how many words, and the time.
    unsafe {
        wait(arg(args, 3));
        let (to, from): (*mut u32, *const u32) = (arg(args, 0), arg(args, 1));
        std::ptr::copy_nonoverlapping(from, to, arg::<u64>(args, 2) as usize);
    }
}

/// The test kernel `name` (see kernels/test_kernels.cu) for a device.
pub fn kernel(device: i32, name: &str) -> KernelId {
    try_kernel(device, name).unwrap()
}

/// As [`kernel`], where calls may fail.
pub fn try_kernel(device: i32, name: &str) -> Result<KernelId, Error> {
    const PTX: &[u8] = include_bytes!("../../../kernels/test_kernels.ptx");
    const SOURCE: &str = concat!(
        include_str!("../../../kernels/kernels.cu"),
        include_str!("../../../kernels/test_kernels.cu")
    );
    let image = match raw::device_info(device)?.backend {
        "host" => {
            let function = match name {
                "test_add_bytes" => add_bytes,
                "test_fill_bytes" => fill_bytes,
                "test_add_word" => add_word,
                "test_slow_increment" => slow_increment,
                "test_slow_copy" => slow_copy,
                _ => panic!("no test kernel {name}"),
            };
            // SAFETY: the tests launch each function with the arguments that it takes.
            return unsafe { raw::kernel_from_function(device, function) };
        }
        "cuda" => PTX,
        _ => SOURCE.as_bytes(),
    };
    // SAFETY: the image is what the backend takes.
    raw::kernel_get(unsafe { raw::module_load(device, image)? }, name)
}

/// A built-in kernel of a device.
pub fn builtin(device: i32, name: &str) -> KernelId {
    raw::kernel_get(raw::module_builtin(device).unwrap(), name).unwrap()
}
