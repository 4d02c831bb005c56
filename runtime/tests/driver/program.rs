//! Which driver and which devices are used, and what of the program's own use of the driver must stay as it is.

use super::common::double::{self, Double};
use super::common::{Block, kernels, threads, until};
use super::memory::{add_one, check, device_ptr, fill, try_add, works};
use hmmrt::raw;
use hmmrt::{Access, AccessMode, Backend, Config, Error, LaunchArg, LaunchConfig, Page};
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

pub fn refused(expected: &str) {
    let e = raw::device_count().unwrap_err();
    assert!(e.to_string().contains(expected), "{e}");
    // The program goes on, and may ask again.
    let b = Block::new(3 << 20);
    fill(&b);
    check(&b);
    assert_eq!(raw::migrate(b.ptr, b.len, 0).unwrap_err().to_string(), e.to_string());
}

/// What does not work is passed over.
pub fn any(expected: &str) {
    let config = Config { backend: Backend::Auto, ..Config::from_env().unwrap() };
    raw::init(Some(config)).unwrap();
    assert_eq!(raw::device_info(0).unwrap().backend, expected);
    works(&Block::new(5 << 20));
}

/// The program's own current context (CUDA) or device (HIP) stays what it is.
pub fn current() {
    let double = Double::of_case();
    let b = Block::new(5 << 20);
    works(&b);
    if double.kind == "cuda" {
        let get: unsafe extern "C" fn(*mut *mut c_void) -> i32 = double.function("cuCtxGetCurrent");
        let mut context = std::ptr::dangling_mut::<c_void>();
        // SAFETY: writes a handle.
        assert_eq!(unsafe { get(&mut context) }, 0);
        assert!(context.is_null(), "this thread never made one current");
    } else {
        let set: unsafe extern "C" fn(i32) -> i32 = double.function("hipSetDevice");
        let get: unsafe extern "C" fn(*mut i32) -> i32 = double.function("hipGetDevice");
        let mut device = -1;
        // SAFETY: take and write an int.
        unsafe {
            assert_eq!(set(1), 0);
            works(&b);
            assert_eq!((get(&mut device), device), (0, 1));
        }
    }
}

/// A device that is not used costs no context.
pub fn one_context() {
    let double = Double::of_case();
    double.arm("");
    assert_eq!(raw::device_count(), Ok(2));
    assert_eq!(double.calls("cuDevicePrimaryCtxRetain", "hipSetDevice"), 0);
    let b = Block::new(5 << 20);
    fill(&b);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    check(&b);
    assert_eq!(double.calls("cuDevicePrimaryCtxRetain", "hipSetDevice"), u64::from(double.kind == "cuda"));
}

/// The driver that the program has loaded is the one that is used.
pub fn loaded() {
    let double = Double::of_case(); // by its path; its name is the driver's
    // SAFETY: one thread so far.
    unsafe { std::env::remove_var(double::variable(&double.kind)) };
    double.arm("");
    works(&Block::new(5 << 20));
    assert!(double.calls("cuMemCreate", "hipMemCreate") > 0);
}

/// A kernel on one stream follows what another stream of the device was given before, where both use the same memory.
pub fn two_streams() {
    let [a, b] = [0, 1].map(|_| raw::stream_create(0).unwrap());
    let (slow, copy) = (kernels::kernel(0, "test_slow_increment"), kernels::builtin(0, "hmm_copy"));
    let (x, y) = (Block::new(1 << 20), Block::new(1 << 20));
    let (words, bytes, ns) = (x.len as u64 / 4, x.len as u64, 30_000_000_u64);
    let value = |v: &u64| LaunchArg::Value { data: std::ptr::from_ref(v).cast(), size: 8 };
    let pointer = |b: &Block, mode| LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode };
    for round in 1..4 {
        let launch = |kernel, stream, args: &[LaunchArg]| {
            let config = LaunchConfig { stream, ..LaunchConfig::linear(1 << 10, 256) };
            // SAFETY: the arguments are the kernels'.
            unsafe { raw::launch(kernel, &config, args).unwrap() };
        };
        launch(slow, a, &[pointer(&x, AccessMode::ReadWrite), value(&words), value(&ns)]);
        launch(copy, b, &[pointer(&y, AccessMode::Write), pointer(&x, AccessMode::Read), value(&bytes)]);
        let expected = round | round << 32;
        assert!((0..y.words()).all(|i| y.word(i).load(Relaxed) == expected), "round {round}");
    }
}

/// Makes the first device the thread's, as a program of the driver's would.
///
/// # Safety
/// The double is of the kind that it says.
unsafe fn make_current(double: &Double) {
    if double.kind == "cuda" {
        let retain: unsafe extern "C" fn(*mut *mut c_void, i32) -> i32 =
            double.function("cuDevicePrimaryCtxRetain");
        let set: unsafe extern "C" fn(*mut c_void) -> i32 = double.function("cuCtxSetCurrent");
        let mut context = std::ptr::null_mut();
        // SAFETY: the functions' own types.
        unsafe { assert_eq!((retain(&mut context, 0), set(context)), (0, 0)) };
    }
}

