//! cust's kernels, copies and stream with managed memory. Needs a CUDA driver and `HMMRT_BACKEND=cuda`, as `cargo xtask
//! check` gives it with the driver double; without the variable nothing is tested.
#![cfg(feature = "cust")]

use cust::memory::{CopyDestination, DeviceBuffer, DevicePointer};
use cust::prelude::{Context, Function, Module, StreamFlags, launch};
use hmmrt::interop::cust::CustStream;
use hmmrt::{AccessMode, Device, Error, Location, ManagedVec, Page, Residency, Runtime, Use, kernels};

const PTX: &str = include_str!("../../kernels/kernels.ptx");
const N: usize = 3 << 20; // chunks and a half of words

struct Cuda {
    _context: Context,
    module: Module,
    theirs: cust::stream::Stream,
    device: Device,
}

fn cuda() -> Option<Cuda> {
    if std::env::var("HMMRT_BACKEND").as_deref() != Ok("cuda") {
        eprintln!("not tested: HMMRT_BACKEND is not cuda");
        return None;
    }
    let _context = cust::quick_init().unwrap();
    let module = Module::from_ptx(PTX, &[]).unwrap();
    let theirs = cust::stream::Stream::new(StreamFlags::DEFAULT, None).unwrap();
    Some(Cuda { _context, module, theirs, device: Runtime::new().unwrap().device(0).unwrap() })
}

impl Cuda {
    fn function(&self, name: &str) -> Function<'_> {
        self.module.get_function(name).unwrap()
    }

    /// `n` words at `p` become `value`, some time later.
    fn fill(&self, p: DevicePointer<u32>, value: u32, n: usize) {
        let (fill, theirs) = (self.function("hmm_fill"), &self.theirs);
        // SAFETY: hmm_fill's parameters; the tests have acquired n words at p for writing.
        unsafe { launch!(fill<<<64, 256, 0, theirs>>>(p, value, n as u64)) }.unwrap();
    }
}

fn on_device(x: &[u32]) -> bool {
    x.pages().unwrap().iter().all(|page| page.flags & (Page::DEVICE | Page::HOST) == Page::DEVICE)
}

#[test]
fn their_kernel_writes_our_memory() {
    let Some(cuda) = cuda() else { return };
    let mut x = ManagedVec::<u32>::zeroed(N).unwrap();
    let stream = CustStream::new(&cuda.device, &cuda.theirs).unwrap();
    for round in 0..3 {
        x[round] = 77;
        let guard = stream.acquire(vec![Use::read_write(&mut x)]).unwrap();
        let p = stream.pointer::<u32>(&guard, 0).unwrap();
        cuda.fill(p, 5 + round as u32, N - 10);
        guard.release().unwrap();
        assert!(on_device(&x[..N / 2]));
        assert!(x[..N - 10].iter().all(|&word| word == 5 + round as u32));
        assert_eq!(x[N - 10..], [0; 10]);
    }
}

