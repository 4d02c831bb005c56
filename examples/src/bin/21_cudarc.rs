//! Lesson 21: cudarc's launch builder and copies take managed memory as views. Built with `--features cudarc`.

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use hmmrt::interop::cudarc::CudarcStream;
use hmmrt::{ManagedVec, Runtime, Use};

/// Any PTX will do; these are the library's own kernels.
const PTX: &str = include_str!("../../../kernels/kernels.ptx");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let context = CudaContext::new(0)?;
    let theirs = context.new_stream()?;
    let saxpy = context.load_module(Ptx::from_src(PTX))?.load_function("hmm_saxpy")?;

    let n = 1 << 20;
    let x = ManagedVec::from_slice(&vec![1.0_f32; n])?;
    let mut y = ManagedVec::from_slice(&vec![2.0_f32; n])?;

    // Their stream as ours. Acquire moves the memory, release says that the device is done when the stream gets there.
    let stream = CudarcStream::new(&Runtime::new()?.device(0)?, &theirs)?;
    let guard = stream.acquire(vec![Use::read(&x), Use::read_write(&mut y)])?;
    {
        // Lent, not given: cudarc frees nothing of it.
        let (from, mut to) = (stream.lend::<f32>(&guard, 0)?, stream.lend_mut::<f32>(&guard, 1)?);
        let (from, mut to) = (from.view(), to.view_mut());
        let mut launch = theirs.launch_builder(&saxpy);
        launch.arg(&mut to).arg(&from).arg(&3.0_f32).arg(&n);
        // SAFETY: these are hmm_saxpy's parameters, and it stays within the first n elements of x and y.
        unsafe { launch.launch(LaunchConfig::for_num_elems(n as u32))? };
        println!("y before the release: {:?}", theirs.clone_dtoh(&to.slice(..2))?);
    }
    guard.release()?;
    assert!(y.iter().all(|y| *y == 5.0)); // waits for the kernel
    println!("y = 3 x + 2 = {}", y[n - 1]);
    Ok(())
}

// > y before the release: [5.0, 5.0]
// > y = 3 x + 2 = 5