/// Streams of the program's own.
pub fn native_streams() {
    let double = Double::of_case();
    raw::device_count().unwrap();
    let name = double.name("cuStreamCreate", "hipStreamCreateWithFlags");
    let create: unsafe extern "C" fn(*mut *mut c_void, u32) -> i32 = double.function(name);
    let name = double.name("cuStreamDestroy_v2", "hipStreamDestroy");
    let destroy: unsafe extern "C" fn(*mut c_void) -> i32 = double.function(name);
    let mut native = std::ptr::null_mut();
    // SAFETY: the driver's functions with their own types, in the device's context.
    unsafe {
        make_current(&double);
        assert_eq!(create(&mut native, 0), 0);
        let stream = raw::stream_from_native(0, native).unwrap();
        let b = Block::new(5 << 20);
        fill(&b);
        raw::prefetch(b.ptr, b.len, 0, stream).unwrap();
        raw::stream_synchronize(stream).unwrap();
        assert!(b.pages().iter().all(|p| p.flags & Page::DEVICE != 0));
        add_one(&b, 0, stream, 7);
        add_one(&b, 0, stream, 249);
        check(&b); // waits for the native stream
        if double.kind == "cuda" {
            // A stream of the other device's context is not this one's.
            let e = raw::stream_from_native(1, native).unwrap_err();
            assert!(matches!(e, Error::InvalidArgument { arg: "native", .. }), "{e}");
        }
        raw::stream_destroy(stream).unwrap();
        assert_eq!(destroy(native), 0, "still the program's");
        // NULL is the driver's default stream.
        let stream = raw::stream_from_native(0, std::ptr::null_mut()).unwrap();
        add_one(&b, 0, stream, 0);
        raw::stream_destroy(stream).unwrap();
        check(&b);
    }
}

static TOUCHED: AtomicPtr<u64> = AtomicPtr::new(std::ptr::null_mut());
static TICKS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn touch(_: i32) {
    // SAFETY: a live block.
    unsafe { TOUCHED.load(Relaxed).read_volatile() };
    TICKS.fetch_add(1, Relaxed);
}

/// A handler touches what is away while its thread launches on a stream of the program's: inside of the driver it would be refused.
pub fn handlers_and_native_streams() {
    let double = Double::of_case();
    raw::device_count().unwrap();
    let name = double.name("cuStreamCreate", "hipStreamCreateWithFlags");
    let create: unsafe extern "C" fn(*mut *mut c_void, u32) -> i32 = double.function(name);
    // One is never freed: a last signal may come when the timer is off.
    let (b, away) = (Block::new(4096), std::mem::ManuallyDrop::new(Block::new(4 << 20)));
    fill(&b);
    fill(&away);
    TOUCHED.store(away.ptr.cast(), Relaxed);
    // SAFETY: the driver's function with its own types, in the device's context; a handler that reads a live block.
    let stream = unsafe {
        make_current(&double);
        let mut native = std::ptr::null_mut();
        assert_eq!(create(&mut native, 0), 0);
        libc::signal(libc::SIGALRM, touch as *const () as libc::sighandler_t);
        let stream = raw::stream_from_native(0, native).unwrap();
        let often = libc::timeval { tv_sec: 0, tv_usec: 100 };
        let timer = libc::itimerval { it_interval: often, it_value: often };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()), 0);
        stream
    };
    for round in (0..).take_while(|round| *round < 2048 || TICKS.load(Relaxed) < 500) {
        if round % 4 == 0 {
            raw::migrate(away.ptr, away.len, 0).unwrap();
        }
        add_one(&b, 0, stream, 64);
    }
    // SAFETY: stops the timer.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &std::mem::zeroed(), std::ptr::null_mut()) };
    raw::stream_synchronize(stream).unwrap();
    check(&away);
    raw::stream_destroy(stream).unwrap();
}

