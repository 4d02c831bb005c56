//! The GPU backends on the doubles of their drivers: where addresses are, what a driver can lack, what fails how, and
//! what of the program's own use of the driver must stay as it is. Each case has a process of its own.

mod common;

use common::double::{self, Double, KINDS};
use common::{Block, case, kernels};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Backend, Config, Error, KernelId, LaunchArg, LaunchConfig, Page, StreamId};
use std::ffi::c_void;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering::Relaxed;

static NOTHING: u64 = 0;

fn fill(b: &Block) {
    (0..b.words()).step_by(64).for_each(|i| b.word(i).store(i as u64 + 1, Relaxed));
}

fn check(b: &Block) {
    let wrong = (0..b.words()).step_by(64).find(|&i| b.word(i).load(Relaxed) != i as u64 + 1);
    assert_eq!(wrong, None, "{:p}", b.ptr);
}

/// To every device, through a kernel, and home.
fn works(b: &Block) {
    fill(b);
    for device in common::two_devices() {
        raw::migrate(b.ptr, b.len, device).unwrap();
        assert!(b.pages().iter().all(|p| p.flags & (Page::HOST | Page::DEVICE) == Page::DEVICE));
        add_one(b, device, StreamId::DEFAULT, 255);
        add_one(b, device, StreamId::DEFAULT, 1);
    }
    check(b);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    raw::migrate(b.ptr, b.len, HMM_HOST).unwrap();
    check(b);
}

/// Adds to every byte of a block, on the device.
fn add_one(b: &Block, device: i32, stream: StreamId, value: u8) {
    try_add(b, device, stream, value).unwrap();
}

fn try_add(b: &Block, device: i32, stream: StreamId, value: u8) -> Result<(), Error> {
    let kernel = kernels::kernel(device, "test_add_bytes");
    try_launch(kernel, b, stream, value)
}

fn try_launch(add: KernelId, b: &Block, stream: StreamId, value: u8) -> Result<(), Error> {
    let n = b.len as u64;
    let args = [
        LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const value).cast(), size: 1 },
    ];
    let config = LaunchConfig { stream, ..LaunchConfig::linear(b.len / 16, 256) };
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(add, &config, &args) }
}

fn device_ptr(b: &Block, device: i32) -> *mut u8 {
    raw::device_ptr(b.ptr, device).unwrap().cast()
}

/// A list is walked by its host pointers, as they stand in memory.
fn walk_by_host_pointers(nodes: &Block) -> [u64; 2] {
    let count = nodes.words() / 2;
    for i in 0..count {
        let next = if i + 1 < count { nodes.word(2 * (i + 1)).as_ptr() as u64 } else { 0 };
        nodes.word(2 * i).store(next, Relaxed);
        nodes.word(2 * i + 1).store(i as u64, Relaxed);
    }
    let out = Block::new(16);
    let (zero, head, max) = (0_u64, nodes.ptr as u64, count as u64);
    let value = |v: &u64| LaunchArg::Value { data: std::ptr::from_ref(v).cast(), size: 8 };
    let args = [
        LaunchArg::Pointer { ptr: out.ptr, len: 16, mode: AccessMode::Write },
        value(&zero), // no translation
        value(&zero),
        value(&head),
        value(&max),
    ];
    // SAFETY: the nodes are acquired for reading, and the list stays in them.
    unsafe {
        raw::acquire(
            0,
            StreamId::DEFAULT,
            &[Access { ptr: nodes.ptr, len: nodes.len, mode: AccessMode::Read }],
        )
        .unwrap();
        raw::launch(kernels::builtin(0, "hmm_list_walk"), &LaunchConfig::default(), &args).unwrap();
    }
    raw::release(0, StreamId::DEFAULT).unwrap();
    [out.word(0).load(Relaxed), out.word(1).load(Relaxed)]
}

