//! Failure injection for the host backend: the n-th call of a kind fails, once or from then on. A test aid that is
//! always compiled; counters and settings are process-wide atomics, so the signal handler's copies count too.

use crate::error::{ConfigError, Error, Result};
use core::sync::atomic::{AtomicU64, Ordering::*};

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Call {
    Reserve,
    Commit,
    Clear,
    CopyIn,
    CopyOut,
    CopyPeer,
    Stream,
    Signal,
    Wait,
    Callback,
    Launch,
}

/// The names used in `HMMRT_HOST_FAIL`, in the order of the kinds; `any` counts calls of every kind.
pub const KINDS: [&str; 12] = [
    "reserve",
    "commit",
    "clear",
    "copy_in",
    "copy_out",
    "copy_peer",
    "stream",
    "signal",
    "wait",
    "callback",
    "launch",
    "any",
];
const ANY: usize = KINDS.len() - 1;
const FOREVER: u64 = 1 << 63;

static CALLS: [AtomicU64; KINDS.len()] = [const { AtomicU64::new(0) }; KINDS.len()];
/// 0: never; n: the n-th; n with the top bit: from the n-th on.
static FAIL: [AtomicU64; KINDS.len()] = [const { AtomicU64::new(0) }; KINDS.len()];

/// Counts a call and fails it if that was asked for. Signal-safe.
pub(crate) fn call(device: i32, kind: Call) -> Result<()> {
    let own = due(kind as usize);
    if due(ANY) || own {
        Err(Error::Device { device, call: KINDS[kind as usize], code: 999, name: "HOST_ERROR_INJECTED" })
    } else {
        Ok(())
    }
}

fn due(slot: usize) -> bool {
    let n = CALLS[slot].fetch_add(1, Relaxed) + 1;
    let at = FAIL[slot].load(Relaxed);
    at != 0 && (n == at || at & FOREVER != 0 && n >= at & !FOREVER)
}

/// How many calls of `kind` (a name of [`KINDS`]) were made since the last [`arm`].
pub fn calls(kind: &str) -> u64 {
    KINDS.iter().position(|k| *k == kind).map_or(0, |i| CALLS[i].load(Relaxed))
}

/// Sets what fails, `CALL:N[+],...`, and starts counting anew. An empty text: nothing fails.
pub fn arm(spec: &str) -> Result<()> {
    let parsed = parse("HMMRT_HOST_FAIL", spec)?;
    FAIL.iter().chain(&CALLS).for_each(|a| a.store(0, SeqCst));
    parsed.into_iter().for_each(|(slot, at)| FAIL[slot].store(at, SeqCst));
    Ok(())
}

/// Whether `spec` is understood.
pub(crate) fn check(name: &'static str, spec: &str) -> Result<()> {
    parse(name, spec).map(|_| ())
}

fn parse(name: &'static str, spec: &str) -> Result<Vec<(usize, u64)>> {
    let bad = || Error::Config(ConfigError::new(name, spec, "CALL:N or CALL:N+, as in copy_out:3"));
    spec.split(',')
        .filter(|s| !s.is_empty())
        .map(|item| {
            let (kind, n) = item.split_once(':').ok_or_else(bad)?;
            let slot = KINDS.iter().position(|k| *k == kind).ok_or_else(bad)?;
            let (n, forever) = n.strip_suffix('+').map_or((n, 0), |n| (n, FOREVER));
            let n: u64 = n.parse().ok().filter(|n| (1..FOREVER).contains(n)).ok_or_else(bad)?;
            Ok((slot, n | forever))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        assert_eq!(parse("X", "").unwrap(), vec![]);
        assert_eq!(parse("X", "copy_in:1,any:2+").unwrap(), vec![(3, 1), (11, 2 | FOREVER)]);
        for bad in ["copy_in", "copy_in:0", "copy_in:-1", "fly:1", "copy_in:x"] {
            assert!(parse("X", bad).is_err(), "{bad}");
        }
    }
}
