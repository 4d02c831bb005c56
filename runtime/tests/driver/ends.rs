//! Devices that are lost or given up, and what is touched after the driver has ended.

use super::common::double::Double;
use super::common::{Block, end_if_it_hangs, kernels};
use super::memory::{add_one, check, fill, try_launch};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Error, LaunchArg, LaunchConfig, Page, StreamId};
use std::sync::atomic::Ordering::Relaxed;

static NOTHING: u64 = 0;

/// The device is lost while it holds the only copy: the page is reported, never zeros, and nobody waits for ever.
pub fn lost() {
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
    // A program that tries again, with what both have: the host keeps it.
    let stays = |e: Error| {
        assert!(matches!(e, Error::Device { device: 0, .. }), "{e}");
        assert!(shared.pages().iter().all(|p| p.flags & Page::HOST != 0), "taken by a device that is lost");
        check(&shared);
    };
    stays(try_launch(add, &shared, StreamId::DEFAULT, 1).unwrap_err());
    stays(raw::migrate(shared.ptr, shared.len, 0).unwrap_err());
    let overwritten = Access { ptr: shared.ptr, len: shared.len, mode: AccessMode::Write };
    // SAFETY: nothing is launched.
    stays(unsafe { raw::acquire(0, StreamId::DEFAULT, &[overwritten]) }.unwrap_err());
    shared.word(0).store(5, Relaxed);
    let e = raw::migrate(away.ptr, away.len, HMM_HOST).unwrap_err();
    assert!(matches!(e, Error::Device { device: 0, code, .. } if code != 999), "{e}");
    let e = try_launch(add, &home, StreamId::DEFAULT, 1).unwrap_err();
    assert!(matches!(e, Error::Device { device: 0, .. } | Error::Busy { .. }), "{e}");
    check(&home);
    eprintln!("reading {:p}", away.ptr);
    away.word(0).load(Relaxed); // SIGBUS
}

/// What another device has too, and the host has not, goes with none that is lost: not to the CPU, not to a third device, not when the
/// other is full and it has to leave.
pub fn lost_with_another() {
    const CHUNK: usize = 2 << 20;
    let double = Double::of_case();
    let streams = [1, 2].map(|device| raw::stream_create(device).unwrap());
    let [b, c, halves, much] = [3, 3, 1, 16].map(|chunks| Block::new(chunks * CHUNK));
    [&b, &c, &halves, &much].into_iter().for_each(fill);
    raw::migrate(halves.ptr, CHUNK / 2, 1).unwrap();
    raw::migrate(halves.ptr.wrapping_add(CHUNK / 2), CHUNK / 2, 0).unwrap();
    let read = |device: i32, of: &Block| {
        let access = [Access { ptr: of.ptr, len: of.len, mode: AccessMode::Read }];
        let stream = streams[device as usize - 1];
        // SAFETY: nothing is launched.
        unsafe { raw::acquire(device, stream, &access).unwrap() };
        raw::release(device, stream).unwrap();
        raw::stream_synchronize(stream).unwrap();
    };
    for block in [&b, &c] {
        raw::migrate(block.ptr, block.len, 0).unwrap();
        read(1, block); // from one to the other
        assert!(block.pages().iter().all(|p| p.flags & Page::HOST == 0));
    }
    double.arm("any:1=lost"); // of the first device: that of the next call
    assert!(raw::stream_create(0).is_err());
    assert!(matches!(raw::migrate(much.ptr, CHUNK, 0), Err(Error::Device { device: 0, .. })), "it is lost");
    assert!(raw::migrate(halves.ptr, CHUNK, HMM_HOST).is_err(), "half of it is lost");
    let home = halves.pages().iter().map(|p| p.flags & Page::HOST != 0).collect::<Vec<_>>();
    assert!(
        home[..256].iter().all(|home| *home) && !home[256..].contains(&true),
        "and the other half has come"
    );
    assert!((0..halves.words() / 2).step_by(64).all(|i| halves.word(i).load(Relaxed) == i as u64 + 1));
    let word = b.words() / 2;
    assert_eq!(b.word(word).load(Relaxed), word as u64 + 1, "of a touch");
    read(2, &b);
    raw::migrate(much.ptr, much.len, 1).unwrap(); // all of its memory
    check(&b);
    check(&c);
    check(&much);
}

/// The device is lost between a kernel and its release: the launch has been made, and whoever touches what the kernel may
/// have written is told, and does not wait for ever.
pub fn lost_at_mark() {
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

/// A launch is made, its release fails, and its thread ends: another's synchronizing makes all of it over.
pub fn left_by_its_thread() {
    let double = Double::of_case();
    let b = Block::new(4 << 20);
    fill(&b);
    let add = kernels::kernel(0, "test_add_bytes");
    let record = double.name("cuEventRecord", "hipEventRecord");
    let launch = |value| try_launch(add, &b, StreamId::DEFAULT, value);
    launch(1).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    double.arm(&[1, 2, 3].map(|n| format!("{record}:{n}=999")).join(","));
    let e = std::thread::scope(|s| s.spawn(|| launch(255)).join()).unwrap().unwrap_err();
    assert!(matches!(e, Error::Device { device: 0, code: 999, .. }), "{e}");
    double.arm("");
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    end_if_it_hangs();
    check(&b);
}

/// A driver of which nothing can be learnt any more is given up; what its device holds is not believed even if it answers
/// again.
pub fn given_up() {
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
pub fn touched_at_exit() {
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

/// What can't come home, its device being lost, keeps nothing behind it away: exit handlers find the bytes of the other device.
pub fn others_at_exit() {
    static BLOCK: std::sync::OnceLock<Block> = std::sync::OnceLock::new();
    extern "C" fn touch() {
        if let Some(b) = BLOCK.get() {
            check(b);
            eprintln!("others");
        }
    }
    // SAFETY: the handler touches a live block.
    unsafe { libc::atexit(touch) };
    let double = Double::of_case();
    let first = std::mem::ManuallyDrop::new(Block::new(2 << 20));
    let b = BLOCK.get_or_init(|| Block::new(4 << 20)); // too little for others to help
    assert_eq!(first.ptr.wrapping_add(first.len), b.ptr, "one behind the other");
    [&first, b].into_iter().for_each(fill);
    raw::migrate(first.ptr, first.len, 1).unwrap();
    raw::migrate(b.ptr, b.len, 0).unwrap();
    let (add, stream) = (kernels::kernel(1, "test_add_bytes"), raw::stream_create(1).unwrap());
    double.arm(&format!("{}:1=async", double.name("cuLaunchKernel", "hipModuleLaunchKernel")));
    try_launch(add, &first, stream, 1).unwrap(); // queued, and then the device is gone
    let _ = raw::stream_synchronize(stream);
    assert!(raw::migrate(first.ptr, first.len, HMM_HOST).is_err());
}

/// A writer after the driver's end is not followed to the device, though a launch used to read what it writes.
pub fn written_at_exit() {
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
pub fn unmapped() {
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
