//! Settings: from the environment (`HMMRT_*`), from `hmm_config`, or given in Rust. An unknown value is an error that
//! names it; nothing starts with a guess. Read once, at start, never on the fault path.

use crate::error::{ConfigError, Error, Result};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            /// The value's name in the environment.
            pub const fn name(self) -> &'static str { match self { $($name::$variant => $text),+ } }
            const EXPECTED: &'static str = concat!("one of:", $(" ", $text),+);
            /// Reads a value for the setting `name`.
            pub fn parse(name: &'static str, value: &str) -> Result<Self> {
                match value {
                    $($text => Ok($name::$variant),)+
                    _ => Err(Error::Config(ConfigError::new(name, value, Self::EXPECTED))),
                }
            }
        }
    };
}

choice! {
    /// Which kind of device to use.
    Backend {
        /// The first that works: a real GPU if there is one, else the host backend.
        Auto = "auto",
        /// The embedded stand-in: device memory in host RAM.
        Host = "host",
        /// NVIDIA, through the driver.
        Cuda = "cuda",
        /// AMD, through the HIP runtime.
        Hip = "hip",
    }
}
choice! {
    /// How the CPU's touches of device pages are caught.
    FaultEngine {
        /// What works best here.
        Auto = "auto",
        /// Page protection and SIGSEGV.
        Segv = "segv",
        /// userfaultfd, in the faulting thread.
        Uffd = "uffd",
        /// userfaultfd, with a handler thread.
        UffdThread = "uffd-thread",
    }
}
choice! {
    /// What a forked child gets of pages that are on a device only.
    ForkMode {
        /// A copy: they are brought home before the fork (the device keeps its copy).
        Snapshot = "snapshot",
        /// Nothing, SIGBUS with a message: for programs whose children only call exec.
        Exec = "exec",
    }
}
choice! {
    /// What moves when: the policies of [`crate::policy`] that the runtime can follow.
    PolicyChoice {
        /// What is touched in many places comes by the chunk, what is not by the page; strides are followed.
        Auto = "auto",
        /// The touched page only.
        Demand = "demand",
        /// All of the chunk that is like the touched page.
        Chunk = "chunk",
        /// By the rules of NVIDIA's unified memory.
        Uvm = "uvm",
    }
}
choice! {
    /// Where a chunk goes that leaves a device that is full.
    SpillTo {
        /// Home.
        Home = "home",
        /// To another device, if one has room.
        Peer = "peer",
    }
}
choice! {
    /// How much is written to standard error.
    LogLevel {
        /// Nothing but fatal errors.
        Off = "off",
        /// What went wrong.
        Error = "error",
        /// What is odd (the default).
        Warn = "warn",
        /// What was chosen and why.
        Info = "info",
        /// Every move.
        Debug = "debug",
    }
}

