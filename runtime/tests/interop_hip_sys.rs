//! The HIP runtime's own calls, as hip-sys declares them, with managed memory. Needs a HIP runtime and `HMMRT_BACKEND=hip`,
//! as `cargo xtask check` gives it with the driver double; without the variable nothing is tested.
#![cfg(feature = "hip-sys")]

use hip_sys::hiprt::*;
use hmmrt::interop::hip_sys::HipStream;
use hmmrt::{Device, Error, ManagedVec, Runtime, Use, kernels};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

const N: usize = 3 << 20;

struct Hip {
    theirs: hipStream_t,
    device: Device,
}

fn ok(result: hipError_t) {
    assert_eq!(result, hipError_t::hipSuccess);
}

fn hip() -> Option<Hip> {
    if std::env::var("HMMRT_BACKEND").as_deref() != Ok("hip") {
        eprintln!("not tested: HMMRT_BACKEND is not hip");
        return None;
    }
    let mut theirs = null_mut();
    // SAFETY: writes a handle.
    unsafe {
        ok(hipInit(0));
        ok(hipSetDevice(0));
        ok(hipStreamCreate(&mut theirs));
    }
    Some(Hip { theirs, device: Runtime::new().unwrap().device(0).unwrap() })
}

impl Hip {
    fn stream(&self) -> HipStream {
        // SAFETY: destroyed when this is dropped, after the tests' streams.
        unsafe { HipStream::new(&self.device, self.theirs) }.unwrap()
    }

    /// `n` words at `p` become `value`, some time later.
    fn fill(&self, p: hipDeviceptr_t, value: u32, n: usize) {
        let (mut module, mut function) = (null_mut(), null_mut());
        let (mut p, mut value, mut n) = (p, value, n as u64);
        let mut args: [*mut c_void; 3] = [(&raw mut p).cast(), (&raw mut value).cast(), (&raw mut n).cast()];
        // SAFETY: an image that ends, and hmm_fill's parameters; the tests have acquired n words at p for writing.
        unsafe {
            ok(hipModuleLoadData(&mut module, image().as_ptr().cast()));
            ok(hipModuleGetFunction(&mut function, module, c"hmm_fill".as_ptr()));
            ok(hipModuleLaunchKernel(
                function,
                64,
                1,
                1,
                256,
                1,
                1,
                0,
                self.theirs,
                args.as_mut_ptr(),
                null_mut(),
            ));
        }
    }
}

impl Drop for Hip {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it any more.
        ok(unsafe { hipStreamDestroy(self.theirs) });
    }
}

/// The built-in kernels' code, compiled by hiprtc, which hip-sys does not declare.
fn image() -> &'static [u8] {
    type Program = *mut c_void;
    type Create = unsafe extern "C" fn(
        *mut Program,
        *const u8,
        *const u8,
        i32,
        *const *const u8,
        *const *const u8,
    ) -> i32;
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let source = concat!(include_str!("../../kernels/kernels.cu"), "\0");
        // SAFETY: hiprtc's functions with their own signatures; a source that ends, and code of the size that it says.
        unsafe {
            let library = ["libamdhip64.so.6", "libhiprtc.so"].iter().find_map(|name| {
                let library = libloading::os::unix::Library::new(name).ok()?;
                library.get::<Create>(b"hiprtcCreateProgram").is_ok().then_some(library)
            });
            let library = library.expect("hiprtc is in the driver or beside it");
            let create = library.get::<Create>(b"hiprtcCreateProgram").unwrap();
            let compile: unsafe extern "C" fn(Program, i32, *const *const u8) -> i32 =
                *library.get(b"hiprtcCompileProgram").unwrap();
            let code_size: unsafe extern "C" fn(Program, *mut usize) -> i32 =
                *library.get(b"hiprtcGetCodeSize").unwrap();
            let code: unsafe extern "C" fn(Program, *mut u8) -> i32 = *library.get(b"hiprtcGetCode").unwrap();
            let (mut program, mut size) = (null_mut(), 0);
            assert_eq!(create(&mut program, source.as_ptr(), null(), 0, null(), null()), 0);
            assert_eq!(compile(program, 0, null()), 0);
            assert_eq!(code_size(program, &mut size), 0);
            let mut bytes = vec![0; size];
            assert_eq!(code(program, bytes.as_mut_ptr()), 0);
            bytes
        }
    })
}

