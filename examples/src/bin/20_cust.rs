//! Lesson 20: a kernel that cust launches, on its own stream, with managed memory. Built with `--features cust`.

use cust::prelude::{CopyDestination, DeviceBuffer, Module, StreamFlags, launch};
use hmmrt::interop::cust::CustStream;
use hmmrt::{ManagedVec, Runtime, Use, kernels};

/// Any PTX will do; these are the library's own kernels.
const PTX: &str = include_str!("../../../kernels/kernels.ptx");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _context = cust::quick_init()?;
    let module = Module::from_ptx(PTX, &[])?;
    let saxpy = module.get_function("hmm_saxpy")?;
    let theirs = cust::stream::Stream::new(StreamFlags::DEFAULT, None)?;

    let n = 1 << 20;
    let x = ManagedVec::from_slice(&vec![1.0_f32; n])?;
    let mut y = ManagedVec::from_slice(&vec![2.0_f32; n])?;

    // Their stream as ours. Acquire moves the memory, release says that the device is done when the stream gets there.
    let stream = CustStream::new(&Runtime::new()?.device(0)?, &theirs)?;
    let guard = stream.acquire(vec![Use::read(&x), Use::read_write(&mut y)])?;
    let (from, to) = (stream.pointer::<f32>(&guard, 0)?, stream.pointer::<f32>(&guard, 1)?);
    // SAFETY: these are hmm_saxpy's parameters, and it stays within the first n elements of x and y.
    unsafe { launch!(saxpy<<<256, 256, 0, theirs>>>(to, from, 3.0_f32, n as u64))? };
    guard.release()?;
    assert!(y.iter().all(|y| *y == 5.0)); // waits for the kernel
    println!("their kernel: y = 3 x + 2 = {}", y[n - 1]);

    // Both kinds of work keep the stream's order, and their copies know managed memory as a device slice.
    kernels::saxpy(&stream, &mut y, 1.0, &x)?;
    let mut buffer = DeviceBuffer::<f32>::zeroed(n)?;
    let guard = stream.acquire(vec![Use::read(&y)])?;
    stream.slice(&guard, 0)?.copy_to(&mut buffer)?;
    guard.release()?;
    let mut last = [0.0];
    buffer.index(n - 1..).copy_to(&mut last)?;
    println!("our kernel, their copy: {}", last[0]);
    Ok(())
}

// > their kernel: y = 3 x + 2 = 5
// > our kernel, their copy: 6
