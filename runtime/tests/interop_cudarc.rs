//! cudarc's kernels, copies and streams with managed memory. Needs a CUDA driver and `HMMRT_BACKEND=cuda`, as `cargo xtask
//! check` gives it with the driver double; without the variable nothing is tested.
#![cfg(feature = "cudarc")]

use cudarc::driver::sys::{CUdeviceptr, CUfunction};
use cudarc::driver::{CudaContext, CudaStream, DeviceSlice, result};
use hmmrt::interop::cudarc::CudarcStream;
use hmmrt::{Device, Error, ManagedVec, Runtime, Use, kernels};
use std::ffi::{CString, c_void};
use std::sync::Arc;

const PTX: &str = include_str!("../../kernels/kernels.ptx");
const N: usize = 3 << 20;

struct Cuda {
    context: Arc<CudaContext>,
    theirs: Arc<CudaStream>,
    device: Device,
}

fn cuda() -> Option<Cuda> {
    if std::env::var("HMMRT_BACKEND").as_deref() != Ok("cuda") {
        eprintln!("not tested: HMMRT_BACKEND is not cuda");
        return None;
    }
    let context = CudaContext::new(0).unwrap();
    let theirs = context.new_stream().unwrap();
    Some(Cuda { context, theirs, device: Runtime::new().unwrap().device(0).unwrap() })
}

/// The kernel, whose module is never unloaded. What is safe of cudarc's modules is in its feature `nvrtc`: see the example.
fn function(name: &str) -> CUfunction {
    let ptx = CString::new(PTX).unwrap();
    // SAFETY: PTX that ends with a NUL; the context is current.
    unsafe {
        let module = result::module::load_data(ptx.as_ptr().cast()).unwrap();
        result::module::get_function(module, CString::new(name).unwrap()).unwrap()
    }
}

/// `n` words at `p` become `value`, some time later.
fn fill(stream: &CudaStream, mut p: CUdeviceptr, mut value: u32, n: usize) {
    let mut n = n as u64;
    let mut args = [&raw mut p as *mut c_void, (&raw mut value).cast(), (&raw mut n).cast()];
    stream.context().bind_to_thread().unwrap();
    // SAFETY: hmm_fill's parameters; the tests have acquired n words at p for writing.
    unsafe {
        result::launch_kernel(function("hmm_fill"), (64, 1, 1), (256, 1, 1), 0, stream.cu_stream(), &mut args)
    }
    .unwrap();
}

#[test]
fn their_kernel_writes_our_memory() {
    let Some(cuda) = cuda() else { return };
    // Its default stream will do as well.
    for theirs in [&cuda.theirs, &cuda.context.default_stream()] {
        let mut x = ManagedVec::<u32>::zeroed(N).unwrap();
        let stream = CudarcStream::new(&cuda.device, theirs).unwrap();
        for value in 5..8 {
            x[0] = 1;
            let guard = stream.acquire(vec![Use::read_write(&mut x)]).unwrap();
            fill(theirs, stream.pointer::<u32>(&guard, 0).unwrap(), value, N - 10);
            guard.release().unwrap();
            assert!(x[..N - 10].iter().all(|&word| word == value));
            assert_eq!(x[N - 10..], [0; 10]);
        }
    }
}

#[test]
fn their_copies_read_and_write_our_memory() {
    let Some(cuda) = cuda() else { return };
    let numbers: Vec<u32> = (0..N as u32).collect();
    let x = ManagedVec::from_slice(&numbers).unwrap();
    let mut y = ManagedVec::<u32>::zeroed(N).unwrap();
    let stream = CudarcStream::new(&cuda.device, &cuda.theirs).unwrap();
    let guard = stream.acquire(vec![Use::read(&x), Use::write(&mut y)]).unwrap();
    {
        let from = stream.lend::<u32>(&guard, 0).unwrap();
        let mut to = stream.lend_mut::<u32>(&guard, 1).unwrap();
        assert_eq!((from.view().len(), to.view().num_bytes()), (N, 4 * N));
        let copy = cuda.theirs.clone_dtod(&from.view()).unwrap();
        cuda.theirs.memcpy_dtod(&copy, &mut to.view_mut()).unwrap();
        assert_eq!(cuda.theirs.clone_dtoh(&from.view().slice(10..20)).unwrap(), (10..20).collect::<Vec<_>>());
        cuda.theirs.memset_zeros(&mut to.view_mut().slice_mut(..1000)).unwrap();
    }
    guard.release().unwrap();
    assert_eq!(y[..1000], [0; 1000]);
    assert_eq!(y[1000..], x[1000..]);
    // It was lent, not given: the memory is still ours, and can be used again.
    let guard = stream.acquire(vec![Use::read_write(&mut y)]).unwrap();
    let mut to = stream.lend_mut::<u32>(&guard, 0).unwrap();
    cuda.theirs.memcpy_htod(&[8; 1000], &mut to.view_mut()).unwrap();
    drop(to);
    guard.release().unwrap();
    assert_eq!(y[..1000], [8; 1000]);
    cuda.context.check_err().unwrap();
}

