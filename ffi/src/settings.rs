//! What an `hmm_config` says, over the environment's settings: each field is checked, and nought leaves it to the variable or
//! the default. Only `hmm_init` calls this.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use hmmrt_core::{Backend, Config, FaultEngine, ForkMode, LogLevel, PolicyChoice, SpillTo};

use crate::config::{hmm_config, hmm_switch};
use crate::guard::Failure;
use crate::types::int;

/// What `device_group` can be.
const GROUPS: core::ops::RangeInclusive<usize> = 2 << 20..=128 << 20;

/// What `trace_size` can be.
const TRACES: core::ops::RangeInclusive<u64> = 64 << 10..=1 << 40;

/// `HMM_NOUGHT` of the header.
const NOUGHT: u64 = u64::MAX;

impl hmm_config {
    /// The environment's settings with this struct's on top.
    ///
    /// # Safety
    /// `host_fail`, `cuda_library`, `hip_library`, `trace` and `stats_file` are NULL or C strings.
    pub(crate) unsafe fn over(&self, mut base: Config) -> Result<Config, Failure> {
        base.backend = match int(self.backend) {
            0 => base.backend,
            1 => Backend::Auto,
            2 => Backend::Host,
            3 => Backend::Cuda,
            4 => Backend::Hip,
            value => return Err(unknown("config->backend", value, "hmm_backend")),
        };
        base.fault = match int(self.fault) {
            0 => base.fault,
            1 => FaultEngine::Auto,
            2 => FaultEngine::Segv,
            3 => FaultEngine::Uffd,
            4 => FaultEngine::UffdThread,
            value => return Err(unknown("config->fault", value, "hmm_fault_engine")),
        };
        base.log = match int(self.log) {
            0 => base.log,
            1 => LogLevel::Off,
            2 => LogLevel::Error,
            3 => LogLevel::Warn,
            4 => LogLevel::Info,
            5 => LogLevel::Debug,
            value => return Err(unknown("config->log", value, "hmm_log_level")),
        };
        base.host_direct = switch("config->host_direct", self.host_direct, base.host_direct)?;
        base.stats = switch("config->stats", self.stats, base.stats)?;
        base.spare_bytes = size("config->spare_bytes", self.spare_bytes, base.spare_bytes)?;
        base.host_devices = size("config->host_devices", self.host_devices, base.host_devices)?;
        if !(1..=8).contains(&base.host_devices) {
            return Err(Failure::ConfigRange {
                field: "config->host_devices",
                value: self.host_devices,
                most: 8,
            });
        }
        base.host_memory = size("config->host_memory", self.host_memory, base.host_memory)?;
        base.vma_budget = size("config->vma_budget", self.vma_budget, base.vma_budget)?;
        base.host_bandwidth = number(self.host_bandwidth, base.host_bandwidth);
        base.host_latency_ns = number(self.host_latency_ns, base.host_latency_ns);
        base.fork = match int(self.fork) {
            0 => base.fork,
            1 => ForkMode::Snapshot,
            2 => ForkMode::Exec,
            value => return Err(unknown("config->fork", value, "hmm_fork_mode")),
        };
        base.same_address = switch("config->same_address", self.same_address, base.same_address)?;
        base.device_group = size("config->device_group", self.device_group, base.device_group)?;
        if !GROUPS.contains(&base.device_group) {
            return Err(Failure::Invalid {
                argument: "config->device_group",
                why: "is not from 2 to 128 MiB",
            });
        }
        base.driver_timeout = number(self.driver_timeout, base.driver_timeout);
        base.policy = match int(self.policy) {
            0 => base.policy,
            1 => PolicyChoice::Chunk,
            2 => PolicyChoice::Auto,
            3 => PolicyChoice::Demand,
            4 => PolicyChoice::Uvm,
            value => return Err(unknown("config->policy", value, "hmm_policy")),
        };
        base.spill = match int(self.spill) {
            0 => base.spill,
            1 => SpillTo::Home,
            2 => SpillTo::Peer,
            value => return Err(unknown("config->spill", value, "hmm_spill")),
        };
        base.uffd_move = switch("config->uffd_move", self.uffd_move, base.uffd_move)?;
        if self.reserved != 0 {
            return Err(Failure::Invalid { argument: "config->reserved", why: "is not 0" });
        }
        base.trace_size = number(self.trace_size, base.trace_size);
        if !TRACES.contains(&base.trace_size) {
            return Err(Failure::Invalid {
                argument: "config->trace_size",
                why: "is not from 64 KiB to 1 TiB",
            });
        }
        for (text, setting) in [
            (self.host_fail, &mut base.host_fail),
            (self.cuda_library, &mut base.cuda_library),
            (self.hip_library, &mut base.hip_library),
            (self.trace, &mut base.trace),
            (self.stats_file, &mut base.stats_file),
        ] {
            if !text.is_null() {
                // SAFETY: not NULL, and the caller promises a C string.
                *setting = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
            }
        }
        Ok(base)
    }
}