/// Memory that is made after the devices were opened has their addresses.
fn same_address() {
    assert_eq!(raw::device_count(), Ok(2));
    assert!(raw::device_info(0).unwrap().same_address && !raw::device_info(1).unwrap().same_address);
    for len in [100, 40_000, 7 << 20] {
        let b = Block::new(len);
        assert_eq!(device_ptr(&b, 0), b.ptr, "{len}");
        assert_ne!(device_ptr(&b, 1), b.ptr, "{len}");
        works(&b);
    }
    let nodes = Block::new(1 << 20);
    let n = nodes.words() as u64 / 2;
    assert_eq!(walk_by_host_pointers(&nodes), [n, n * (n - 1) / 2]);
}

fn split() {
    assert!(!raw::device_info(0).unwrap().same_address);
    let b = Block::new(7 << 20);
    assert_ne!(device_ptr(&b, 0), b.ptr);
    works(&b);
}

/// Memory that was there before the devices.
fn late(in_place: bool) {
    let early = Block::new(5 << 20);
    fill(&early);
    assert_eq!(raw::device_count(), Ok(2));
    assert_eq!(raw::device_info(0).unwrap().same_address, in_place);
    check(&early);
    let later = Block::new(5 << 20);
    assert_eq!(device_ptr(&early, 0) == early.ptr, in_place);
    assert_eq!(device_ptr(&later, 0), later.ptr);
    works(&early);
    works(&later);
    drop(early);
    assert!(raw::device_info(0).unwrap().same_address, "all that is left, and to come");
}

