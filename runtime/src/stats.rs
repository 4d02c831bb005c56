//! What happened, as numbers. Relaxed counters that anybody adds to, signal handler included; read by `hmm_stats_get`
//! and the table at exit.

use crate::config::Config;
use crate::log::log;
use crate::sys::{self, library, thread, tracefile};
use crate::trace::Why;
use core::sync::atomic::{AtomicU64, Ordering::*};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

/// One number. Signal-safe.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A gauge that one thread at a time changes, under a lock of its own: without a locked instruction. Signal-safe.
#[derive(Default)]
pub(crate) struct LockedGauge(AtomicU64);

impl LockedGauge {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $kind:ident $name:ident),+ $(,)?) => {
        /// A snapshot of the counters (`hmm_stats`). Bytes are bytes; counts are since start or the last reset;
        /// `vmas`, `spare_bytes`, `device_bytes`, `managed_bytes` and `table_bytes` are the state now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[$doc])* pub $name: u64),+ }

        /// The live counters.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
            /// The part of `managed_bytes` that is in slabs; under the heap's lock.
            pub(crate) slab_bytes: LockedGauge,
        }

        impl Counters {
            const fn new() -> Counters {
                Counters { $($name: Counter(AtomicU64::new(0)),)+ slab_bytes: LockedGauge(AtomicU64::new(0)) }
            }
            /// The numbers now.
            pub(crate) fn snapshot(&self) -> Stats {
                let mut now = Stats { $($name: self.$name.get()),+ };
                now.managed_bytes += self.slab_bytes.0.load(Relaxed);
                now
            }
            /// Sets the counts to zero, not the gauges.
            pub(crate) fn reset(&self) { $(stats!(@reset $kind self.$name);)+ }
        }
    };
    (@reset count $c:expr) => { $c.0.store(0, Relaxed) };
    (@reset gauge $c:expr) => { };
}

stats! {
    /// Faults that were ours.
    count faults,
    /// Of them, reads.
    count read_faults,
    /// Of them, writes.
    count write_faults,
    /// Bytes copied to a device (from the host or another device).
    count bytes_to_device,
    /// Bytes copied to the host.
    count bytes_to_host,
    /// Moves to a device, one per chunk touched.
    count moves_to_device,
    /// Moves to the host, one per chunk touched.
    count moves_to_host,
    /// Bytes that needed no copy: untouched, still valid, or not needed.
    count bytes_not_copied,
    /// Chunks that left a device because it was full.
    count evictions,
    /// Prefetches asked for.
    count prefetches,
    /// Bytes that a prefetch or the policy brought before they were asked for, and that something used. A chunk that came home early
    /// is used as a whole when any of it is touched. In neither this nor the next: what has not been decided yet, and what is open
    /// to the CPU at once, so that its use is not seen (parts of chunks, prefetches home, all that userfaultfd brings home).
    count prefetched_bytes_used,
    /// Of such bytes those that left again, or were brought anew, before anything used them.
    count prefetched_bytes_wasted,
    /// Times that something waited for a kernel.
    count waits,
    /// Mappings the runtime is answerable for, an upper estimate.
    gauge vmas,
    /// Bytes in warm spare blocks.
    gauge spare_bytes,
    /// Device bytes committed.
    gauge device_bytes,
    /// Bytes of live managed memory.
    gauge managed_bytes,
    /// Bytes of the residency table.
    gauge table_bytes,
    /// Movements, launches and other calls of devices that failed. What is refused for its arguments need not count.
    count errors,
    /// Of `bytes_to_device`: for launches and acquires.
    count launch_bytes_to_device,
    /// Of them, for prefetches that the program asked for.
    count prefetch_bytes_to_device,
    /// Of them, moved by the runtime itself before they were asked for.
    count ahead_bytes_to_device,
    /// Of them, because the program asked for the move (`hmm_migrate`).
    count asked_bytes_to_device,
    /// Of them, to a peer, because a device was full.
    count evict_bytes_to_device,
    /// Of them, for anything else.
    count other_bytes_to_device,
    /// Of `bytes_to_host`: for touches by the CPU.
    count fault_bytes_to_host,
    /// Of them, for prefetches that the program asked for.
    count prefetch_bytes_to_host,
    /// Of them, moved by the runtime itself before they were asked for.
    count ahead_bytes_to_host,
    /// Of them, because the program asked for the move (`hmm_migrate`, `hmm_host_ready`, `hmm_pin`, a system call).
    count asked_bytes_to_host,
    /// Of them, because a device was full.
    count evict_bytes_to_host,
    /// Of them, for fork, for the end, when memory ceases to be managed, and for anything else.
    count other_bytes_to_host,
}

impl Counters {
    /// Bytes were copied to a device. Signal-safe.
    pub(crate) fn copied_out(&self, why: Why, bytes: usize) {
        self.bytes_to_device.add(bytes as u64);
        let reason = match why {
            Why::Launch | Why::Acquire => &self.launch_bytes_to_device,
            Why::Prefetch => &self.prefetch_bytes_to_device,
            Why::Ahead | Why::Predicted | Why::Behind => &self.ahead_bytes_to_device,
            Why::Migrate => &self.asked_bytes_to_device,
            Why::Evict => &self.evict_bytes_to_device,
            _ => &self.other_bytes_to_device,
        };
        reason.add(bytes as u64);
    }

