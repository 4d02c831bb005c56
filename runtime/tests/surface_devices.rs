//! The safe types with two devices: a process of its own, because the runtime starts once.

mod common;

use hmmrt::{
    Arg, Backend, Config, LaunchConfig, Location, ManagedVec, Page, Residency, Runtime, Use, kernels, raw,
};

/// One test: it starts the runtime.
#[test]
fn two_devices() {
    raw::init(Some(common::config())).unwrap();
    if raw::device_count() == Ok(1) {
        return eprintln!("one device only: nothing to test");
    }
    let runtime = Runtime::new().unwrap();
    let devices: Vec<_> = runtime.devices().collect();
    assert_eq!(devices, [runtime.device(0).unwrap(), runtime.device(1).unwrap()]);
    assert_eq!(runtime.device(2).unwrap_err().code(), -12);
    let (a, b) = (devices[0].stream().unwrap(), devices[1].stream().unwrap());

    // Work on one device follows work on the other, where it is on the same memory.
    let mut x = ManagedVec::<u32>::zeroed(1 << 20).unwrap();
    let mut sums = [ManagedVec::<u64>::zeroed(1).unwrap(), ManagedVec::zeroed(1).unwrap()];
    kernels::fill(&a, &mut x, 5).unwrap();
    kernels::sum(&b, &mut sums[1], &x).unwrap();
    kernels::fill(&devices[1].default_stream(), &mut x[..1 << 19], 1).unwrap();
    kernels::sum(&a, &mut sums[0], &x).unwrap();
    assert_eq!((sums[0][0], sums[1][0]), (6 << 19, 5 << 20));

    // A kernel is its device's: also where the streams are the default ones.
    let kernel = devices[0].builtin_module().unwrap().kernel("hmm_fill").unwrap();
    let (value, n) = (1_u32, 1_u64);
    let mut args = [Arg::write(&mut x[..1]), Arg::value(&value), Arg::value(&n)];
    for stream in [&b, &devices[1].default_stream()] {
        // SAFETY: hmm_fill's parameters.
        let refused = unsafe { stream.launch(&kernel, &LaunchConfig::default(), &mut args) };
        assert_eq!(refused.unwrap_err().code(), -1);
    }

    // Guards of the two default streams are two; each has its device's addresses.
    let (streams, mut y) =
        ([devices[0].default_stream(), devices[1].default_stream()], ManagedVec::<u8>::zeroed(9));
    let y = y.as_mut().unwrap();
    let first = streams[0].acquire(vec![Use::read(&x)]).unwrap();
    let second = streams[1].acquire(vec![Use::read(&x), Use::write(y)]).unwrap();
    assert_ne!(first.device_ptr(0), second.device_ptr(0));
    assert_eq!(x.pages().unwrap()[0].flags & (Page::HOST | Page::DEVICE), Page::DEVICE);
    assert_eq!(x[0], 1, "what devices only read can be read");
    drop((first, second));

    for (device, stream) in [(0, &a), (1, &b), (0, &b), (1, &streams[0])] {
        x.prefetch(Location::Device(device), stream).unwrap();
        stream.synchronize().unwrap();
        streams[1].synchronize().unwrap();
        assert_eq!(x.pages().unwrap()[1000].device, device);
    }
    assert_eq!((x[0], x[(1 << 20) - 1]), (1, 5));

    // Handles of before a shutdown are known to be.
    let (z, default) = (ManagedVec::<u8>::zeroed(9).unwrap(), devices[0].default_stream());
    let left = default.acquire(vec![Use::read(&z)]).unwrap();
    raw::shutdown().unwrap();
    assert_eq!(Runtime::new().unwrap_err().code(), -15);
    assert_eq!(a.synchronize().unwrap_err().code(), -15);
    assert_eq!(ManagedVec::<u8>::zeroed(1).unwrap_err().code(), -15);
    raw::init(Some(Config { backend: Backend::Host, ..Config::default() })).unwrap(); // one device
    assert_eq!(a.synchronize().unwrap_err().code(), -17);
    assert_eq!(devices[1].info().unwrap_err().code(), -12);
    assert_eq!(kernels::fill(&a, &mut x, 1).unwrap_err().code(), -17);
    assert_eq!(Runtime::new().unwrap().devices().len(), 1);
    assert_eq!((x[0], x[(1 << 20) - 1]), (1, 5));
    // A guard of before has nothing to release, and stands in nobody's way.
    let again = default.acquire(vec![Use::read(&z)]).unwrap();
    assert_eq!(left.release().unwrap_err().code(), -15);
    assert_eq!(default.acquire(vec![Use::read(&z)]).unwrap_err().code(), -11, "the new one is open still");
    again.release().unwrap();
    default.acquire(vec![Use::read(&z)]).unwrap().release().unwrap();
}
