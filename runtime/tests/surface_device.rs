//! The safe types that run things: guards, launches, the built-in kernels' wrappers, and what waits for kernels.

mod common;

use hmmrt::{
    AccessMode, Arg, Error, LaunchArg, LaunchConfig, ListNode, Location, ManagedVec, Residency, Runtime,
    Stream, Use, kernels, raw,
};

fn stream() -> Stream {
    Runtime::new().unwrap().device(0).unwrap().stream().unwrap()
}

fn code<T>(result: Result<T, Error>) -> i32 {
    result.err().expect("must fail").code()
}

fn argument<T>(result: Result<T, Error>) -> &'static str {
    match result.err().expect("must fail") {
        Error::InvalidArgument { arg, .. } => arg,
        e => panic!("{e}"),
    }
}

#[test]
fn a_guard_keeps_memory_on_the_device() {
    let stream = stream();
    let x = ManagedVec::from_slice(&vec![5_u32; 4096]).unwrap();
    let mut y = ManagedVec::<u32>::zeroed(4096).unwrap();
    let mut none: [u8; 0] = [];
    let uses = vec![Use::read(&x), Use::read_write(&mut y), Use::write(&mut none)];
    let guard = stream.acquire(uses).unwrap();
    let (from, to) = (guard.device_ptr(0).unwrap(), guard.device_ptr(1).unwrap());
    assert!(guard.device_ptr(2).unwrap().is_null());
    assert_eq!(argument(guard.device_ptr(3)), "index");
    assert!(x.iter().all(|v| *v == 5), "what the device only reads is there for both");
    let (n, copy) = (4096 * 4_u64, stream.device().builtin_module().unwrap().kernel("hmm_copy").unwrap());
    let (from, to) = (from as u64, to as u64);
    // SAFETY: hmm_copy's parameters; both are acquired for 16 KiB.
    unsafe {
        let mut args = [Arg::value(&to), Arg::value(&from), Arg::value(&n)];
        stream.launch(&copy, &LaunchConfig::default(), &mut args).unwrap();
    }
    drop(guard);
    assert_eq!(x[..], y[..]);

    let guard = stream.acquire(vec![Use::write(&mut y)]).unwrap();
    let (to, value, n) = (guard.device_ptr(0).unwrap() as u64, 0xeeee_eeee_u32, 4096_u64);
    let fill = stream.device().builtin_module().unwrap().kernel("hmm_fill").unwrap();
    // SAFETY: hmm_fill's parameters; as above.
    unsafe {
        let mut args = [Arg::value(&to), Arg::value(&value), Arg::value(&n)];
        stream.launch(&fill, &LaunchConfig::default(), &mut args).unwrap();
    }
    guard.release().unwrap();
    assert!(y.iter().all(|v| *v == 0xeeee_eeee));
}

#[test]
fn one_guard_a_stream() {
    let (a, b) = (stream(), stream());
    let (x, mut y) = (ManagedVec::from_slice(&[1_u8; 10]).unwrap(), ManagedVec::<u8>::zeroed(10).unwrap());
    let first = a.acquire(vec![Use::read(&x)]).unwrap();
    assert_eq!(code(a.acquire(vec![Use::read(&x)])), -11);
    drop(b.acquire(vec![Use::read(&x)]).unwrap());
    // Kernels run on the stream meanwhile, and their release is not the guard's.
    kernels::copy(&a, &mut y, &x).unwrap();
    assert_eq!(y[..], x[..]);
    drop(first);
    a.acquire(vec![Use::read(&x)]).unwrap().release().unwrap();
    assert_eq!(code(a.acquire(vec![Use::read(&[1_u8, 2])])), -5);
    drop(a.acquire(vec![]).unwrap()); // the failed one left nothing behind
}

#[test]
fn a_forgotten_guard_leaks_but_harms_nobody() {
    let stream = stream();
    let mut x = ManagedVec::from_slice(&[1_u8; 5000]).unwrap();
    let (at, room) = (x.as_ptr(), x.capacity());
    std::mem::forget(stream.acquire(vec![Use::write(&mut x)]).unwrap());
    assert_eq!(code(stream.acquire(vec![])), -11);
    assert_eq!(code(x.reserve(room)), -11);
    assert_eq!((x.as_ptr(), x.capacity()), (at, room), "a failed growth changes nothing");
    drop(x);
    assert!(raw::owns(at), "leaked: a device may be writing it");
    drop(stream); // ends what was acquired on it
    raw::host_ready(at, 5000, AccessMode::Read).unwrap();
    // SAFETY: the leaked block, which nobody knows any more.
    unsafe { raw::free(at.cast_mut()).unwrap() };
}

/// Queues a kernel that takes its time, then adds one to each word.
fn launch_slowly(stream: &Stream, memory: &mut [u32]) {
    let kernel = common::kernels::kernel(stream.device().number(), "test_slow_increment");
    let n = memory.len() as u64;
    let config = LaunchConfig { stream: stream.id(), ..LaunchConfig::linear(memory.len(), 256) };
    let args = [
        LaunchArg::Pointer {
            ptr: memory.as_ptr().cast(),
            len: size_of_val(memory),
            mode: AccessMode::ReadWrite,
        },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const NS).cast(), size: 8 },
    ];
    static NS: u64 = 50_000_000;
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(kernel, &config, &args).unwrap() };
}