fn unknown(field: &'static str, value: i32, name: &'static str) -> Failure {
    Failure::ConfigEnum { field, value, name }
}

fn switch(field: &'static str, value: MaybeUninit<hmm_switch>, base: bool) -> Result<bool, Failure> {
    match int(value) {
        0 => Ok(base),
        1 => Ok(true),
        2 => Ok(false),
        value => Err(unknown(field, value, "hmm_switch")),
    }
}

fn number(value: u64, base: u64) -> u64 {
    match value {
        0 => base,
        NOUGHT => 0,
        value => value,
    }
}

fn size(field: &'static str, value: u64, base: usize) -> Result<usize, Failure> {
    let value = number(value, base as u64);
    usize::try_from(value).map_err(|_| Failure::Invalid { argument: field, why: "is too large" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{hmm_backend, hmm_fault_engine, hmm_fork_mode, hmm_log_level, hmm_policy, hmm_spill};

    fn zero() -> hmm_config {
        // SAFETY: numbers, MaybeUninit enums and a pointer: zeros are valid.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    fn base() -> Config {
        let mut base = Config::from_env().unwrap();
        (base.backend, base.fault, base.log) = (Backend::Hip, FaultEngine::Uffd, LogLevel::Warn);
        base.host_fail = "copy:1".to_owned();
        (base.spare_bytes, base.host_devices, base.host_memory, base.vma_budget) = (11, 3, 13, 14);
        (base.host_bandwidth, base.host_latency_ns) = (15, 16);
        (base.host_direct, base.stats, base.same_address) = (true, false, true);
        (base.device_group, base.driver_timeout) = (4 << 20, 18);
        (base.cuda_library, base.hip_library) = ("c".to_owned(), "h".to_owned());
        (base.trace, base.trace_size) = ("t".to_owned(), 19 << 20);
        (base.policy, base.spill, base.uffd_move) = (PolicyChoice::Uvm, SpillTo::Peer, true);
        base.stats_file = "s".to_owned();
        base
    }

    fn over(config: hmm_config) -> Config {
        // SAFETY: the tests' strings are C strings.
        unsafe { config.over(base()) }.unwrap()
    }

    /// All fields, as text: `Config` need not be comparable.
    fn text(c: &Config) -> String {
        let enums = format!("{:?} {:?} {:?} {} {}", c.backend, c.fault, c.log, c.host_direct, c.stats);
        let host = format!("{} {} {} {}", c.host_devices, c.host_memory, c.host_bandwidth, c.host_latency_ns);
        let gpu =
            format!("{} {} {} {}", c.same_address, c.device_group >> 20, c.driver_timeout, c.cuda_library);
        let gpu = format!("{gpu} {} {:?} {} {}", c.hip_library, c.fork, c.trace, c.trace_size >> 20);
        let moves = format!("{:?} {:?} {} {}", c.policy, c.spill, c.uffd_move, c.stats_file);
        format!("{enums} | {} {} | {host} | {} | {gpu} | {moves}", c.spare_bytes, c.vma_budget, c.host_fail)
    }

    #[test]
    fn zeros_change_nothing() {
        assert_eq!(text(&over(zero())), text(&base()));
    }

    #[test]
    fn each_field_reaches_its_own() {
        let mut config = zero();
        config.backend = MaybeUninit::new(hmm_backend::HMM_BACKEND_HOST);
        config.fault = MaybeUninit::new(hmm_fault_engine::HMM_FAULT_SEGV);
        config.log = MaybeUninit::new(hmm_log_level::HMM_LOG_DEBUG);
        config.host_direct = MaybeUninit::new(hmm_switch::HMM_SWITCH_OFF);
        config.stats = MaybeUninit::new(hmm_switch::HMM_SWITCH_ON);
        (config.spare_bytes, config.host_devices, config.host_memory, config.vma_budget) = (21, 7, 23, 24);
        (config.host_bandwidth, config.host_latency_ns) = (25, 26);
        config.host_fail = c"launch:7+".as_ptr();
        (config.cuda_library, config.hip_library) = (c"/a".as_ptr(), c"".as_ptr());
        (config.device_group, config.driver_timeout) = (64 << 20, 28);
        config.same_address = MaybeUninit::new(hmm_switch::HMM_SWITCH_OFF);
        config.fork = MaybeUninit::new(hmm_fork_mode::HMM_FORK_EXEC);
        (config.trace, config.trace_size) = (c"/t".as_ptr(), 29 << 20);
        config.policy = MaybeUninit::new(hmm_policy::HMM_POLICY_DEMAND);
        config.spill = MaybeUninit::new(hmm_spill::HMM_SPILL_HOME);
        config.uffd_move = MaybeUninit::new(hmm_switch::HMM_SWITCH_OFF);
        config.stats_file = c"/s".as_ptr();
        let config = over(config);
        let expected = "Host Segv Debug false true | 21 24 | 7 23 25 26 | launch:7+ | false 64 28 /a  Exec /t 29 \
            | Demand Home false /s";
        assert_eq!(text(&config), expected);
    }

    #[test]
    fn unknown_policies_are_refused_by_their_field() {
        let refusal = |change: fn(&mut hmm_config)| {
            let mut config = zero();
            change(&mut config);
            // SAFETY: there is no string.
            unsafe { config.over(base()) }.unwrap_err().to_string()
        };
        let policy = refusal(|c| {
            // SAFETY: as C passes it: any int.
            unsafe { c.policy.as_mut_ptr().cast::<i32>().write(5) }
        });
        assert!(policy.contains("config->policy") && policy.contains('5'), "{policy}");
        let spill = refusal(|c| {
            // SAFETY: as above.
            unsafe { c.spill.as_mut_ptr().cast::<i32>().write(-1) }
        });
        assert!(spill.contains("config->spill"), "{spill}");
        assert!(refusal(|c| c.reserved = 1).starts_with("config->reserved: "));
    }

    #[test]
    fn nought_is_zero() {
        let mut config = zero();
        (config.spare_bytes, config.host_bandwidth) = (NOUGHT, NOUGHT);
        let config = over(config);
        assert_eq!((config.spare_bytes, config.host_bandwidth, config.host_latency_ns), (0, 0, 16));
    }

    #[test]
    fn odd_groups_are_refused() {
        for bytes in [1, 1 << 20, (128 << 20) + 1, NOUGHT] {
            let mut config = zero();
            config.device_group = bytes;
            // SAFETY: there is no string.
            let failure = unsafe { config.over(base()) }.unwrap_err().to_string();
            assert!(failure.starts_with("config->device_group: "), "{failure}");
        }
    }

    #[test]
    fn odd_trace_sizes_are_refused() {
        for bytes in [1, (64 << 10) - 1, (1 << 40) + 1, NOUGHT] {
            let mut config = zero();
            config.trace_size = bytes;
            // SAFETY: there is no string.
            let failure = unsafe { config.over(base()) }.unwrap_err().to_string();
            assert!(failure.starts_with("config->trace_size: "), "{failure}");
        }
    }

    #[test]
    fn too_many_devices_are_refused() {
        for count in [9, NOUGHT, 1 << 40] {
            let mut config = zero();
            config.host_devices = count;
            // SAFETY: there is no string.
            let failure = unsafe { config.over(base()) }.unwrap_err().to_string();
            assert!(failure.starts_with("config->host_devices: "), "{failure}");
        }
    }
}
