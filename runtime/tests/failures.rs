//! Every device call of a scripted run fails, once and for good: each time the data is right or the call says what went
//! wrong, nothing is lost, and the rest of the run is right.

mod common;

use common::double::{self, Double};
use common::kernels;
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Error, KernelId, LaunchArg, LaunchConfig, StreamId, inject};

const LEN: usize = (4 << 20) + 20_000;
const SMALL: usize = 40_000;

/// What makes calls fail: the host backend's injection, or a driver's double's.
struct Injection(Option<Double>);

impl Injection {
    fn here() -> Injection {
        let kind = std::env::var("HMMRT_BACKEND").unwrap_or_default();
        let path =
            double::KINDS.contains(&kind.as_str()).then(|| std::env::var(double::variable(&kind)).unwrap());
        Injection(path.map(|path| Double::open(&kind, path.as_ref())))
    }

    fn arm(&self, spec: &str) {
        match &self.0 {
            Some(double) => double.arm(spec),
            None => inject::arm(spec).unwrap(),
        }
    }

    /// What can fail, and how often it was called.
    fn calls(&self) -> Vec<(String, u64)> {
        match &self.0 {
            Some(double) => double.all_calls(),
            None => inject::KINDS.iter().map(|k| (k.to_string(), inject::calls(k))).collect(),
        }
    }

    /// The numbers of the calls that are made to fail, of `n`: all of the host backend's; of a driver's, which has many
    /// more, the first few and some of the others.
    fn numbers(&self, n: u64) -> Vec<u64> {
        let is_short = common::scale() < 0.1;
        match self.0 {
            None => (1..=n).filter(|i| !is_short || *i == n || i % 3 == 1).collect(),
            Some(_) => (1..=n).filter(|i| *i <= 3 || *i == n || i.is_multiple_of(n / 6 + 1)).collect(),
        }
    }
}

/// What the script expects of its blocks.
struct Model {
    blocks: [(*mut u8, usize); 2],
    values: [u8; 2],
    /// Launches that failed, after which nobody can say whether the kernel was queued.
    unsure: [u8; 2],
    add: [KernelId; 2],
    errors: usize,
}

impl Model {
    fn note<T>(&mut self, result: Result<T, Error>) -> bool {
        if let Err(e) = &result {
            // Busy: a release failed, so its range is in use until the stream is synchronized. Code 0: the driver has
            // failed for so long that the device was given up.
            assert!(
                matches!(
                    e,
                    Error::Device { code: 999 | 0, .. } | Error::DeviceMemory { .. } | Error::Busy { .. }
                ),
                "{e}"
            );
            self.errors += 1;
        }
        result.is_ok()
    }

    /// Adds one to block `b`; a launch that fails after the kernel was queued may have done it.
    fn launch(&mut self, role: usize, b: usize, stream: StreamId) {
        let (ptr, len) = self.blocks[b];
        let (n, one) = (len as u64, 1_u8);
        let args = [
            LaunchArg::Pointer { ptr, len, mode: AccessMode::ReadWrite },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const one).cast(), size: 1 },
        ];
        let config = LaunchConfig { stream, ..LaunchConfig::default() };
        // SAFETY: the arguments fit.
        let result = unsafe { raw::launch(self.add[role], &config, &args) };
        match result {
            Ok(()) | Err(Error::Device { call: "signal", .. }) => {
                self.values[b] = self.values[b].wrapping_add(1);
            }
            Err(Error::Device { name: "HOST_ERROR_INJECTED", .. }) => {}
            Err(_) => self.unsure[b] += 1,
        }
        self.note(result);
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
        for (b, (ptr, len)) in self.blocks.into_iter().enumerate() {
            // SAFETY: live blocks.
            let bytes = unsafe { std::slice::from_raw_parts(ptr, len) };
            let (value, first) = (self.values[b], bytes[0]);
            let more = first.wrapping_sub(value);
            assert!(more <= self.unsure[b], "{what}: block {b} is {first}, {value} and {more} more");
            let wrong = bytes.iter().position(|b| *b != first);
            assert!(wrong.is_none(), "{what}: byte {wrong:?} is {} and not {first}", bytes[wrong.unwrap()]);
        }
    }
}

/// The run: everything that calls a device.
fn script(injection: &Injection, add: [KernelId; 2]) -> Model {
    let block = |len| (raw::malloc(len).unwrap(), len);
    let blocks = [block(LEN), block(SMALL)];
    let mut m = Model { blocks, values: [3, 9], unsure: [0; 2], add, errors: 0 };
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
        injection.arm("");
        raw::stream_destroy(stream).unwrap();
    }
    m
}