/// All settings. `Config::default()` is what an empty environment gives.
#[derive(Clone, Debug)]
pub struct Config {
    /// `HMMRT_BACKEND`: auto, host, cuda or hip.
    pub backend: Backend,
    /// `HMMRT_FAULT`: auto, segv, uffd or uffd-thread.
    pub fault: FaultEngine,
    /// `HMMRT_UFFD_MOVE`: 1 lets the userfaultfd engines move pages into place where the kernel can (Linux 6.8), 0 has
    /// them copied.
    pub uffd_move: bool,
    /// `HMMRT_SPARE`: bytes of warm spare blocks kept on the host (default 64M).
    pub spare_bytes: usize,
    /// `HMMRT_HOST_DEVICES`: how many devices the host backend has, 1 to 8 (default 1).
    pub host_devices: usize,
    /// `HMMRT_HOST_MEMORY`: memory of each host-backend device in bytes (default: half of the machine's).
    pub host_memory: usize,
    /// `HMMRT_HOST_BANDWIDTH`: simulated bytes per second of a host-backend copy, 0 for as fast as it goes.
    pub host_bandwidth: u64,
    /// `HMMRT_HOST_LATENCY`: simulated nanoseconds added to each host-backend copy and launch.
    pub host_latency_ns: u64,
    /// `HMMRT_HOST_DIRECT`: 1 lets the fault handler copy from a host device itself; 0 makes it ask the service
    /// thread, as with a GPU driver.
    pub host_direct: bool,
    /// `HMMRT_HOST_FAIL`: failure injection, `CALL:N[+]` separated by commas: the N-th call of that kind fails (with
    /// `+`: from the N-th on). Empty: none.
    pub host_fail: String,
    /// `HMMRT_CUDA_LIBRARY`: the CUDA driver to load instead of the system's `libcuda.so.1`. Empty: the system's. Not
    /// looked at in a setuid program.
    pub cuda_library: String,
    /// `HMMRT_HIP_LIBRARY`: the HIP runtime to load instead of the system's `libamdhip64.so`; as above.
    pub hip_library: String,
    /// `HMMRT_SAME_ADDRESS`: 1 gives GPU memory the addresses of host memory where the driver can; 0 never.
    pub same_address: bool,
    /// `HMMRT_DEVICE_GROUP`: the most bytes of GPU memory that are made and mapped in one piece, 2M to 128M (default
    /// 32M): larger is fewer driver calls, smaller gives memory back sooner.
    pub device_group: usize,
    /// `HMMRT_DRIVER_TIMEOUT`: seconds that a CPU touch waits for the GPU driver before it is SIGBUS with a message (the
    /// program may have faulted inside a driver call that holds a lock); 0: for ever (default 30).
    pub driver_timeout: u64,
    /// `HMMRT_VMA_BUDGET`: mappings the runtime may use before it takes ways that add none (default: half of
    /// `vm.max_map_count`).
    pub vma_budget: usize,
    /// `HMMRT_FORK`: snapshot or exec.
    pub fork: ForkMode,
    /// `HMMRT_POLICY`: auto, demand, chunk or uvm: what comes home at a CPU touch, and what leaves a device that is full
    /// (default chunk).
    pub policy: PolicyChoice,
    /// `HMMRT_SPILL`: home or peer: where what only a full device has goes when it leaves: home, or to another device as long
    /// as one has room (default home).
    pub spill: SpillTo,
    /// `HMMRT_STATS`: 1 prints a table of what moved when the program ends.
    pub stats: bool,
    /// `HMMRT_STATS` with a path in it: the file that the table is added to instead; `%p` in it is the process's number.
    /// Empty: none. Not looked at in a setuid program.
    pub stats_file: String,
    /// `HMMRT_LOG`: off, error, warn, info or debug.
    pub log: LogLevel,
    /// `HMMRT_TRACE`: the file that gets a trace of what happens to managed memory (`hmmrt report` shows it); `%p` in it is
    /// the process's number. An empty file or an old trace is replaced, nothing else. Empty: none. Not looked at in a setuid
    /// program.
    pub trace: String,
    /// `HMMRT_TRACE_SIZE`: the most bytes that the trace may have (default 256M); what comes then is counted only.
    pub trace_size: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            backend: Backend::Auto,
            fault: FaultEngine::Auto,
            uffd_move: true,
            spare_bytes: 64 << 20,
            host_devices: 1,
            host_memory: 0,
            host_bandwidth: 0,
            host_latency_ns: 0,
            host_direct: true,
            host_fail: String::new(),
            cuda_library: String::new(),
            hip_library: String::new(),
            same_address: true,
            device_group: 32 << 20,
            driver_timeout: 30,
            vma_budget: 0,
            fork: ForkMode::Snapshot,
            policy: PolicyChoice::Chunk,
            spill: SpillTo::Home,
            stats: false,
            stats_file: String::new(),
            log: LogLevel::Warn,
            trace: String::new(),
            trace_size: 256 << 20,
        }
    }
}

