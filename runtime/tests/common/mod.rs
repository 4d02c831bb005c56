//! What several tests share: a small random number generator, blocks, and the scale of long tests.
#![allow(dead_code, reason = "each test uses its part")]

pub mod double;
pub mod filter;
pub mod kernels;
mod skips;

use hmmrt::FaultEngine;
use hmmrt::{Config, raw};
#[allow(unused_imports, reason = "each test uses its part")]
pub use skips::skipped;

/// xorshift64*: small, seedable, good enough for choosing what to do next.
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }
}

/// How much longer than usual long tests run: `HMMRT_TEST_SCALE`, default 1.
pub fn scale() -> f64 {
    std::env::var("HMMRT_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0)
}

/// The seed of random tests: `HMMRT_TEST_SEED`, or the time.
pub fn seed() -> u64 {
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("HMMRT_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(now) | 1;
    eprintln!("HMMRT_TEST_SEED={seed}");
    seed
}

/// Ends this process if it hangs: in far more time than anything takes, on whatever machine.
pub fn end_if_it_hangs() {
    // SAFETY: no handler: the signal kills.
    unsafe { libc::alarm((600.0 * scale().max(1.0)) as u32) };
}

/// Waits for what has to come; not for ever.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while !done() {
        assert!(std::time::Instant::now() < end, "{what} has not come");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// The threads of this process.
pub fn threads() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| task.unwrap().file_name().to_string_lossy().parse().unwrap()).collect()
}

/// Whether this thread sleeps, or is gone.
pub fn sleeps(id: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|s| s.is_empty() || s.starts_with('S'))
}

/// Waits until a number of files and of threads is down to the least that ever was, `least`: threads take a moment to be gone.
pub fn until_ended(least: &mut Option<(usize, usize)>, now: impl Fn() -> (usize, usize)) {
    if least.is_none() {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let (mut files, mut threads) = *least.get_or_insert_with(&now);
    until("the end of all that was begun", || {
        let now = now();
        (files, threads) = (files.min(now.0), threads.min(now.1));
        now == (files, threads)
    });
    *least = Some((files, threads));
}

/// Waits until no other thread is running: one that has just been started still maps its alternate stack, and what is on
/// its way still moves.
pub fn others_sleep() {
    // SAFETY: no preconditions.
    let me = unsafe { libc::gettid() };
    let mut asleep = 0;
    until("the other threads' sleep", || {
        asleep = if threads().iter().all(|id| *id == me || sleeps(*id)) { asleep + 1 } else { 0 };
        asleep == 2
    });
}

/// The settings of the environment, with two devices where the host backend runs.
pub fn config() -> Config {
    Config { host_devices: 2, ..Config::from_env().unwrap() }
}

/// The devices that a test uses: two if there are as many, else the first in both roles.
pub fn two_devices() -> [i32; 2] {
    [0, i32::from(raw::device_count().unwrap() > 1)]
}

/// Whether touches are noticed by userfaultfd: no mapping is ever split, and more than 64 KiB that is read comes home as the
/// pages themselves, the host's alone.
pub fn is_watched() -> bool {
    matches!(config().fault, FaultEngine::Uffd | FaultEngine::UffdThread)
}

/// Whether touches are messages to threads of the runtime: no signal handler runs.
pub fn is_messaged() -> bool {
    config().fault == FaultEngine::UffdThread
}

/// Whether devices are of the host backend.
pub fn on_host_backend() -> bool {
    raw::device_info(0).unwrap().backend == "host"
}

/// A managed block, freed when dropped.
pub struct Block {
    /// Where it is.
    pub ptr: *mut u8,
    /// Its length in bytes.
    pub len: usize,
}

// SAFETY: plain memory; the tests decide who touches which bytes.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// A new block of zeros. What hangs from here on ends: a panic in one thread may leave another waiting for ever.
    pub fn new(len: usize) -> Block {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // SAFETY: no handler: the signal kills. Who has an alarm of its own keeps it.
        ONCE.call_once(|| unsafe {
            let own = libc::alarm((1800.0 * scale().max(1.0)) as u32);
            if own != 0 {
                libc::alarm(own);
            }
        });
        Block { ptr: raw::calloc(len, 1).unwrap(), len }
    }
    /// Its 64-bit word number `i`.
    pub fn word(&self, i: usize) -> &std::sync::atomic::AtomicU64 {
        assert!(i * 8 + 8 <= self.len);
        // SAFETY: inside the block, aligned.
        unsafe { &*self.ptr.cast::<std::sync::atomic::AtomicU64>().add(i) }
    }
    /// Words in it.
    pub fn words(&self) -> usize {
        self.len / 8
    }
    /// The page flags of all its pages.
    pub fn pages(&self) -> Vec<hmmrt::Page> {
        let mut out = vec![hmmrt::Page::default(); self.len.div_ceil(4096)];
        raw::query(self.ptr, self.len, &mut out).unwrap();
        out
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more.
        unsafe { raw::free(self.ptr).unwrap() };
    }
}

/// Runs the test `name` of this binary again in a process of its own, with `HMMRT_CASE=case` and more variables.
pub fn run_case(name: &str, case: &str, env: &[(&str, &str)]) -> std::process::Output {
    case_command(name, case).envs(env.iter().copied()).output().unwrap()
}

/// The command that runs it.
pub fn case_command(name: &str, case: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env("HMMRT_CASE", case);
    command
}

/// The case that this process was started for, if it was.
pub fn case() -> Option<String> {
    std::env::var("HMMRT_CASE").ok()
}

/// To the device and home: the bytes of each reason. They must come to all that moved, once nothing moves any more.
pub fn reasons() -> ([u64; 6], [u64; 6]) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(120);
    loop {
        let s = raw::stats();
        let out = [
            s.launch_bytes_to_device,
            s.prefetch_bytes_to_device,
            s.ahead_bytes_to_device,
            s.asked_bytes_to_device,
            s.evict_bytes_to_device,
            s.other_bytes_to_device,
        ];
        let home = [
            s.fault_bytes_to_host,
            s.prefetch_bytes_to_host,
            s.ahead_bytes_to_host,
            s.asked_bytes_to_host,
            s.evict_bytes_to_host,
            s.other_bytes_to_host,
        ];
        if (out.iter().sum(), home.iter().sum()) == (s.bytes_to_device, s.bytes_to_host) {
            return (out, home);
        }
        assert!(std::time::Instant::now() < end, "{s:?}");
        std::thread::sleep(std::time::Duration::from_millis(10)); // something moves in the background
    }
}
