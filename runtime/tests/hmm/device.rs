//! What a device does in the kernel's cases: it reads a buffer, or writes it, with a kernel that copies.

use crate::common::kernels::kernel;
use hmmrt::{AccessMode, Error, KernelId, LaunchArg, LaunchConfig, StreamId, raw};
use std::sync::Mutex;

/// The copying kernel of each device. Loading device code is not what is tested.
static COPY: Mutex<[Option<KernelId>; 8]> = Mutex::new([None; 8]);

fn copy_kernel(device: i32) -> KernelId {
    let mut all = COPY.lock().unwrap();
    *all[device as usize].get_or_insert_with(|| kernel(device, "test_slow_copy"))
}

/// The runtime was ended, and the kernels with it.
pub fn forget() {
    *COPY.lock().unwrap() = [None; 8];
}

fn copy(device: i32, to: *mut u8, from: *const u8, len: usize) -> Result<(), Error> {
    let (n, ns) = (len as u64 / 4, 0_u64);
    let args = [
        LaunchArg::Pointer { ptr: to, len, mode: AccessMode::Write },
        LaunchArg::Pointer { ptr: from.cast_mut(), len, mode: AccessMode::Read },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
    ];
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(copy_kernel(device), &LaunchConfig::linear(1 << 16, 256), &args)? };
    raw::stream_synchronize(StreamId::DEFAULT)
}

/// The words that the device finds in `len` bytes at `ptr`.
pub fn read(device: i32, ptr: *const u8, len: usize) -> Result<Vec<u32>, Error> {
    let out = raw::malloc(len)?;
    let copied = copy(device, out, ptr, len);
    let mut words = vec![0_u32; len / 4];
    if copied.is_ok() {
        // SAFETY: both have so many bytes.
        unsafe { std::ptr::copy_nonoverlapping(out.cast(), words.as_mut_ptr(), words.len()) };
    }
    // SAFETY: not used any more.
    unsafe { raw::free(out)? };
    copied.map(|()| words)
}

/// The device writes `words` to `ptr`.
pub fn write(device: i32, ptr: *mut u8, words: &[u32]) -> Result<(), Error> {
    let len = words.len() * 4;
    let source = raw::malloc(len)?;
    // SAFETY: both have so many bytes.
    unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), source.cast(), words.len()) };
    let copied = copy(device, ptr, source, len);
    // SAFETY: not used any more.
    unsafe { raw::free(source)? };
    copied
}

/// The device adds one to each word, after a while.
pub fn increment_slowly(device: i32, ptr: *mut u8, len: usize, ns: u64) {
    let n = len as u64 / 4;
    let args = [
        LaunchArg::Pointer { ptr, len, mode: AccessMode::ReadWrite },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
    ];
    let increment = kernel(device, "test_slow_increment");
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(increment, &LaunchConfig::linear(1 << 16, 256), &args).unwrap() };
}