/// What goes into a graph would run when the memory is no longer there: it is refused before anything is queued or moved.
pub fn captured_streams() {
    type Handle = *mut c_void;
    let double = Double::of_case();
    raw::device_count().unwrap();
    let name = |cuda, hip| double.name(cuda, hip);
    // SAFETY: the driver's functions with their own types, in the device's context.
    unsafe {
        let create: unsafe extern "C" fn(*mut Handle, u32) -> i32 =
            double.function(name("cuStreamCreate", "hipStreamCreateWithFlags"));
        let begin: unsafe extern "C" fn(Handle, i32) -> i32 =
            double.function(name("cuStreamBeginCapture_v2", "hipStreamBeginCapture"));
        let end: unsafe extern "C" fn(Handle, *mut Handle) -> i32 =
            double.function(name("cuStreamEndCapture", "hipStreamEndCapture"));
        let nodes: unsafe extern "C" fn(Handle, *mut Handle, *mut usize) -> i32 =
            double.function(name("cuGraphGetNodes", "hipGraphGetNodes"));
        make_current(&double);
        let mut native = std::ptr::null_mut();
        assert_eq!(create(&mut native, 0), 0);
        let stream = raw::stream_from_native(0, native).unwrap();
        let b = Block::new(5 << 20);
        fill(&b);
        for round in 0..2 {
            assert_eq!(begin(native, 2), 0);
            let access = Access { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite };
            for refused in [
                try_add(&b, 0, stream, 1),
                raw::acquire(0, stream, &[access]),
                raw::prefetch(b.ptr, b.len, 0, stream),
                raw::stream_synchronize(stream),
            ] {
                let e = refused.unwrap_err();
                assert!(matches!(e, Error::Unsupported { what: "stream", .. }), "{e}");
            }
            let (mut graph, mut count) = (std::ptr::null_mut(), usize::MAX);
            assert_eq!(end(native, &mut graph), 0);
            assert_eq!((nodes(graph, std::ptr::null_mut(), &mut count), count), (0, 0));
            assert!(round > 0 || b.pages().iter().all(|p| p.flags & Page::DEVICE == 0));
            check(&b);
            add_one(&b, 0, stream, 255); // afterwards the stream is as good as before
            add_one(&b, 0, stream, 1);
            check(&b);
        }
        raw::stream_destroy(stream).unwrap();
    }
}

pub fn modules() {
    raw::device_count().unwrap();
    // SAFETY: what is no image is refused.
    unsafe {
        for bad in [&b"nonsense"[..], b"\x01\x02\x03\x04"] {
            let e = raw::module_load(0, bad).unwrap_err();
            assert!(matches!(e, Error::Device { .. }), "{e}");
        }
        assert!(matches!(raw::module_load(0, b""), Err(Error::InvalidArgument { arg: "image", .. })));
        /// # Safety
        /// None: it looks at no argument. Unsafe as the type of kernels is.
        unsafe extern "C" fn nothing(_: *const LaunchConfig, _: *const *mut c_void) {}
        let e = raw::kernel_from_function(0, nothing).unwrap_err();
        assert!(matches!(e, Error::Unsupported { .. }), "{e}");
        let module = raw::module_builtin(0).unwrap();
        assert!(matches!(
            raw::kernel_get(module, "nothing"),
            Err(Error::InvalidArgument { arg: "name", .. })
        ));
        assert!(matches!(raw::kernel_get(module, "a\0b"), Err(Error::InvalidArgument { arg: "name", .. })));
        if Double::of_case().kind == "cuda" {
            // This driver says what parameters a kernel has.
            let add = kernels::kernel(0, "test_add_bytes");
            let e = raw::launch(add, &LaunchConfig::default(), &[]);
            assert!(matches!(e, Err(Error::InvalidArgument { arg: "count", .. })), "{e:?}");
        }
    }
}

/// Managed memory that is away, given to a call of the driver's that reads it with a lock held: a message, not a hang.
pub fn inside_the_driver() {
    let double = Double::of_case();
    let b = Block::new(2 << 20);
    fill(&b);
    raw::migrate(b.ptr, b.len, 1).unwrap();
    // SAFETY: the driver's functions with their own types.
    unsafe {
        let mut at = 0_u64;
        make_current(&double);
        let alloc: unsafe extern "C" fn(*mut u64, usize) -> i32 =
            double.function(double.name("cuMemAlloc_v2", "hipMalloc"));
        assert_eq!(alloc(&mut at, 4096), 0);
        let copy: unsafe extern "C" fn(u64, *const c_void, usize, *mut c_void) -> i32 =
            double.function(double.name("cuMemcpyHtoDAsync_v2", "hipMemcpyHtoDAsync"));
        eprintln!("reading {:p}", b.ptr);
        copy(at, b.ptr.cast(), 4096, std::ptr::null_mut());
    }
}

/// Blocks outlive a shutdown, and the next runtime can be of another backend.
pub fn restart() {
    let gpu = || Config::from_env().unwrap();
    let host = || Config { backend: Backend::Host, host_devices: 2, ..Config::default() };
    raw::init(Some(gpu())).unwrap();
    raw::device_count().unwrap();
    let b = std::mem::ManuallyDrop::new(Block::new(6 << 20));
    for config in [gpu(), host(), gpu(), gpu(), host()] {
        let kind = config.backend;
        fill(&b);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::shutdown().unwrap();
        check(&b);
        raw::init(Some(config)).unwrap();
        assert_eq!(raw::device_info(0).unwrap().backend, kind.name());
        assert_eq!(device_ptr(&b, 0) == b.ptr, kind != Backend::Host, "the addresses stay reserved");
        works(&b);
    }
    // Those that were joined may take a moment to be gone.
    until("the end of threads", || threads().len() < 20);
}
