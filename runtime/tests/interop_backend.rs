//! A stream of one driver is refused by a device of another backend, before anybody calls a driver with it. Starts the
//! runtime anew, so it has a process of its own. Needs drivers, as the other tests of `interop`.
#![cfg(any(feature = "cust", feature = "cudarc", feature = "hip-sys"))]

use hmmrt::{Backend, Config, Device, Error, Runtime, raw};

fn device(backend: Backend) -> Device {
    let _ = raw::shutdown();
    raw::init(Some(Config { backend, ..Config::from_env().unwrap() })).unwrap();
    Runtime::new().unwrap().device(0).unwrap()
}

fn refused<T>(made: hmmrt::Result<T>) {
    let error = made.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { what: "device", .. }), "{error}");
}

#[test]
fn streams_of_another_driver_are_refused() {
    if std::env::var_os("HMMRT_BACKEND").is_none() {
        eprintln!("not tested: HMMRT_BACKEND is not set");
        return;
    }
    let cuda_streams = |device: &Device| {
        let _ = device;
        #[cfg(feature = "cust")]
        {
            let _context = cust::quick_init().unwrap();
            let theirs = cust::stream::Stream::new(cust::stream::StreamFlags::DEFAULT, None).unwrap();
            refused(hmmrt::interop::cust::CustStream::new(device, &theirs));
        }
        #[cfg(feature = "cudarc")]
        {
            let theirs = cudarc::driver::CudaContext::new(0).unwrap().new_stream().unwrap();
            refused(hmmrt::interop::cudarc::CudarcStream::new(device, &theirs));
        }
    };
    let hip_stream = |device: &Device| {
        let _ = device;
        #[cfg(feature = "hip-sys")]
        {
            // SAFETY: the default stream is always there, and is refused.
            refused(unsafe { hmmrt::interop::hip_sys::HipStream::new(device, std::ptr::null_mut()) });
        }
    };
    let host = device(Backend::Host);
    cuda_streams(&host);
    hip_stream(&host);
    cuda_streams(&device(Backend::Hip));
    hip_stream(&device(Backend::Cuda));
}