fn start(injection: &Injection) -> [KernelId; 2] {
    raw::init(Some(common::config())).unwrap();
    let add = [0, 1].map(|d| kernels::kernel(d, "test_add_bytes"));
    injection.arm("");
    add
}

/// Whether a driver has failed for so long that its device was given up.
fn is_lost() -> bool {
    let probe = common::Block::new(4096);
    let lost = |d| matches!(raw::migrate(probe.ptr, 1, d), Err(Error::Device { code: 0, .. }));
    let lost = lost(0) || lost(1);
    let _ = raw::migrate(probe.ptr, 1, HMM_HOST);
    lost
}

/// With a device lost, what is on the host is right, and what is not says so; the next runtime begins anew.
fn leave(m: Model) -> usize {
    for (ptr, len) in m.blocks {
        for page in (0..len).step_by(4096) {
            // SAFETY: inside the block.
            let at = unsafe { ptr.add(page) };
            match raw::host_ready(at, 1, AccessMode::Read) {
                // SAFETY: it is on the host.
                Ok(()) => drop(unsafe { at.read_volatile() }),
                Err(e) => assert!(matches!(e, Error::Device { .. } | Error::Busy { .. }), "{e}"),
            }
        }
    }
    // What a release was not heard of for is in use until a shutdown forgets all uses.
    // SAFETY: not used any more.
    let free = |(ptr, _): &(*mut u8, usize)| unsafe { raw::free(*ptr) }.is_err();
    let busy: Vec<_> = m.blocks.into_iter().filter(free).collect();
    if let Err(e) = raw::shutdown() {
        assert!(!busy.is_empty() && matches!(e, Error::Device { .. }), "{e}");
        assert!(!busy.iter().any(free));
        raw::shutdown().unwrap();
    }
    m.errors
}

fn run(injection: &Injection, spec: &str) -> usize {
    let add = start(injection);
    injection.arm(spec);
    let m = script(injection, add);
    injection.arm("");
    if is_lost() {
        assert!(spec.ends_with('+'), "{spec}: a call that fails once is no lost device");
        return leave(m);
    }
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    m.check(spec);
    let errors = m.errors;
    // The rest of the run is right.
    let after = script(injection, add);
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
    let injection = Injection::here();
    assert_eq!(run(&injection, ""), 0);
    let counted = || {
        let add = start(&injection);
        let m = script(&injection, add);
        let calls = injection.calls();
        for (ptr, _) in m.blocks {
            // SAFETY: not used any more.
            unsafe { raw::free(ptr).unwrap() };
        }
        raw::shutdown().unwrap();
        calls
    };
    // A stream waits only for a kernel that has not ended: not each time on a machine with much else to do.
    let mut calls = counted();
    let is_missing = |(kind, n): &(String, u64)| *n == 0 && kind != "clear";
    for _ in 0..50 {
        if calls.iter().any(is_missing) {
            calls = counted();
        }
    }
    let (mut runs, mut seen) = (0, 0);
    for (kind, n) in calls {
        assert!(n > 0 || kind == "clear", "the script must make calls of kind {kind}");
        for i in injection.numbers(n) {
            for suffix in ["", "+"] {
                seen += (run(&injection, &format!("{kind}:{i}{suffix}")) > 0) as usize;
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
        let small = [("HMMRT_HOST_MEMORY", "8M"), ("HMMRT_BACKEND", "host")];
        let out = common::run_case("a_full_device_says_so", "full", &small);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        return;
    }
    let b = common::Block::new(16 << 20);
    (0..b.words()).for_each(|i| b.word(i).store(i as u64, std::sync::atomic::Ordering::Relaxed));
    let e = raw::migrate(b.ptr, b.len, 0).unwrap_err();
    assert!(matches!(e, Error::DeviceMemory { device: 0, .. }), "{e}");
    assert_eq!(raw::device_info(0).unwrap().memory_free, 8 << 20, "what can't be there is refused at once");
    raw::migrate(b.ptr, 8 << 20, 0).unwrap();
    assert_eq!(raw::device_info(0).unwrap().memory_free, 0);
    let held = [Access { ptr: b.ptr.cast_const(), len: 8 << 20, mode: AccessMode::Read }];
    // SAFETY: nothing is written.
    unsafe { raw::acquire(0, StreamId::DEFAULT, &held).unwrap() };
    let e = raw::migrate(b.ptr.wrapping_add(8 << 20), 4 << 20, 0).unwrap_err();
    assert!(matches!(e, Error::DeviceMemory { device: 0, .. }), "{e}");
    raw::release(0, StreamId::DEFAULT).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    assert!((0..b.words()).all(|i| b.word(i).load(std::sync::atomic::Ordering::Relaxed) == i as u64));
    assert_eq!(raw::migrate(b.ptr, 6 << 20, 0).unwrap_or(0) % 512, 0);
}