impl Config {
    /// The settings that the environment asks for; in a setuid program, which its user must not steer, the defaults.
    pub fn from_env() -> Result<Config> {
        if crate::sys::library::is_privileged() {
            return Ok(Config::default());
        }
        Config::from_lookup(|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    /// The settings that `get` has under their variables' names; an empty value is none.
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Config> {
        let mut c = Config::default();
        let set = |name: &'static str, apply: &mut dyn FnMut(&str) -> Result<()>| match get(name) {
            Some(v) if !v.is_empty() => apply(&v),
            _ => Ok(()),
        };
        set("HMMRT_BACKEND", &mut |v| Backend::parse("HMMRT_BACKEND", v).map(|x| c.backend = x))?;
        set("HMMRT_FAULT", &mut |v| FaultEngine::parse("HMMRT_FAULT", v).map(|x| c.fault = x))?;
        set("HMMRT_UFFD_MOVE", &mut |v| flag("HMMRT_UFFD_MOVE", v).map(|x| c.uffd_move = x))?;
        set("HMMRT_SPARE", &mut |v| size("HMMRT_SPARE", v).map(|x| c.spare_bytes = x as usize))?;
        set("HMMRT_HOST_DEVICES", &mut |v| count("HMMRT_HOST_DEVICES", v).map(|x| c.host_devices = x))?;
        set("HMMRT_HOST_MEMORY", &mut |v| size("HMMRT_HOST_MEMORY", v).map(|x| c.host_memory = x as usize))?;
        set("HMMRT_HOST_BANDWIDTH", &mut |v| size("HMMRT_HOST_BANDWIDTH", v).map(|x| c.host_bandwidth = x))?;
        set("HMMRT_HOST_LATENCY", &mut |v| number("HMMRT_HOST_LATENCY", v).map(|x| c.host_latency_ns = x))?;
        set("HMMRT_HOST_DIRECT", &mut |v| flag("HMMRT_HOST_DIRECT", v).map(|x| c.host_direct = x))?;
        set("HMMRT_HOST_FAIL", &mut |v| {
            crate::device::host::inject::check("HMMRT_HOST_FAIL", v)?;
            c.host_fail = v.into();
            Ok(())
        })?;
        set("HMMRT_CUDA_LIBRARY", &mut |v| {
            c.cuda_library = v.into();
            Ok(())
        })?;
        set("HMMRT_HIP_LIBRARY", &mut |v| {
            c.hip_library = v.into();
            Ok(())
        })?;
        set("HMMRT_SAME_ADDRESS", &mut |v| flag("HMMRT_SAME_ADDRESS", v).map(|x| c.same_address = x))?;
        set("HMMRT_DEVICE_GROUP", &mut |v| group(v).map(|x| c.device_group = x))?;
        set("HMMRT_DRIVER_TIMEOUT", &mut |v| {
            number("HMMRT_DRIVER_TIMEOUT", v).map(|x| c.driver_timeout = x)
        })?;
        set("HMMRT_VMA_BUDGET", &mut |v| number("HMMRT_VMA_BUDGET", v).map(|x| c.vma_budget = x as usize))?;
        set("HMMRT_FORK", &mut |v| ForkMode::parse("HMMRT_FORK", v).map(|x| c.fork = x))?;
        set("HMMRT_POLICY", &mut |v| PolicyChoice::parse("HMMRT_POLICY", v).map(|x| c.policy = x))?;
        set("HMMRT_SPILL", &mut |v| SpillTo::parse("HMMRT_SPILL", v).map(|x| c.spill = x))?;
        set("HMMRT_STATS", &mut |v| match v {
            path if path.contains('/') => {
                c.stats_file = path.into();
                Ok(())
            }
            "0" | "1" => {
                c.stats = v == "1";
                Ok(())
            }
            _ => Err(bad("HMMRT_STATS", v, "0, 1, or a file's path with a / in it")),
        })?;
        set("HMMRT_LOG", &mut |v| LogLevel::parse("HMMRT_LOG", v).map(|x| c.log = x))?;
        set("HMMRT_TRACE", &mut |v| {
            c.trace = v.into();
            Ok(())
        })?;
        set("HMMRT_TRACE_SIZE", &mut |v| trace_size(v).map(|x| c.trace_size = x))?;
        Ok(c)
    }
}

fn bad(name: &'static str, value: &str, expected: &'static str) -> Error {
    Error::Config(ConfigError::new(name, value, expected))
}

fn number(name: &'static str, value: &str) -> Result<u64> {
    digits(value).ok_or_else(|| bad(name, value, "a whole number"))
}

/// Digits only: `parse` alone would take a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn count(name: &'static str, value: &str) -> Result<usize> {
    match number(name, value) {
        Ok(n @ 1..=8) => Ok(n as usize),
        _ => Err(bad(name, value, "a whole number from 1 to 8")),
    }
}