#[test]
fn their_kernel_writes_our_memory() {
    let Some(hip) = hip() else { return };
    let mut x = ManagedVec::<u32>::zeroed(N).unwrap();
    let stream = hip.stream();
    for value in 5..8 {
        x[0] = 1;
        let guard = stream.acquire(vec![Use::read_write(&mut x)]).unwrap();
        hip.fill(stream.pointer::<u32>(&guard, 0).unwrap(), value, N - 10);
        guard.release().unwrap();
        assert!(x[..N - 10].iter().all(|&word| word == value));
        assert_eq!(x[N - 10..], [0; 10]);
    }
}

#[test]
fn their_copies_read_and_write_our_memory() {
    let Some(hip) = hip() else { return };
    let numbers: Vec<u32> = (0..N as u32).collect();
    let x = ManagedVec::from_slice(&numbers).unwrap();
    let mut y = ManagedVec::<u32>::zeroed(N).unwrap();
    let stream = hip.stream();
    let guard = stream.acquire(vec![Use::read(&x), Use::write(&mut y)]).unwrap();
    let (from, to) = (stream.pointer::<u32>(&guard, 0).unwrap(), stream.pointer::<u32>(&guard, 1).unwrap());
    let mut host = vec![0_u32; 1000];
    // SAFETY: both are 12 MiB of device memory until the release; host memory of 1,000 words, written before the wait ends.
    unsafe {
        ok(hipMemcpyAsync(to, from, 4 * N, hipMemcpyKind::hipMemcpyDeviceToDevice, hip.theirs));
        ok(hipMemsetD8Async(to, 0, 4096, hip.theirs));
        ok(hipMemcpyAsync(
            host.as_mut_ptr().cast(),
            from,
            4000,
            hipMemcpyKind::hipMemcpyDeviceToHost,
            hip.theirs,
        ));
        ok(hipStreamSynchronize(hip.theirs));
    }
    guard.release().unwrap();
    assert_eq!(host, x[..1000]);
    assert_eq!(y[..1024], [0; 1024]);
    assert_eq!(y[1024..], x[1024..]);
}

#[test]
fn the_stream_keeps_the_order_of_our_work_and_theirs() {
    let Some(hip) = hip() else { return };
    let mut x = ManagedVec::<u32>::zeroed(N).unwrap();
    let mut sum = ManagedVec::<u64>::zeroed(1).unwrap();
    // SAFETY: the default stream is always there.
    let default = unsafe { HipStream::new(&hip.device, null_mut()) }.unwrap();
    for stream in [hip.stream(), default] {
        kernels::fill(&stream, &mut x, 3).unwrap();
        sum[0] = 0;
        kernels::sum(&stream, &mut sum, &x).unwrap();
        assert_eq!(sum[0], 3 * N as u64);
    }
    let stream = hip.stream();
    kernels::fill(&stream, &mut x, 3).unwrap();
    let guard = stream.acquire(vec![Use::read_write(&mut x)]).unwrap();
    hip.fill(stream.pointer::<u32>(&guard, 0).unwrap(), 4, N / 2);
    guard.release().unwrap();
    sum[0] = 0;
    kernels::sum(&stream, &mut sum, &x).unwrap();
    assert_eq!(sum[0], (N / 2 * 4 + N / 2 * 3) as u64);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let Some(hip) = hip() else { return };
    let bytes = ManagedVec::<u8>::zeroed(4096).unwrap();
    let (none, mut words) = (ManagedVec::<u32>::new(), ManagedVec::<u32>::zeroed(16).unwrap());
    let stream = hip.stream();
    let guard = stream.acquire(vec![Use::read(&bytes[1..9]), Use::read(&none)]).unwrap();
    let arg = |e| match e {
        Error::InvalidArgument { arg, .. } => arg,
        e => panic!("{e}"),
    };
    assert_eq!(stream.pointer::<u32>(&guard, 0).map_err(arg), Err("T")); // not aligned
    assert_eq!(stream.pointer::<u8>(&guard, 2).map_err(arg), Err("index"));
    assert!(stream.pointer::<u32>(&guard, 1).unwrap().is_null());
    let other = hip.device.stream().unwrap();
    let elsewhere = other.acquire(vec![Use::read_write(&mut words)]).unwrap();
    assert_eq!(stream.pointer::<u32>(&elsewhere, 0).map_err(arg), Err("guard"));
    // SAFETY: refused, and not used.
    let refused = unsafe { HipStream::new(&hip.device, core::ptr::without_provenance_mut(2)) }.map(|_| ());
    assert!(matches!(refused, Err(Error::Unsupported { what: "theirs", .. })), "{refused:?}");
}