#[test]
fn their_kernel_takes_several_ranges_and_values() {
    let Some(cuda) = cuda() else { return };
    let n = 100_000;
    let x = ManagedVec::from_slice(&(0..n).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    let mut y = ManagedVec::from_slice(&vec![1.0_f32; n]).unwrap();
    let stream = CustStream::new(&cuda.device, &cuda.theirs).unwrap();
    {
        // Dropping a guard releases as well.
        let guard = stream.acquire(vec![Use::read(&x), Use::read_write(&mut y)]).unwrap();
        let (from, to) =
            (stream.pointer::<f32>(&guard, 0).unwrap(), stream.pointer::<f32>(&guard, 1).unwrap());
        let (saxpy, theirs) = (cuda.function("hmm_saxpy"), &cuda.theirs);
        // SAFETY: hmm_saxpy's parameters.
        unsafe { launch!(saxpy<<<64, 256, 0, theirs>>>(to, from, 2.0_f32, n as u64)) }.unwrap();
        assert_eq!(x[7], 7.0); // only read by the device
    }
    assert!(y.iter().zip(&x[..]).all(|(y, x)| *y == 2.0 * x + 1.0));
}

#[test]
fn their_stream_keeps_the_order_of_our_work_and_theirs() {
    let Some(cuda) = cuda() else { return };
    let mut x = ManagedVec::<u32>::zeroed(N).unwrap();
    let mut sum = ManagedVec::<u64>::zeroed(1).unwrap();
    let stream = CustStream::new(&cuda.device, &cuda.theirs).unwrap();
    x.prefetch(Location::Device(0), &stream).unwrap();
    kernels::fill(&stream, &mut x, 3).unwrap();
    let guard = stream.acquire(vec![Use::read_write(&mut x)]).unwrap();
    cuda.fill(stream.pointer(&guard, 0).unwrap(), 4, N / 2);
    guard.release().unwrap();
    kernels::sum(&stream, &mut sum, &x).unwrap();
    assert_eq!(sum[0], (N / 2 * 4 + N / 2 * 3) as u64);
    // Ours is gone, theirs still works.
    drop(stream);
    let mut buffer = DeviceBuffer::<u32>::zeroed(1000).unwrap();
    cuda.fill(buffer.as_device_ptr(), 9, 1000);
    cuda.theirs.synchronize().unwrap();
    assert_eq!(buffer.as_host_vec().unwrap(), vec![9; 1000]);
    buffer.set_8(0).unwrap();
}

#[test]
fn their_copies_read_and_write_our_memory() {
    let Some(cuda) = cuda() else { return };
    let numbers: Vec<u32> = (0..N as u32).collect();
    let x = ManagedVec::from_slice(&numbers).unwrap();
    let mut y = ManagedVec::<u32>::zeroed(N).unwrap();
    let mut buffer = DeviceBuffer::<u32>::zeroed(N).unwrap();
    let stream = CustStream::new(&cuda.device, &cuda.theirs).unwrap();

    let guard = stream.acquire(vec![Use::read(&x), Use::write(&mut y)]).unwrap();
    let from = stream.slice::<u32>(&guard, 0).unwrap();
    from.copy_to(&mut buffer).unwrap(); // to the device's own memory
    let mut host = vec![0; N];
    from.copy_to(&mut host[..]).unwrap(); // to plain host memory
    assert_eq!(host, numbers);
    let mut to = stream.slice_mut::<u32>(&guard, 1).unwrap();
    to.copy_from(&buffer).unwrap();
    assert_eq!((to.len(), to.is_empty()), (N, false));
    // SAFETY: used before the release, for reading.
    let second = unsafe { to.get() }.index(1..2);
    second.copy_to(&mut host[..1]).unwrap();
    assert_eq!(host[0], 1);
    guard.release().unwrap();
    assert_eq!(y[..], x[..]);
    // The slices were references: the memory is still ours, and can be used again.
    let guard = stream.acquire(vec![Use::write(&mut y)]).unwrap();
    stream.slice_mut::<u32>(&guard, 0).unwrap().copy_from(&vec![6; N][..]).unwrap();
    guard.release().unwrap();
    assert!(y.iter().all(|&word| word == 6));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let Some(cuda) = cuda() else { return };
    let bytes = ManagedVec::<u8>::zeroed(4096).unwrap();
    let (none, mut words) = (ManagedVec::<u32>::new(), ManagedVec::<u32>::zeroed(16).unwrap());
    let stream = CustStream::new(&cuda.device, &cuda.theirs).unwrap();
    let guard =
        stream.acquire(vec![Use::read(&bytes[1..9]), Use::read(&bytes[..6]), Use::read(&none)]).unwrap();
    let arg = |e| match e {
        Error::InvalidArgument { arg, .. } => arg,
        e => panic!("{e}"),
    };
    assert_eq!(stream.pointer::<u32>(&guard, 0).map_err(arg), Err("T")); // not aligned
    assert_eq!(stream.slice::<u32>(&guard, 1).map(|_| ()).map_err(arg), Err("T")); // one and a half
    assert_eq!(stream.pointer::<[u32; 0]>(&guard, 1).map_err(arg), Err("T")); // nothing at all
    assert_eq!(stream.pointer::<u8>(&guard, 3).map_err(arg), Err("index"));
    assert_eq!(stream.slice_mut::<u8>(&guard, 1).map(|_| ()).map_err(arg), Err("index")); // only read
    assert!(stream.pointer::<u32>(&guard, 2).unwrap().is_null());
    assert!(stream.slice::<u32>(&guard, 2).unwrap().is_empty());
    assert!(stream.slice::<u16>(&guard, 1).is_ok());

    let other = cuda.device.stream().unwrap();
    let elsewhere = other.acquire(vec![Use::read_write(&mut words)]).unwrap();
    assert_eq!(stream.pointer::<u32>(&elsewhere, 0).map_err(arg), Err("guard"));
    assert_eq!(elsewhere.stream().id(), other.id());
    assert!(AccessMode::ReadWrite.writes());
}

#[test]
fn a_stream_of_another_device_is_refused() {
    let Some(cuda) = cuda() else { return };
    let Ok(second) = Runtime::new().unwrap().device(1) else { return };
    let refused = CustStream::new(&second, &cuda.theirs).map(|_| ());
    assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
}
