//! Lesson 3: a kernel of the library's own works on managed memory. Launching moves what it needs.

use hmmrt::{Arg, Error, LaunchConfig, ManagedVec, Runtime, kernels};
use hmmrt_examples::signs;

fn main() -> Result<(), Error> {
    let n = 1 << 20;
    let mut x = ManagedVec::<f32>::zeroed(n)?;
    let mut y = ManagedVec::<f32>::zeroed(n)?;
    for i in 0..n {
        (x[i], y[i]) = (i as f32, 1.0);
    }
    let device = Runtime::new()?.device(0)?;
    let stream = device.stream()?;

    // y += 2 x. The call returns at once; reading y waits for the kernel, and nothing else does.
    kernels::saxpy(&stream, &mut y, 2.0, &x)?;
    assert!(y.iter().zip(&x[..]).all(|(y, x)| *y == 2.0 * x + 1.0));
    println!("y = 2 x + 1 for {n} numbers");
    println!("x  {}", signs(&x)?); // only read: valid on both sides
    println!("y  {}", signs(&y)?);

    // The same by name, as with any kernel: each argument says what the kernel does there.
    let kernel = device.builtin_module()?.kernel("hmm_saxpy")?;
    let (a, count) = (-2.0_f32, n as u64);
    let mut args = [Arg::read_write(&mut y), Arg::read(&x), Arg::value(&a), Arg::value(&count)];
    // SAFETY: these are hmm_saxpy's parameters, and it stays within the first n elements of x and y.
    unsafe { stream.launch(&kernel, &LaunchConfig::linear(n, 256), &mut args)? };
    assert!(y.iter().all(|y| *y == 1.0));
    println!("and back to 1");
    Ok(())
}

// > y = 2 x + 1 for 1048576 numbers
// > x  ==
// > y  ==
// > and back to 1
