//! Lesson 5: a kernel of your own. On the host backend it is a function; on a GPU it would be device code.

use std::ffi::c_void;

use hmmrt::{Arg, Error, Kernel, LaunchConfig, ManagedVec, Runtime};

/// Called once a launch, on the stream's thread. `args[i]` points at the i-th argument; pointers are device addresses.
///
/// # Safety
/// The arguments are a pointer to grid * block doubles, which nobody else uses meanwhile, and a factor.
unsafe extern "C" fn scale(config: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: the launch below passes n doubles, n = grid * block, that nobody else uses meanwhile, and one factor.
    unsafe {
        let n = (*config).grid[0] * (*config).block[0];
        let x = std::slice::from_raw_parts_mut(**args.cast::<*const *mut f64>(), n as usize);
        let factor = **args.add(1).cast::<*const f64>();
        x.iter_mut().for_each(|number| *number *= factor);
    }
}

fn main() -> Result<(), Error> {
    let mut x = ManagedVec::<f64>::zeroed(256 << 10)?;
    for (i, number) in x.iter_mut().enumerate() {
        *number = i as f64;
    }
    let device = Runtime::new()?.device(0)?;
    let stream = device.stream()?;
    // SAFETY: `scale` does with its arguments what the launches say.
    let kernel = unsafe { Kernel::from_function(&device, scale)? };
    let config = LaunchConfig::linear(x.len(), 64);
    for _ in 0..3 {
        // A stream keeps the order.
        let mut args = [Arg::read_write(&mut x), Arg::value(&0.5_f64)];
        // SAFETY: the length is a multiple of 64, so that grid * block is the length of x.
        unsafe { stream.launch(&kernel, &config, &mut args)? };
    }
    assert!(x.iter().enumerate().all(|(i, number)| *number == i as f64 * 0.125));
    println!("three launches: x[1000] = {}", x[1000]);
    Ok(())
}

// > three launches: x[1000] = 125
