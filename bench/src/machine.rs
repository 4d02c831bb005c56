//! What the figures depend on: processor, kernel, memory, date, device, and the settings that are not the defaults.

use crate::floors;
use hmmrt::DeviceInfo;
use serde::Serialize;
use std::fs;

/// Where and with what a run was made.
#[derive(Serialize)]
pub struct Machine {
    /// YYYY-MM-DD, UTC.
    pub date: String,
    /// The processor's name.
    pub cpu: String,
    /// How many threads can run at once.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Host memory.
    pub memory_gib: f64,
    /// What the system says about transparent huge pages.
    pub huge_pages: String,
    /// Device 0 and its backend.
    pub device: String,
    /// This library's version.
    pub version: &'static str,
    /// Each `HMMRT_*` variable of the environment; empty means default settings.
    pub settings: Vec<String>,
}

impl Machine {
    /// Reads /proc and /sys; what can't be read is left empty.
    pub fn look(device: &DeviceInfo) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = memory.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
        let mut settings: Vec<String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with("HMMRT_"))
            .map(|(name, value)| format!("{name}={}", value.to_string_lossy()))
            .collect();
        settings.sort();
        Self {
            date: floors::date(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease"),
            memory_gib: kib / f64::from(1 << 20),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled"),
            device: format!("{} ({} backend)", device.name, device.backend),
            version: hmmrt::version(),
            settings,
        }
    }

    /// Two lines for people.
    pub fn line(&self) -> String {
        let Self { date, cpu, cores, kernel, memory_gib, huge_pages, device, version, settings } = self;
        let settings = if settings.is_empty() { "default settings".to_owned() } else { settings.join(" ") };
        format!(
            "{date} | {cpu}, {cores} cores, {memory_gib:.1} GiB | Linux {kernel}, THP {huge_pages}\n\
             hmmrt {version} | device 0: {device} | {settings}\n"
        )
    }
}