fn flag(name: &'static str, value: &str) -> Result<bool> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(bad(name, value, "0 or 1")),
    }
}

fn group(value: &str) -> Result<usize> {
    match size("HMMRT_DEVICE_GROUP", value) {
        Ok(n @ 0x20_0000..=0x800_0000) => Ok(n as usize),
        _ => Err(bad("HMMRT_DEVICE_GROUP", value, "bytes from 2M to 128M")),
    }
}

fn trace_size(value: &str) -> Result<u64> {
    match size("HMMRT_TRACE_SIZE", value) {
        Ok(n @ 0x1_0000..=0x100_0000_0000) => Ok(n),
        _ => Err(bad("HMMRT_TRACE_SIZE", value, "bytes from 64K to 1T")),
    }
}

/// A number of bytes, with K, M, G or T for powers of 1,024.
fn size(name: &'static str, value: &str) -> Result<u64> {
    const EXPECTED: &str = "bytes, such as 67108864 or 64M";
    let err = || bad(name, value, EXPECTED);
    let (number, shift) = match value.as_bytes().last() {
        Some(b'K' | b'k') => (&value[..value.len() - 1], 10),
        Some(b'M' | b'm') => (&value[..value.len() - 1], 20),
        Some(b'G' | b'g') => (&value[..value.len() - 1], 30),
        Some(b'T' | b't') => (&value[..value.len() - 1], 40),
        _ => (value, 0),
    };
    let n = digits(number).ok_or_else(err)?;
    n.checked_mul(1 << shift).filter(|n| *n <= isize::MAX as u64).ok_or_else(err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config> {
        Config::from_lookup(|n| pairs.iter().find(|(k, _)| *k == n).map(|(_, v)| v.to_string()))
    }

    #[test]
    fn values_are_read() {
        let c = with(&[
            ("HMMRT_BACKEND", "host"),
            ("HMMRT_SPARE", "1G"),
            ("HMMRT_STATS", "1"),
            ("HMMRT_LOG", "debug"),
        ])
        .unwrap();
        assert_eq!(
            (c.backend, c.spare_bytes, c.stats, c.log),
            (Backend::Host, 1 << 30, true, LogLevel::Debug)
        );
        let c = with(&[("HMMRT_STATS", "./of-%p")]).unwrap();
        assert_eq!((c.stats, &*c.stats_file), (false, "./of-%p"));
        assert_eq!(with(&[("HMMRT_SPARE", "")]).unwrap().spare_bytes, 64 << 20);
    }

    #[test]
    fn unknown_values_are_named() {
        for (name, value) in [
            ("HMMRT_BACKEND", "gpu"),
            ("HMMRT_FAULT", "magic"),
            ("HMMRT_FORK", "never"),
            ("HMMRT_POLICY", "mirror"),
            ("HMMRT_SPILL", "disk"),
            ("HMMRT_SPARE", "64Q"),
            ("HMMRT_SPARE", "99999999T"),
            ("HMMRT_SPARE", "+1K"),
            ("HMMRT_HOST_LATENCY", "+1"),
            ("HMMRT_HOST_DEVICES", "9"),
            ("HMMRT_STATS", "yes"),
            ("HMMRT_DEVICE_GROUP", "1M"),
            ("HMMRT_DEVICE_GROUP", "big"),
            ("HMMRT_SAME_ADDRESS", "2"),
            ("HMMRT_DRIVER_TIMEOUT", "-1"),
            ("HMMRT_LOG", "loud"),
            ("HMMRT_TRACE_SIZE", "1K"),
            ("HMMRT_TRACE_SIZE", "much"),
            ("HMMRT_HOST_FAIL", "nonsense"),
        ] {
            let text = with(&[(name, value)]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(value), "{text}");
        }
    }
}
