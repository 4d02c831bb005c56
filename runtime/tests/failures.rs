//! Every device call of a scripted run fails, once and for good: each time the data is right or the call says what went
//! wrong, nothing is lost, and the rest of the run is right.

mod common;

use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Config, Error, LaunchArg, LaunchConfig, StreamId, inject};
use std::ffi::c_void;

const LEN: usize = (4 << 20) + 20_000;
const SMALL: usize = 40_000;

/// Adds one to every byte of its argument.
unsafe extern "C" fn increment(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: launched with a pointer and a length, acquired.
    unsafe {
        let (p, n) = (*args.cast::<*const *mut u8>().read(), *(*args.add(1)).cast::<u64>() as usize);
        for i in 0..n {
            *p.add(i) = (*p.add(i)).wrapping_add(1);
        }
    }
}

/// What the script expects of its blocks.
struct Model {
    blocks: [(*mut u8, usize); 2],
    values: [u8; 2],
    errors: usize,
}

impl Model {
    fn note<T>(&mut self, result: Result<T, Error>) -> bool {
        if let Err(e) = &result {
            // Busy: a release failed, so its range is in use until the stream is synchronized.
            assert!(
                matches!(e, Error::Device { name: "HOST_ERROR_INJECTED", .. } | Error::Busy { .. }),
                "{e}"
            );
            self.errors += 1;
        }
        result.is_ok()
    }

    /// Runs the kernel on block `b`; a launch that fails after the kernel was queued may have run it.
    fn launch(&mut self, device: i32, b: usize, stream: StreamId) {
        // SAFETY: the function fits.
        let kernel = unsafe { raw::kernel_from_function(device, increment).unwrap() };
        let (ptr, len) = self.blocks[b];
        let n = len as u64;
        let args = [
            LaunchArg::Pointer { ptr, len, mode: AccessMode::ReadWrite },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        ];
        // SAFETY: the arguments fit.
        let result =
            unsafe { raw::launch(kernel, &LaunchConfig { stream, ..LaunchConfig::default() }, &args) };
        let queued = matches!(result, Ok(()) | Err(Error::Device { call: "signal", .. }));
        self.note(result);
        if queued {
            self.values[b] = self.values[b].wrapping_add(1);
        }
    }

    /// One stream's kernel writes what another stream of the same device then reads: the second waits for the first.
    fn read_on_two(&mut self, stream: StreamId) {
        self.launch(0, 1, stream);
        let (ptr, len) = self.blocks[1];
        // SAFETY: only read.
        let got =
            unsafe { raw::acquire(0, StreamId::DEFAULT, &[Access { ptr, len, mode: AccessMode::Read }]) };
        self.note(got);
        self.note(raw::release(0, StreamId::DEFAULT));
    }

    /// All bytes of both blocks, read by the CPU.
    fn check(&self, what: &str) {
        for ((ptr, len), value) in self.blocks.iter().zip(self.values) {
            // SAFETY: live blocks.
            let bytes = unsafe { std::slice::from_raw_parts(*ptr, *len) };
            let wrong = bytes.iter().position(|b| *b != value);
            assert!(
                wrong.is_none(),
                "{what}: byte {wrong:?} is {} instead of {value}",
                bytes[wrong.unwrap()]
            );
        }
    }
}

