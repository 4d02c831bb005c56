//! The backends, each with its devices or the reason why it has none. Loads the drivers.

use hmmrt::{Backend, BackendReport, Config, raw};
use serde::Serialize;

/// All backends, and the one that is used.
#[derive(Serialize)]
pub struct Backends {
    /// HMMRT_BACKEND.
    pub setting: &'static str,
    /// The backend that a program gets.
    pub chosen: Option<&'static str>,
    /// In the order in which `auto` tries them.
    pub list: Vec<OneBackend>,
}

/// One backend.
#[derive(Serialize)]
pub struct OneBackend {
    /// Its name.
    pub name: &'static str,
    /// Why it can't be used.
    pub error: Option<String>,
    /// What it has.
    pub devices: Vec<Device>,
}

/// One device.
#[derive(Serialize)]
pub struct Device {
    /// The device's own name.
    pub name: String,
    /// Bytes.
    pub memory_total: u64,
    /// Bytes that nobody uses.
    pub memory_free: u64,
    /// Managed pointers are valid in kernels as they are. Known only of the backend that is used.
    pub same_address: Option<bool>,
}

impl Backends {
    /// Tries them all.
    pub fn new(config: &Config) -> Backends {
        let mut backends = Backends::from(config.backend, hmmrt::probe(config));
        backends.ask_for_addresses(config);
        backends
    }

    /// Starts the runtime as a program would: only then is it known whether the driver gives device memory the addresses
    /// that memory has on the host.
    fn ask_for_addresses(&mut self, config: &Config) {
        let quick = Config { spare_bytes: 0, stats: false, ..config.clone() };
        let used = self.list.iter_mut().find(|one| Some(one.name) == self.chosen);
        let Some(used) = used.filter(|_| raw::init(Some(quick)).is_ok()) else { return };
        for (number, device) in (0..).zip(&mut used.devices) {
            device.same_address = raw::device_info(number).ok().map(|info| info.same_address);
        }
        // Nothing is managed: there is nothing to lose.
        let _ = raw::shutdown();
    }

    fn from(setting: Backend, reports: Vec<BackendReport>) -> Backends {
        let list: Vec<OneBackend> = reports.into_iter().map(OneBackend::from).collect();
        let wanted = |one: &&OneBackend| setting == Backend::Auto || one.name == setting.name();
        let chosen = list.iter().filter(wanted).find(|one| !one.devices.is_empty()).map(|one| one.name);
        Backends { setting: setting.name(), chosen, list }
    }
}

impl From<BackendReport> for OneBackend {
    fn from(report: BackendReport) -> OneBackend {
        let (devices, error) = match report.devices {
            Ok(devices) => (devices, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let devices = devices.into_iter().map(|device| Device {
            name: device.name,
            memory_total: device.memory_total,
            memory_free: device.memory_free,
            same_address: None,
        });
        OneBackend { name: report.backend, error, devices: devices.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::Backends;
    use hmmrt::{Backend, BackendReport, DeviceInfo, Error};

    fn chosen(setting: Backend, working: &[&str]) -> Option<&'static str> {
        let report = |backend| BackendReport {
            backend,
            devices: match working.contains(&backend) {
                false => Err(Error::NoDevice { device: 0, count: 0 }),
                true => Ok(vec![DeviceInfo {
                    name: "d".into(),
                    backend,
                    memory_total: 2,
                    memory_free: 1,
                    same_address: true,
                }]),
            },
        };
        Backends::from(setting, ["cuda", "hip", "host"].map(report).into()).chosen
    }

    #[test]
    fn the_one_that_is_used() {
        assert_eq!(chosen(Backend::Auto, &["cuda", "hip", "host"]), Some("cuda"));
        assert_eq!(chosen(Backend::Auto, &["hip", "host"]), Some("hip"));
        assert_eq!(chosen(Backend::Host, &["cuda", "host"]), Some("host"));
        assert_eq!(chosen(Backend::Cuda, &["hip", "host"]), None);
    }
}
