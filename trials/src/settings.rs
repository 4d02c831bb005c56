//! Settings of any value: refused with an error that names the variable, or read, and then within what is promised. The
//! preload library's and the command's readers of sizes are held against the runtime's.

use crate::{command_size, preload_size};
use hmmrt::{Config, Error};

/// So many values of a first byte choose a variable, so that a name that comes later changes no input.
const SLOTS: usize = 32;

/// New ones are added at the end: an input's first byte is a place in here.
const NAMES: [&str; 23] = [
    "HMMRT_BACKEND",
    "HMMRT_FAULT",
    "HMMRT_SPARE",
    "HMMRT_HOST_DEVICES",
    "HMMRT_HOST_MEMORY",
    "HMMRT_HOST_BANDWIDTH",
    "HMMRT_HOST_LATENCY",
    "HMMRT_HOST_DIRECT",
    "HMMRT_HOST_FAIL",
    "HMMRT_CUDA_LIBRARY",
    "HMMRT_HIP_LIBRARY",
    "HMMRT_SAME_ADDRESS",
    "HMMRT_DEVICE_GROUP",
    "HMMRT_DRIVER_TIMEOUT",
    "HMMRT_VMA_BUDGET",
    "HMMRT_FORK",
    "HMMRT_STATS",
    "HMMRT_LOG",
    "HMMRT_TRACE",
    "HMMRT_TRACE_SIZE",
    "HMMRT_POLICY",
    "HMMRT_SPILL",
    "HMMRT_UFFD_MOVE",
];

/// The first byte chooses the variable, or none, the rest is its value; or a list of both, one a line, when it is a letter.
pub fn settings(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    if first.is_ascii_alphabetic() {
        let text = String::from_utf8_lossy(bytes);
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        if let Ok(config) = Config::from_lookup(value) {
            within(&config);
        }
        return;
    }
    let value = String::from_utf8_lossy(rest).into_owned();
    if let Some(name) = NAMES.get(usize::from(*first) % SLOTS) {
        match Config::from_lookup(|asked| (asked == *name).then(|| value.clone())) {
            Ok(config) => within(&config),
            Err(error) => {
                assert!(matches!(error, Error::Config(_)));
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
    sizes(&value);
}

fn within(config: &Config) {
    assert!((1..=8).contains(&config.host_devices));
    assert!((2 << 20..=128 << 20).contains(&config.device_group));
    assert!((64 << 10..=1 << 40).contains(&config.trace_size));
    assert!(config.spare_bytes <= isize::MAX as usize && config.host_memory <= isize::MAX as usize);
}

/// Three readers of one notation.
fn sizes(value: &str) {
    if value.is_empty() {
        return;
    }
    let runtime = Config::from_lookup(|name| (name == "HMMRT_SPARE").then(|| value.to_owned()));
    let runtime = runtime.ok().map(|config| config.spare_bytes as u64);
    let command = command_size::parse(value).ok();
    let preload = preload_size::size(value.as_bytes()).map(|size| size as u64);
    assert_eq!(runtime, command, "the runtime and the command read {value:?}");
    // The preload library takes sizes that no memory has: nothing is that large, so nothing is managed.
    assert_eq!(
        runtime,
        preload.filter(|size| *size <= i64::MAX as u64),
        "the preload library reads {value:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Catches: a setting that is not tried.
    #[test]
    fn all_that_the_runtime_asks_for_are_tried() {
        let asked = RefCell::new(Vec::new());
        let look = |name: &str| {
            asked.borrow_mut().push(name.to_owned());
            None
        };
        Config::from_lookup(look).expect("the defaults");
        let mut asked = asked.into_inner();
        let mut tried = NAMES.map(str::to_owned);
        asked.sort_unstable();
        tried.sort_unstable();
        assert_eq!(asked, tried);
        const { assert!(NAMES.len() <= SLOTS) };
    }
}
