//! Lesson 22: the HIP runtime's own calls, on a stream of its own, with managed memory. Built with `--features hip-sys`.

use std::ptr::null_mut;

use hip_sys::hiprt::{hipError_t, hipMemcpyDtoDAsync, hipMemsetD8Async, hipStreamCreate, hipStreamDestroy};
use hmmrt::interop::hip_sys::HipStream;
use hmmrt::{Error, ManagedVec, Runtime, Use, kernels};

fn main() -> Result<(), Error> {
    let n = 1 << 20;
    let x = ManagedVec::from_slice(&vec![7_u32; n])?;
    let mut y = ManagedVec::<u32>::zeroed(n)?;
    let device = Runtime::new()?.device(0)?;
    let mut theirs = null_mut();
    // SAFETY: writes a handle.
    assert_eq!(unsafe { hipStreamCreate(&mut theirs) }, hipError_t::hipSuccess);
    {
        // SAFETY: a live stream, destroyed below, when this one is gone.
        let stream = unsafe { HipStream::new(&device, theirs)? };
        let guard = stream.acquire(vec![Use::read(&x), Use::write(&mut y)])?;
        let (from, to) = (stream.pointer::<u32>(&guard, 0)?, stream.pointer::<u32>(&guard, 1)?);
        // SAFETY: both are n words of device memory until the release.
        unsafe {
            assert_eq!(hipMemcpyDtoDAsync(to, from, 4 * n, theirs), hipError_t::hipSuccess);
            assert_eq!(hipMemsetD8Async(to, 1, 4 * (n / 2), theirs), hipError_t::hipSuccess);
        }
        guard.release()?; // the device is done when the stream gets here
        println!("y = {:#x} and {}", y[0], y[n - 1]); // waits for both

        // Kernels of ours take their turn on the same stream.
        let mut sum = ManagedVec::<u64>::zeroed(1)?;
        kernels::sum(&stream, &mut sum, &x)?;
        println!("sum of x: {}", sum[0]);
    }
    // SAFETY: nobody uses it any more.
    assert_eq!(unsafe { hipStreamDestroy(theirs) }, hipError_t::hipSuccess);
    Ok(())
}

// > y = 0x1010101 and 7
// > sum of x: 7340032
