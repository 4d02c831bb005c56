//! Launches: the checks of a configuration, and parameter values taken at the time of the call.

use core::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use crate::call::Frame;
use crate::stream::Stream;
use crate::table::{Args, Kernel, Run};
use crate::{Error, Result, settings};

/// The most threads of a block.
pub const BLOCK: u32 = 1024;
/// Bytes of shared memory that a launch may ask for at first, and the most that a function may be allowed.
pub const SHARED: u32 = 48 << 10;
/// The same after the function's attribute was set.
pub const SHARED_MOST: u32 = 227 << 10;

/// A kernel out of a module.
pub struct Function {
    /// Which.
    pub kernel: &'static Kernel,
    /// The handle of its module.
    pub module: u64,
    /// Of which device's context the module is.
    pub device: usize,
    /// The shared memory that a launch may ask for.
    pub shared: AtomicU32,
}

/// Where the values of the parameters are.
#[derive(Clone, Copy)]
pub struct Values {
    /// One pointer to each, or NULL.
    pub each: *mut *mut c_void,
    /// Or a list of pairs that ends with 0 (HIP: 3): 1 and the address of a buffer of all, 2 and the address of its size.
    pub extra: *mut *mut c_void,
}

/// Grid and block.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory, bytes.
    pub shared: u32,
}

impl Shape {
    fn threads(&self, function: &Function) -> Result<u64> {
        let block: u64 = self.block.iter().map(|n| u64::from(*n)).product();
        let fits = self.grid[0] <= i32::MAX as u32 && self.grid[1..].iter().all(|n| *n <= 65535);
        let blocks: u64 = self.grid.iter().fold(1, |all, n| all.saturating_mul(u64::from(*n)));
        let some = blocks != 0 && block != 0 && fits;
        if !some
            || block > u64::from(BLOCK)
            || self.block[2] > 64
            || self.shared > function.shared.load(Relaxed)
        {
            return Err(Error::INVALID_VALUE);
        }
        Ok(blocks.saturating_mul(block))
    }
}

/// Reads the values.
///
/// # Safety
/// They are there as the kernel's parameters say.
unsafe fn values(kernel: &'static Kernel, from: Values) -> Result<Args> {
    let mut bytes = vec![0u8; kernel.bytes()];
    if !from.each.is_null() {
        for index in 0..kernel.params.len() {
            let Some((at, size)) = kernel.param(index) else { break };
            // SAFETY: one pointer for each parameter, to a value of its size, by the caller's promise.
            unsafe {
                let value = *from.each.add(index);
                if value.is_null() {
                    return Err(Error::INVALID_VALUE);
                }
                ptr::copy_nonoverlapping(value.cast(), bytes[at..at + size].as_mut_ptr(), size);
            }
        }
        return Ok(Args { kernel, bytes });
    }
    let (mut buffer, mut size, mut at) = (ptr::null::<u8>(), 0, from.extra);
    // SAFETY: pairs up to a 0, by the caller's promise.
    unsafe {
        // CUDA's list ends with 0, HIP's with 3.
        while !at.is_null() && !matches!(*at as usize, 0 | 3) {
            match *at as usize {
                1 => buffer = (*at.add(1)).cast(),
                2 => size = *(*at.add(1)).cast::<usize>(),
                _ => return Err(Error::INVALID_VALUE),
            }
            at = at.add(2);
        }
    }
    if buffer.is_null() && !bytes.is_empty() || size < bytes.len() {
        return Err(Error::INVALID_VALUE);
    }
    // SAFETY: the buffer has `size` bytes, by the caller's promise.
    unsafe { ptr::copy_nonoverlapping(buffer, bytes.as_mut_ptr(), bytes.len()) };
    Ok(Args { kernel, bytes })
}

/// Puts a launch into a stream.
///
/// # Safety
/// The values are there as the kernel's parameters say.
pub unsafe fn launch(
    frame: &Frame,
    function: &Function,
    shape: Shape,
    stream: &Arc<Stream>,
    from: Values,
) -> Result {
    if stream.device.number != function.device {
        return Err(Error::INVALID_HANDLE);
    }
    let threads = shape.threads(function)?;
    // SAFETY: the caller's promise.
    let args = unsafe { values(function.kernel, from) }?;
    let device = stream.device;
    let body = move || {
        let latency = settings::get().latency;
        if !latency.is_zero() {
            device.pause(Instant::now() + latency);
        }
        (args.kernel.run)(&Run { device, threads }, &args)
    };
    frame.submit(stream, None, Box::new(body)).map(drop)
}