#[test]
fn another_stream_of_theirs_waits_and_is_waited_for() {
    let Some(cuda) = cuda() else { return };
    let other = cuda.context.new_stream().unwrap();
    let mut x = ManagedVec::<u32>::zeroed(N).unwrap();
    let (zeros, ones) =
        (other.clone_htod(&vec![0_u32; N]).unwrap(), other.clone_htod(&vec![1_u32; N]).unwrap());
    let stream = CudarcStream::new(&cuda.device, &cuda.theirs).unwrap();
    for value in 2..6 {
        kernels::fill(&stream, &mut x, value).unwrap();
        let guard = stream.acquire(vec![Use::read_write(&mut x)]).unwrap();
        let mut lent = stream.lend_mut::<u32>(&guard, 0).unwrap();
        let seen = other.clone_dtoh(&lent.view().slice(N - 4..)).unwrap();
        other.synchronize().unwrap();
        assert_eq!(seen, [value; 4]); // behind the fill
        for from in [&ones, &ones, &ones, &ones, &zeros] {
            other.memcpy_dtod(from, &mut lent.view_mut()).unwrap(); // takes a while
        }
        drop(lent);
        guard.release().unwrap(); // behind the last copy
        assert_eq!(x[N - 1], 0);
        assert!(x.iter().all(|&word| word == 0));
    }
    cuda.context.check_err().unwrap();
}

/// Catches: cudarc, which lets streams wait for each other only while its context has some, and here has a default one only.
#[test]
fn a_stream_that_ended_before_is_waited_for() {
    let Some(cuda) = cuda() else { return };
    let context = CudaContext::new(0).unwrap();
    let theirs = context.default_stream();
    let stream = CudarcStream::new(&cuda.device, &theirs).unwrap();
    let mut x = ManagedVec::<u32>::zeroed(N).unwrap();
    let ones = theirs.clone_htod(&vec![1_u32; N]).unwrap();
    for _ in 0..4 {
        x.fill(0);
        let guard = stream.acquire(vec![Use::read_write(&mut x)]).unwrap();
        let mut lent = stream.lend_mut::<u32>(&guard, 0).unwrap();
        {
            let other = context.new_stream().unwrap();
            for _ in 0..5 {
                other.memcpy_dtod(&ones, &mut lent.view_mut()).unwrap(); // takes a while
            }
        }
        drop(lent);
        guard.release().unwrap(); // behind the last copy
        assert_eq!((x[N - 1], x[0]), (1, 1));
        assert!(x.iter().all(|&word| word == 1));
    }
    assert!(context.is_managing_stream_synchronization());
    context.check_err().unwrap();
}

#[test]
fn what_does_not_fit_is_an_error() {
    let Some(cuda) = cuda() else { return };
    let bytes = ManagedVec::<u8>::zeroed(4096).unwrap();
    let (none, mut words) = (ManagedVec::<u32>::new(), ManagedVec::<u32>::zeroed(16).unwrap());
    let stream = CudarcStream::new(&cuda.device, &cuda.theirs).unwrap();
    let guard =
        stream.acquire(vec![Use::read(&bytes[1..9]), Use::read(&bytes[..6]), Use::read(&none)]).unwrap();
    let arg = |e| match e {
        Error::InvalidArgument { arg, .. } => arg,
        e => panic!("{e}"),
    };
    assert_eq!(stream.pointer::<u32>(&guard, 0).map_err(arg), Err("T")); // not aligned
    assert_eq!(stream.lend::<u32>(&guard, 1).map(|_| ()).map_err(arg), Err("T")); // one and a half
    assert_eq!(stream.pointer::<u8>(&guard, 3).map_err(arg), Err("index"));
    assert_eq!(stream.lend_mut::<u8>(&guard, 1).map(|_| ()).map_err(arg), Err("index")); // only read
    assert_eq!(stream.pointer::<u32>(&guard, 2), Ok(0));
    assert!(stream.lend::<u32>(&guard, 2).unwrap().view().is_empty());
    let other = cuda.device.stream().unwrap();
    let elsewhere = other.acquire(vec![Use::read_write(&mut words)]).unwrap();
    assert_eq!(stream.pointer::<u32>(&elsewhere, 0).map_err(arg), Err("guard"));
}

#[test]
fn streams_that_are_not_of_the_device_are_refused() {
    let Some(cuda) = cuda() else { return };
    let refused = CudarcStream::new(&cuda.device, &cuda.context.per_thread_stream()).map(|_| ());
    assert!(matches!(refused, Err(Error::Unsupported { what: "theirs", .. })), "{refused:?}");
    let Ok(second) = CudaContext::new(1) else { return };
    for theirs in [second.default_stream(), second.new_stream().unwrap()] {
        let refused = CudarcStream::new(&cuda.device, &theirs).map(|_| ());
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
    }
}

#[test]
fn their_stream_lives_as_long_as_ours() {
    let Some(cuda) = cuda() else { return };
    let stream = CudarcStream::new(&cuda.device, &cuda.theirs).unwrap();
    let device = cuda.device;
    drop(cuda);
    let mut x = ManagedVec::<u32>::zeroed(4096).unwrap();
    kernels::fill(&stream, &mut x, 2).unwrap();
    assert_eq!(x[4095], 2);
    drop(stream);
    assert!(device.stream().is_ok());
}