#[test]
fn everything_waits_for_kernels() {
    let stream = stream();
    let mut x = ManagedVec::from_slice(&vec![1_u32; 1 << 20]).unwrap();
    launch_slowly(&stream, &mut x);
    assert_eq!(x[12345], 2, "a read waits");
    launch_slowly(&stream, &mut x);
    x[0] = 100;
    assert_eq!((x[0], x[1]), (100, 3), "a write waits");
    launch_slowly(&stream, &mut x);
    x.reserve(1 << 21).unwrap();
    assert_eq!((x[0], x[1 << 19]), (101, 4), "growing waits");
    launch_slowly(&stream, &mut x);
    assert_eq!(x.migrate(Location::Host).map(|n| n > 0), Ok(true), "moving waits");
    assert!(x[1..].iter().all(|v| *v == 5));
    // The kernels take 50 ms: at most of them this thread was there before they had ended.
    let mut more = ManagedVec::from_slice(&[0_u32]).unwrap();
    common::until("a wait and a fault", || {
        launch_slowly(&stream, &mut more);
        more[0] += 1;
        raw::stats().waits > 0 && raw::stats().write_faults > 0
    });
    launch_slowly(&stream, &mut x);
    drop(x); // waits, or the kernel would write memory that is no more
    // A stream's end waits, too: what a kernel wrote is there afterwards.
    let mut y = ManagedVec::<u32>::zeroed(1).unwrap();
    let other = stream.device().stream().unwrap();
    launch_slowly(&other, &mut y);
    drop(other);
    assert_eq!(y[0], 1);
}

/// What lets a launch end its borrows: the kernel reads what was there when it was launched.
#[test]
fn writes_do_not_reach_a_kernel_that_was_launched_before() {
    let (a, b) = (stream(), stream());
    let kernel = common::kernels::kernel(0, "test_slow_copy");
    let ns = 20_000_000_u64;
    for len in [100_usize, 5000, 1 << 20] {
        let (n, mut x) = (len as u64, ManagedVec::<u32>::zeroed(len).unwrap());
        let mut copies: Vec<_> = (0..6).map(|_| ManagedVec::<u32>::zeroed(len).unwrap()).collect();
        for (i, copy) in copies.iter_mut().enumerate() {
            x.fill(i as u32);
            let config = LaunchConfig { stream: [&a, &b][i / 2 % 2].id(), ..LaunchConfig::linear(len, 256) };
            let args = [
                LaunchArg::Pointer { ptr: copy.as_ptr().cast(), len: len * 4, mode: AccessMode::Write },
                LaunchArg::Pointer { ptr: x.as_ptr().cast(), len: len * 4, mode: AccessMode::Read },
                LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
                LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
            ];
            // SAFETY: the arguments are the kernel's; it writes all of `copy`.
            unsafe { raw::launch(kernel, &config, &args).unwrap() };
            if i == 4 {
                x = ManagedVec::from_slice(&vec![77; len]).unwrap(); // the old block is freed, perhaps used again
            }
        }
        x.fill(99);
        for (i, copy) in copies.iter().enumerate() {
            assert!(copy.iter().all(|v| *v == i as u32), "copy {i} of {len} words: {:?}", &copy[..3]);
        }
    }
}

#[test]
fn launches_are_checked() {
    let stream = stream();
    let module = stream.device().builtin_module().unwrap();
    assert_eq!((module.device(), argument(module.kernel("nonsense"))), (stream.device(), "name"));
    let fill = module.kernel("hmm_fill").unwrap();
    assert_eq!(fill.device().number(), 0);
    let mut x = ManagedVec::<u32>::zeroed(100).unwrap();
    let (value, n) = (9_u32, 100_u64);
    let linear = LaunchConfig::linear(100, 64);
    assert_eq!((linear.grid, linear.block), ([2, 1, 1], [64, 1, 1]));
    // SAFETY: what does not fit is refused; the last launch fits.
    unsafe {
        assert_eq!(argument(stream.launch(&fill, &linear, &mut [Arg::write(&mut x)])), "count");
        let mut swapped = [Arg::write(&mut x), Arg::value(&n), Arg::value(&value)];
        assert_eq!(argument(stream.launch(&fill, &linear, &mut swapped)), "args");
        let mut args = [Arg::write(&mut x), Arg::value(&value), Arg::value(&n)];
        let empty = LaunchConfig { grid: [0, 1, 1], ..linear };
        assert_eq!(argument(stream.launch(&fill, &empty, &mut args)), "config");
        stream.launch(&fill, &linear, &mut args).unwrap();
    }
    assert!(x.iter().all(|v| *v == 9));
    assert!(stream.device().info().unwrap().memory_total > 0);
    stream.device().default_stream().synchronize().unwrap();
}