    /// Bytes were copied home. Signal-safe.
    pub(crate) fn copied_home(&self, why: Why, bytes: usize) {
        self.bytes_to_host.add(bytes as u64);
        let reason = match why {
            Why::Fault => &self.fault_bytes_to_host,
            Why::Prefetch => &self.prefetch_bytes_to_host,
            Why::Ahead | Why::Predicted | Why::Behind => &self.ahead_bytes_to_host,
            Why::Migrate | Why::HostReady | Why::Pin | Why::Call => &self.asked_bytes_to_host,
            Why::Evict => &self.evict_bytes_to_host,
            _ => &self.other_bytes_to_host,
        };
        reason.add(bytes as u64);
    }
}

/// The process's counters.
pub(crate) static STATS: Counters = Counters::new();

/// The file that gets the table, if one was asked for.
static FILE: OnceLock<PathBuf> = OnceLock::new();

/// Has the table written when the process ends, if the settings ask for it; the first that do decide where.
pub(crate) fn start(config: &Config) {
    static ONCE: Once = Once::new();
    let to_file = !config.stats_file.is_empty() && !library::is_privileged();
    if !config.stats && !to_file {
        return;
    }
    ONCE.call_once(|| {
        if to_file {
            // The program may go to another folder before it ends.
            let name = config.stats_file.replace("%p", &std::process::id().to_string());
            match std::path::absolute(&name).and_then(|path| check(&path).map(|()| path)) {
                Ok(path) => drop(FILE.set(path)),
                Err(e) => return log!(Error, "HMMRT_STATS={name}: not written: {e}"),
            }
        }
        sys::at_exit(write);
    });
}

/// The table, to standard error or behind what the file has: programs that close the one still give it, and several
/// processes can share the other.
extern "C" fn write() {
    if thread::forked() {
        return;
    }
    let table = STATS.snapshot().table();
    let Some(path) = FILE.get() else { return sys::stderr::write_all(table.as_bytes()) };
    if let Err(e) = open(path).and_then(|mut file| file.write_all(table.as_bytes())) {
        log!(Error, "HMMRT_STATS={}: not written: {e}", path.display());
    }
}

fn refused() -> io::Error {
    io::Error::other("it is a link, or no regular file")
}

/// Refuses what is there and is no regular file. It is not opened: that would wait for a pipe's reader, and do something to some
/// devices.
fn check(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => Err(refused()),
        _ => Ok(()),
    }
}

/// The file, made for its user alone if it is not there. Whatever came in between, no link is followed.
fn open(path: &Path) -> io::Result<File> {
    check(path)?;
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).custom_flags(tracefile::NO_FOLLOW);
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(refused()) }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// What is not nought, in words.
fn listed(parts: &[(&str, u64)]) -> String {
    let parts: Vec<String> =
        parts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {}", mib(*n))).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

impl Stats {
    fn reasons_to_device(&self) -> String {
        listed(&[
            ("launches", self.launch_bytes_to_device),
            ("prefetches", self.prefetch_bytes_to_device),
            ("ahead", self.ahead_bytes_to_device),
            ("asked for", self.asked_bytes_to_device),
            ("a full device", self.evict_bytes_to_device),
            ("other", self.other_bytes_to_device),
        ])
    }

    fn reasons_to_host(&self) -> String {
        listed(&[
            ("touches", self.fault_bytes_to_host),
            ("prefetches", self.prefetch_bytes_to_host),
            ("ahead", self.ahead_bytes_to_host),
            ("asked for", self.asked_bytes_to_host),
            ("a full device", self.evict_bytes_to_host),
            ("other", self.other_bytes_to_host),
        ])
    }

    /// The table printed at exit under `HMMRT_STATS=1`.
    pub fn table(&self) -> String {
        let rows = [
            ("faults", format!("{} ({} read, {} write)", self.faults, self.read_faults, self.write_faults)),
            ("to the device", format!("{} in {} moves", mib(self.bytes_to_device), self.moves_to_device)),
            ("  of these", self.reasons_to_device()),
            ("to the host", format!("{} in {} moves", mib(self.bytes_to_host), self.moves_to_host)),
            ("  of these", self.reasons_to_host()),
            ("not copied", mib(self.bytes_not_copied)),
            ("evicted chunks", format!("{}", self.evictions)),
            ("prefetches", format!("{}", self.prefetches)),
            (
                "prefetched",
                format!(
                    "{} used, {} wasted",
                    mib(self.prefetched_bytes_used),
                    mib(self.prefetched_bytes_wasted)
                ),
            ),
            ("waits for kernels", format!("{}", self.waits)),
            ("managed now", mib(self.managed_bytes)),
            ("device memory now", mib(self.device_bytes)),
            ("spare blocks now", mib(self.spare_bytes)),
            ("table now", format!("{:.1} KiB", self.table_bytes as f64 / 1024.0)),
            ("mappings now", format!("at most {}", self.vmas)),
            ("errors", format!("{}", self.errors)),
        ];
        let mut text = String::from("hmmrt statistics\n");
        for (name, value) in rows {
            text += &format!("  {name:<18} {value}\n");
        }
        text
    }
}
