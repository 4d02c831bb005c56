//! What the machine's userfaultfd can do and who may have one. Asked of the kernel by opening one.

use super::limits;
use crate::os;
use serde::Serialize;
use std::fs::File;
use std::io;

/// The bits of UFFD_FEATURE_, from bit 0.
const FEATURES: [&str; 17] = [
    "pagefault_flag_wp",
    "event_fork",
    "event_remap",
    "event_remove",
    "missing_hugetlbfs",
    "missing_shmem",
    "event_unmap",
    "sigbus",
    "thread_id",
    "minor_hugetlbfs",
    "minor_shmem",
    "exact_address",
    "wp_hugetlbfs_shmem",
    "wp_unpopulated",
    "poison",
    "wp_async",
    "move",
];

/// What there is.
#[derive(Serialize)]
pub struct Userfaultfd {
    /// /dev/userfaultfd: `openable`, or why it is not.
    pub device: String,
    /// vm.unprivileged_userfaultfd.
    pub unprivileged: Option<u64>,
    /// `full`, `user-mode-only` (the kernel's own touches are not answered), or `none`.
    pub access: &'static str,
    /// Why there is none.
    pub error: Option<String>,
    /// By the kernel's names.
    pub features: Vec<&'static str>,
}

impl Userfaultfd {
    /// Asks.
    pub fn new() -> Userfaultfd {
        let device = File::options().read(true).write(true).open("/dev/userfaultfd");
        let by_device = device.as_ref().ok().and_then(|device| os::userfaultfd_of(device).ok());
        let full = by_device.map_or_else(|| os::userfaultfd(false), Ok);
        let (access, uffd) = match full {
            Ok(uffd) => ("full", Ok(uffd)),
            Err(_) => ("user-mode-only", os::userfaultfd(true)),
        };
        let bits = uffd.and_then(|uffd| os::userfaultfd_features(&uffd));
        Userfaultfd {
            device: device.map_or_else(|error| reason(&error), |_| "openable".into()),
            unprivileged: limits::line("/proc/sys/vm/unprivileged_userfaultfd").and_then(|v| v.parse().ok()),
            access: if bits.is_ok() { access } else { "none" },
            error: bits.as_ref().err().map(reason),
            features: names(bits.unwrap_or(0)),
        }
    }

    /// Whether the kernel has all of these.
    pub fn lacks<'a>(&self, needed: &[&'a str]) -> Vec<&'a str> {
        needed.iter().filter(|name| !self.features.contains(name)).copied().collect()
    }
}

fn names(bits: u64) -> Vec<&'static str> {
    let set = FEATURES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 != 0);
    set.map(|(_, name)| *name).collect()
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(os::ENOENT) => "not there".into(),
        Some(os::ENOSYS) => "not in this kernel".into(),
        Some(os::EACCES | os::EPERM) => "not permitted".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn bits_have_names() {
        assert_eq!(names(0), [""; 0]);
        assert_eq!(names(1 << 7 | 1 << 16 | 1 << 63), ["sigbus", "move"]);
    }
}