#[test]
fn kernels_do_what_they_say() {
    let s = stream();
    let bytes: Vec<u8> = (0..100_003_u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let x = ManagedVec::from_slice(&bytes).unwrap();
    let (mut copy, mut bins) = (ManagedVec::zeroed(bytes.len()).unwrap(), ManagedVec::zeroed(256).unwrap());
    let mut sum = ManagedVec::<u64>::zeroed(1).unwrap();
    kernels::copy(&s, &mut copy, &x).unwrap();
    kernels::histogram(&s, &mut bins, &copy).unwrap();
    assert_eq!(copy[..], bytes[..]);
    for (byte, count) in bins.iter().enumerate() {
        assert_eq!(*count, bytes.iter().filter(|b| usize::from(**b) == byte).count() as u64);
    }
    let short: Vec<u8> = (0..21).collect();
    kernels::checksum(&s, &mut sum, &ManagedVec::from_slice(&short).unwrap()).unwrap();
    assert_eq!(sum[0], 0xa3da_445b_5c89_a8ad); // of kernels/README.md

    let cells = ManagedVec::from_slice(&(0..35).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    let mut out = ManagedVec::<f32>::zeroed(35).unwrap();
    kernels::stencil(&s, &mut out, &cells, 7, 5).unwrap();
    assert_eq!((out[0], out[6], out[34]), (0.0, 6.0, 34.0));
    assert_eq!(out[8], (8.0 + 7.0 + 9.0 + 1.0 + 15.0) * 0.2);
    kernels::saxpy(&s, &mut out, -1.0, &cells).unwrap();
    assert_eq!((out[34], out[3]), (0.0, 0.0));

    let mut words = ManagedVec::<u32>::zeroed(5000).unwrap();
    sum[0] = 1;
    kernels::fill(&s, &mut words[10..], 3).unwrap();
    kernels::sum(&s, &mut sum, &words).unwrap();
    assert_eq!((sum[0], words[9], words[10]), (1 + 3 * 4990, 0, 3));
}

#[test]
fn lists_are_walked() {
    let (s, mut out) = (stream(), ManagedVec::from_slice(&[9_u64, 9]).unwrap());
    let mut nodes = ManagedVec::<ListNode>::zeroed(1000).unwrap();
    let base = nodes.as_ptr();
    for i in 0..1000 {
        nodes[i] = ListNode { next: base.wrapping_add((i + 1) % 1000).addr() as u64, value: i as u64 };
    }
    // SAFETY: every pointer is an element's, or null.
    unsafe {
        kernels::list_walk(&s, &mut out, &nodes, base, 1500).unwrap(); // a ring
        assert_eq!(out[..], [1500, 999 * 500 + 499 * 250]);
        kernels::list_walk(&s, &mut out, &[], std::ptr::null(), 7).unwrap();
        assert_eq!(out[..], [0, 0]);
        assert_eq!(argument(kernels::list_walk(&s, &mut out, &nodes[1..], base, 7)), "head");
        assert_eq!(argument(kernels::list_walk(&s, &mut out[..1], &nodes, base, 7)), "out");
    }
}

#[test]
fn slices_that_do_not_fit_are_named() {
    let s = stream();
    let mut bytes = ManagedVec::<u8>::zeroed(100).unwrap();
    let (to, from) = bytes.split_at_mut(40);
    assert_eq!(argument(kernels::copy(&s, to, from)), "src");
    let mut floats = ManagedVec::<f32>::zeroed(24).unwrap();
    let (y, x) = floats.split_at_mut(12);
    assert_eq!(argument(kernels::saxpy(&s, &mut y[1..], 1.0, x)), "x");
    assert_eq!(argument(kernels::stencil(&s, y, x, 5, 2)), "inp");
    assert_eq!(argument(kernels::stencil(&s, &mut y[..8], x, 4, 3)), "out");
    assert_eq!(argument(kernels::stencil(&s, y, x, usize::MAX, 3)), "inp");
    let mut words = ManagedVec::<u64>::zeroed(300).unwrap();
    for n in [0, 2] {
        assert_eq!(argument(kernels::sum(&s, &mut words[..n], &[])), "out");
        assert_eq!(argument(kernels::checksum(&s, &mut words[..n], &bytes)), "out");
    }
    assert_eq!(argument(kernels::histogram(&s, &mut words, &bytes)), "bins");
    // Fits, but is not managed.
    assert_eq!(code(kernels::fill(&s, &mut [1; 4], 2)), -5);
    assert_eq!(code(kernels::sum(&s, &mut words[..1], &[1, 2, 3])), -5);
    assert_eq!(code(kernels::copy(&s, &mut [0; 100], &bytes)), -5);
    // Nothing to do is nothing, wherever it points.
    kernels::fill(&s, &mut [], 1).unwrap();
    kernels::copy(&s, &mut [], &[]).unwrap();
    kernels::saxpy(&s, &mut [], 1.0, &[]).unwrap();
    kernels::stencil(&s, &mut [], &[], 0, 7).unwrap();
    kernels::sum(&s, &mut words[..1], &[]).unwrap();
    assert!(words.iter().all(|w| *w == 0));
}