/// The run: everything that calls a device.
fn script() -> Model {
    let block = |len| (raw::malloc(len).unwrap(), len);
    let mut m = Model { blocks: [block(LEN), block(SMALL)], values: [3, 9], errors: 0 };
    for ((ptr, len), v) in m.blocks.iter().zip(m.values) {
        // SAFETY: live blocks.
        unsafe { std::ptr::write_bytes(*ptr, v, *len) };
    }
    let [(big, _), (small, _)] = m.blocks;
    let made = raw::stream_create(0);
    let stream = *made.as_ref().unwrap_or(&StreamId::DEFAULT);
    m.note(made);
    m.note(raw::migrate(big, LEN, 0));
    m.note(raw::host_ready(big, LEN / 2, AccessMode::Read));
    m.launch(0, 0, stream);
    m.launch(0, 1, stream);
    m.note(raw::stream_synchronize(stream));
    m.note(raw::migrate(big, LEN, 1));
    m.launch(1, 0, StreamId::DEFAULT);
    m.note(raw::prefetch(small, SMALL, 1, StreamId::DEFAULT));
    m.note(raw::stream_synchronize(StreamId::DEFAULT));
    m.launch(1, 1, StreamId::DEFAULT);
    m.launch(0, 1, stream);
    m.read_on_two(stream);
    m.note(raw::migrate(big, LEN, HMM_HOST));
    m.note(raw::prefetch(big, LEN, 0, stream));
    m.launch(0, 0, stream);
    m.note(raw::stream_synchronize(stream));
    m.note(raw::stream_synchronize(StreamId::DEFAULT));
    m.note(raw::migrate(small, SMALL, HMM_HOST));
    if stream != StreamId::DEFAULT && !m.note(raw::stream_destroy(stream)) {
        inject::arm("").unwrap();
        raw::stream_destroy(stream).unwrap();
    }
    m
}

fn run(spec: &str) -> usize {
    raw::init(Some(Config { host_devices: 2, host_fail: spec.into(), ..Config::default() })).unwrap();
    let m = script();
    inject::arm("").unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    m.check(spec);
    let errors = m.errors;
    // The rest of the run is right.
    let after = script();
    after.check(spec);
    assert_eq!(after.errors, 0);
    for (ptr, _) in m.blocks.iter().chain(&after.blocks) {
        // SAFETY: not used any more.
        unsafe { raw::free(*ptr).unwrap() };
    }
    assert_eq!(raw::stats().managed_bytes, 0);
    raw::shutdown().unwrap();
    assert_eq!(raw::stats().device_bytes, 0, "{spec}");
    errors
}

#[test]
fn every_device_call_fails_once_and_for_good() {
    assert_eq!(run(""), 0);
    raw::init(Some(Config { host_devices: 2, ..Config::default() })).unwrap();
    inject::arm("").unwrap();
    let m = script();
    let calls: Vec<(&str, u64)> = inject::KINDS.iter().map(|k| (*k, inject::calls(k))).collect();
    for (ptr, _) in m.blocks {
        // SAFETY: not used any more.
        unsafe { raw::free(ptr).unwrap() };
    }
    raw::shutdown().unwrap();
    let (mut runs, mut seen) = (0, 0);
    for (kind, n) in calls {
        assert!(n > 0 || kind == "clear", "the script must make calls of kind {kind}");
        for i in 1..=n {
            for suffix in ["", "+"] {
                seen += (run(&format!("{kind}:{i}{suffix}")) > 0) as usize;
                runs += 1;
            }
        }
    }
    eprintln!("{runs} runs, {seen} with an error");
    assert!(seen * 3 > runs, "most failures must be seen");
}

#[test]
fn a_full_device_says_so() {
    // A process of its own: the other test starts and stops the runtime.
    if common::case().is_none() {
        let out = common::run_case("a_full_device_says_so", "full", &[("HMMRT_HOST_MEMORY", "8M")]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        return;
    }
    let b = common::Block::new(16 << 20);
    (0..b.words()).for_each(|i| b.word(i).store(i as u64, std::sync::atomic::Ordering::Relaxed));
    let e = raw::migrate(b.ptr, b.len, 0).unwrap_err();
    assert!(matches!(e, Error::DeviceMemory { device: 0, .. }), "{e}");
    assert_eq!(raw::device_info(0).unwrap().memory_free, 0);
    assert!((0..b.words()).all(|i| b.word(i).load(std::sync::atomic::Ordering::Relaxed) == i as u64));
    assert_eq!(raw::migrate(b.ptr, 6 << 20, 0).unwrap_or(0) % 512, 0);
}