/// What the program has mapped where an arena would be stays, though the driver reserves the addresses.
fn taken_place() {
    let (at, flags) = (0x7000_0000_1000, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE);
    let at = std::ptr::with_exposed_provenance_mut::<c_void>(at);
    // SAFETY: a new mapping where nothing is.
    let page = unsafe { libc::mmap(at, 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    assert_eq!(page, at);
    // SAFETY: a page of the test's.
    unsafe { page.cast::<u64>().write_volatile(77) };
    assert_eq!(raw::device_count(), Ok(2));
    let b = Block::new(5 << 20);
    // SAFETY: as above.
    assert_eq!(unsafe { page.cast::<u64>().read_volatile() }, 77);
    assert!(raw::device_info(0).unwrap().same_address);
    works(&b);
}

/// A driver without virtual memory management: an allocation for each block, which goes with it.
fn allocated() {
    let double = Double::of_case();
    raw::device_count().unwrap();
    assert!(!raw::device_info(0).unwrap().same_address);
    let before = double.used(0);
    for round in 0..20 {
        let blocks: Vec<Block> =
            [5_000, 100_000, 3 << 20, (2 << 20) * (1 + round % 5)].map(Block::new).into();
        blocks.iter().for_each(works);
        assert!(double.used(0) > before);
        if round == 10 {
            assert_eq!(raw::device_ptr(blocks[3].ptr, 0), raw::device_ptr(blocks[3].ptr, 0));
        }
    }
    // Small blocks' chunks stay with the heap; what they hold on the device does not.
    let small = 16 << 20;
    assert!(double.used(0) <= before + small, "{} bytes are left", double.used(0) - before);
    assert_eq!(double.calls("cuMemCreate", "hipMemCreate"), 0);
}

/// Few driver calls for much memory, and all of it given back.
fn groups(expected: u64) {
    let double = Double::of_case();
    raw::device_count().unwrap();
    let before = double.used(0);
    double.arm("");
    {
        let b = Block::new(64 << 20);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        assert_eq!(double.calls("cuMemCreate", "hipMemCreate"), expected);
        assert_eq!(double.used(0) - before, 64 << 20);
        // A part that comes home gives nothing back yet; all of it does.
        let c = Block::new(8192);
        raw::migrate(c.ptr, c.len, 0).unwrap();
        assert_eq!(double.used(0) - before, (64 << 20) + (2 << 20), "a small block takes one chunk");
    }
    let left = double.used(0) - before;
    assert!(left <= 2 << 20, "{left} bytes are left");
    assert_eq!(double.calls("pageable", "pageable"), 0);
}

/// When the device is full, groups are no reason to fail.
fn full() {
    raw::device_count().unwrap();
    let b = Block::new(64 << 20); // the device has 41 MiB
    fill(&b);
    let e = raw::migrate(b.ptr, b.len, 0).unwrap_err();
    assert!(matches!(e, Error::DeviceMemory { device: 0, .. }), "{e}");
    assert!(raw::device_info(0).unwrap().memory_free < 2 << 20);
    check(&b);
}

fn refused(expected: &str) {
    let e = raw::device_count().unwrap_err();
    assert!(e.to_string().contains(expected), "{e}");
    // The program goes on, and may ask again.
    let b = Block::new(3 << 20);
    fill(&b);
    check(&b);
    assert_eq!(raw::migrate(b.ptr, b.len, 0).unwrap_err().to_string(), e.to_string());
}

/// What does not work is passed over.
fn any(expected: &str) {
    let config = Config { backend: Backend::Auto, ..Config::from_env().unwrap() };
    raw::init(Some(config)).unwrap();
    assert_eq!(raw::device_info(0).unwrap().backend, expected);
    works(&Block::new(5 << 20));
}

/// The program's own current context (CUDA) or device (HIP) stays what it is.
fn current() {
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
fn one_context() {
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
fn loaded() {
    let double = Double::of_case(); // by its path; its name is the driver's
    // SAFETY: one thread so far.
    unsafe { std::env::remove_var(double::variable(&double.kind)) };
    double.arm("");
    works(&Block::new(5 << 20));
    assert!(double.calls("cuMemCreate", "hipMemCreate") > 0);
}

/// A kernel on one stream follows what another stream of the device was given before, where both use the same memory.
fn two_streams() {
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

/// What is given back of a group that holds more leaves the rest where it is.
fn part_of_a_group() {
    raw::device_count().unwrap();
    let len = 16 << 20;
    let all = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping of our own, adopted, and disowned in part.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), len + (2 << 20), 3, all, -1, 0).cast::<u8>();
        let at = at.add(at.align_offset(2 << 20));
        (0..len / 8).for_each(|i| at.cast::<u64>().add(i).write(i as u64));
        raw::adopt(at, len).unwrap();
        raw::migrate(at, len, 0).unwrap();
        raw::disown(at, 2 << 20).unwrap();
        raw::disown(at.add(6 << 20), 4 << 20).unwrap();
        assert!((0..len / 8).all(|i| at.cast::<u64>().add(i).read() == i as u64));
        raw::disown(at.add(2 << 20), 4 << 20).unwrap();
        raw::disown(at.add(10 << 20), 6 << 20).unwrap();
    }
    assert_eq!(raw::stats().device_bytes, 0);
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
fn native_streams() {
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

fn modules() {
    raw::device_count().unwrap();
    // SAFETY: what is no image is refused.
    unsafe {
        for bad in [&b"nonsense"[..], b"\x01\x02\x03\x04"] {
            let e = raw::module_load(0, bad).unwrap_err();
            assert!(matches!(e, Error::Device { .. }), "{e}");
        }
        assert!(matches!(raw::module_load(0, b""), Err(Error::InvalidArgument { arg: "image", .. })));
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

/// The device is lost while it holds the only copy: the page is reported, never zeros, and nobody waits for ever.
fn lost() {
    let double = Double::of_case();
    let (away, shared, home) = (Block::new(6 << 20), Block::new(4 << 20), Block::new(2 << 20));
    [&away, &shared, &home].into_iter().for_each(fill);
    raw::migrate(away.ptr, away.len, 0).unwrap();
    raw::prefetch(shared.ptr, shared.len, 0, StreamId::DEFAULT).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    check(&shared); // on both from now on
    let launch = double.name("cuLaunchKernel", "hipModuleLaunchKernel");
    let add = kernels::kernel(0, "test_add_bytes");
    double.arm(&format!("{launch}:1=async"));
    try_launch(add, &away, StreamId::DEFAULT, 1).unwrap(); // queued, and then the device is gone
    let _ = raw::stream_synchronize(StreamId::DEFAULT);
    check(&shared);
    check(&home);
    shared.word(0).store(5, Relaxed);
    let e = raw::migrate(away.ptr, away.len, HMM_HOST).unwrap_err();
    assert!(matches!(e, Error::Device { device: 0, code, .. } if code != 999), "{e}");
    let e = try_launch(add, &home, StreamId::DEFAULT, 1).unwrap_err();
    assert!(matches!(e, Error::Device { device: 0, .. } | Error::Busy { .. }), "{e}");
    check(&home);
    eprintln!("reading {:p}", away.ptr);
    away.word(0).load(Relaxed); // SIGBUS
}

/// The device is lost between a kernel and its release: the launch has been made, and whoever touches what the kernel may
/// have written is told, and does not wait for ever.
fn lost_at_mark() {
    let double = Double::of_case();
    let b = Block::new(4 << 20);
    fill(&b);
    let add = kernels::kernel(0, "test_add_bytes");
    try_launch(add, &b, StreamId::DEFAULT, 0).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    double.arm(&format!("{}:1=lost", double.name("cuEventRecord", "hipEventRecord")));
    try_launch(add, &b, StreamId::DEFAULT, 0).unwrap();
    eprintln!("reading {:p}", b.ptr);
    let at = b.ptr as usize;
    std::thread::spawn(move || {
        // SAFETY: a live block.
        unsafe { (at as *const u8).read_volatile() }
    })
    .join()
    .unwrap();
}

/// A driver of which nothing can be learnt any more is given up; what its device holds is not believed even if it answers
/// again.
fn given_up() {
    let double = Double::of_case();
    let b = Block::new(4 << 20);
    fill(&b);
    add_one(&b, 0, StreamId::DEFAULT, 0);
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    let waiting = [
        double.name("cuEventSynchronize", "hipEventSynchronize"),
        double.name("cuEventQuery", "hipEventQuery"),
        double.name("cuStreamSynchronize", "hipStreamSynchronize"),
    ];
    let add = kernels::kernel(0, "test_add_bytes");
    double.arm(&waiting.map(|name| format!("{name}:1+")).join(","));
    try_launch(add, &b, StreamId::DEFAULT, 0).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    double.arm("");
    let e = raw::migrate(b.ptr, b.len, HMM_HOST).unwrap_err();
    assert!(matches!(e, Error::Device { device: 0, code: 0, .. }), "{e}");
    let other = Block::new(1 << 20);
    fill(&other);
    assert!(raw::migrate(other.ptr, other.len, 0).is_err());
    check(&other);
}

/// Memory is touched until the very end: in exit handlers that were there before the driver was, and run after it has ended.
fn touched_at_exit() {
    static BLOCK: std::sync::OnceLock<Block> = std::sync::OnceLock::new();
    extern "C" fn touch() {
        if let Some(b) = BLOCK.get() {
            check(b);
            b.word(0).store(5, Relaxed);
            eprintln!("touched");
        }
    }
    // SAFETY: the handler touches a live block.
    unsafe { libc::atexit(touch) };
    let b = BLOCK.get_or_init(|| Block::new(9 << 20));
    fill(b);
    raw::migrate(b.ptr, b.len, 0).unwrap();
}

/// A writer after the driver's end is not followed to the device, though a launch used to read what it writes.
fn written_at_exit() {
    static BLOCK: std::sync::OnceLock<Block> = std::sync::OnceLock::new();
    extern "C" fn write() {
        let double = Double::of_case();
        let calls = || double.all_calls().iter().map(|(_, n)| n).sum::<u64>();
        let before = calls();
        if let Some(b) = BLOCK.get() {
            fill(b);
            std::thread::sleep(std::time::Duration::from_millis(100)); // what should not happen has the time to
            assert_eq!(calls(), before, "{:?}", double.all_calls());
            check(b);
            eprintln!("written");
        }
    }
    // SAFETY: the handler touches a live block.
    unsafe { libc::atexit(write) };
    let b = BLOCK.get_or_init(|| Block::new(16 << 20));
    let kernel = kernels::kernel(0, "test_add_bytes");
    for _ in 0..6 {
        fill(b);
        let args = [
            LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::Read },
            LaunchArg::Value { data: (&raw const NOTHING).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const NOTHING).cast(), size: 1 },
        ];
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(kernel, &LaunchConfig::default(), &args).unwrap() };
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    }
}

/// A kernel that goes where it has not acquired ends the context; the host's bytes do not mind.
fn unmapped() {
    raw::device_count().unwrap();
    let (b, other) = (Block::new(2 << 20), Block::new(2 << 20));
    [&b, &other].into_iter().for_each(fill);
    let (nowhere, n, v) = (0x7fff_0000_0000_u64, 100_u64, 1_u8);
    let args = [
        LaunchArg::Value { data: (&raw const nowhere).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const v).cast(), size: 1 },
    ];
    let kernel = kernels::kernel(0, "test_fill_bytes");
    // SAFETY: the kernel's accesses are checked by the double.
    unsafe { raw::launch(kernel, &LaunchConfig::default(), &args).unwrap() };
    let _ = raw::stream_synchronize(StreamId::DEFAULT);
    let e = raw::migrate(b.ptr, b.len, 0).unwrap_err();
    assert!(matches!(e, Error::Device { device: 0, code: 700, .. }), "{e}");
    assert!(e.to_string().to_uppercase().replace('_', "").contains("ILLEGALADDRESS"), "{e}");
    check(&b);
    check(&other);
}

/// Managed memory that is away, given to a call of the driver's that reads it with a lock held: a message, not a hang.
fn inside_the_driver() {
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
fn restart() {
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
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    assert!(threads < 20, "{threads} threads");
}

fn child(name: &str) {
    match name {
        "same_address" => same_address(),
        "split" => split(),
        "late" => late(false),
        "late_in_place" => late(true),
        "taken_place" => taken_place(),
        "allocated" => allocated(),
        "groups_2m" => groups(32),
        "groups_32m" => groups(2),
        "full" => full(),
        "no_library" => refused("can't be loaded"),
        "no_function" => refused("the driver lacks it"),
        "no_device" => refused("(100)"),
        "too_old" => refused("older than"),
        "init_fails" => refused("(999)"),
        "no_real_device" => refused("hipInit failed: hipError"),
        "any_double" => any(&Double::of_case().kind),
        "any_host" => any("host"),
        "current" => current(),
        "one_context" => one_context(),
        "loaded" => loaded(),
        "native_streams" => native_streams(),
        "part_of_a_group" => part_of_a_group(),
        "two_streams" => two_streams(),
        "modules" => modules(),
        "lost" => lost(),
        "lost_at_mark" => lost_at_mark(),
        "given_up" => given_up(),
        "touched_at_exit" => touched_at_exit(),
        "written_at_exit" => written_at_exit(),
        "unmapped" => unmapped(),
        "inside_the_driver" => inside_the_driver(),
        "restart" => restart(),
        _ => panic!("no case {name}"),
    }
}

#[test]
fn cases() {
    if let Some(name) = case() {
        return child(&name);
    }
    for kind in KINDS {
        let library = double::library(kind);
        let missing = double::variable(kind);
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("same_address", &[]),
            ("split", &[("HMMRT_SAME_ADDRESS", "0")]),
            ("late", &[]),
            ("late_in_place", &[("HMMRT_DOUBLE_HINTS", "over")]),
            ("taken_place", &[("HMMRT_DOUBLE_HINTS", "over")]),
            ("allocated", &[("HMMRT_DOUBLE_VMM", "0")]),
            ("groups_2m", &[("HMMRT_DEVICE_GROUP", "2M")]),
            ("groups_32m", &[]),
            ("full", &[("HMMRT_DOUBLE_MEMORY", "41M")]),
            ("no_library", &[(missing, "/nonexistent/library.so")]),
            ("no_function", &[(missing, "libc.so.6")]), // a library, but no driver
            ("no_device", &[("HMMRT_DOUBLE_DEVICES", "0")]),
            ("too_old", &[("HMMRT_DOUBLE_VERSION", "8000")]),
            ("init_fails", &[("HMMRT_DOUBLE_INIT", "999")]),
            ("any_double", &[]),
            ("any_host", &[("HMMRT_DOUBLE_DEVICES", "0")]),
            ("any_host", &[("HMMRT_DOUBLE_VERSION", "8000")]),
            ("any_host", &[(missing, "/nonexistent/library.so")]),
            ("current", &[]),
            ("one_context", &[]),
            ("loaded", &[]),
            ("split", &[("HMMRT_DOUBLE_HINTS", "none")]),
            ("native_streams", &[]),
            ("part_of_a_group", &[]),
            ("two_streams", &[]),
            ("modules", &[]),
            ("unmapped", &[]),
            ("given_up", &[]),
            ("touched_at_exit", &[]),
            ("written_at_exit", &[("HMMRT_POLICY", "auto")]),
            ("restart", &[]),
        ];
        for (name, env) in cases {
            let out = double::run_case(kind, &library, name, env);
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{kind} {name} {env:?}: {:?}\n{err}", out.status);
            let end = [("touched_at_exit", "touched"), ("written_at_exit", "written")];
            assert!(end.iter().all(|(n, text)| n != name || err.contains(text)), "{kind}: {err}");
        }
        let limit: &[(&str, &str)] = &[("HMMRT_DRIVER_TIMEOUT", "1")];
        for (name, env, text) in [
            ("lost", &[][..], "brought home"),
            ("lost_at_mark", &[], "brought home"),
            ("inside_the_driver", limit, "did not answer"),
        ] {
            let out = double::run_case(kind, &library, name, env);
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.signal(), Some(libc::SIGBUS), "{kind} {name}: {err}");
            let at = err.lines().find_map(|l| l.strip_prefix("reading ")).unwrap_or("?");
            assert!(err.contains(&format!("SIGBUS at {at}")) && err.contains(text), "{kind} {name}: {err}");
        }
    }
}

/// AMD's own runtime, which Debian has, on a machine without a GPU: an error with its own code, and the next backend.
#[test]
fn a_real_runtime_without_a_device() {
    const LIBRARY: &str = "libamdhip64.so.5";
    // SAFETY: the library's constructors are trusted as the backend does.
    if let Err(e) = unsafe { libloading::Library::new(LIBRARY) } {
        assert!(std::env::var_os("CI").is_none(), "libamdhip64-5 is not installed, and CI needs it");
        return eprintln!("skipped: {e}");
    }
    if std::path::Path::new("/dev/kfd").exists() {
        return eprintln!("skipped: there may be a GPU");
    }
    if case().is_some() {
        return;
    }
    for (case, backend) in [("no_real_device", "hip"), ("any_host", "auto")] {
        let mut command = common::double::case_command(case);
        command.env("HMMRT_BACKEND", backend).env("HMMRT_HIP_LIBRARY", LIBRARY).env("HMMRT_LOG", "info");
        let out = command.output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{case}: {:?}\n{err}", out.status);
        assert!(
            backend == "hip" || err.contains("the hip backend is not used: hipInit failed: hip"),
            "{err}"
        );
    }
}
