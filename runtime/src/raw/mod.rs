//! Pointer-level functions: what the C interface wraps, and the Rust types are built on. Each checks its arguments
//! first, in the order of the C parameters; an error changes nothing. Thread-safe; none may be called from a signal
//! handler. `memory` is blocks and adopted ranges, `movement` where bytes are, `device` devices, access and kernels,
//! `native` what an interposed driver needs.

mod device;
pub mod mapping;
mod memory;
mod movement;
pub mod native;
pub mod preload;

pub use device::*;
pub use memory::*;
pub use movement::*;

use crate::addr::{ByteRange, HostAddr};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::query::{self, Page};
use crate::runtime;
use crate::stats::{STATS, Stats};
use crate::trace::{self, What};

/// The host as a location (`HMM_HOST`).
pub const HMM_HOST: i32 = -1;

/// The program's own protection of managed memory (`hmm_protect`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// No access.
    None,
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// What the program knows of a range's use (`hmm_advice`). Advice holds for whole chunks of 2 MiB that the range touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Advice {
    /// Mostly read: moves to a device leave the host's copy valid; what the CPU reads, or has brought home, the device's.
    ReadMostly = 1,
    /// Takes `ReadMostly` back.
    UnsetReadMostly = 2,
    /// Should stay at the location. A device: a touch by the CPU brings 64 KiB at most, and it leaves the device last. The
    /// host: what is moved to a device leaves the host's copy valid until the device writes, a touch brings all of the chunk,
    /// and it leaves a full device first.
    PreferredLocation = 3,
    /// Takes `PreferredLocation` back.
    UnsetPreferredLocation = 4,
    /// Will be used at the location. A device: a write by the CPU takes 64 KiB at most of what the device has, and it is among
    /// the last to leave. The host: what is moved to a device leaves the host's copy valid until the device writes.
    AccessedBy = 5,
    /// Takes `AccessedBy` back.
    UnsetAccessedBy = 6,
    /// The CPU uses it in order: whole chunks come home, and the policy `auto` reads ahead.
    Sequential = 7,
    /// The CPU uses it here and there: single pages come home.
    Random = 8,
    /// Takes `Sequential` or `Random` back.
    UnsetPattern = 9,
}

pub(super) fn location(value: i32, devices: usize) -> Result<Option<usize>> {
    match value {
        HMM_HOST => Ok(None),
        d => usize::try_from(d)
            .ok()
            .filter(|d| *d < devices)
            .map(Some)
            .ok_or(Error::NoDevice { device: value, count: devices }),
    }
}

pub(super) fn counted<T>(result: Result<T>) -> Result<T> {
    if let Err(e) = &result {
        STATS.errors.add(1);
        trace::record(|| What::Error { code: e.code() });
    }
    result
}

/// Starts the runtime; `None` takes the settings from the environment. Optional: first use does it.
pub fn init(config: Option<Config>) -> Result<()> {
    runtime::init(config)
}

/// Brings everything home and ends the runtime. Blocks stay valid and can still be freed; [`init`] starts it again.
pub fn shutdown() -> Result<()> {
    runtime::shutdown()
}

/// What each page of a range is, one entry per 4 KiB page that it touches. No side effects; any address may be asked.
pub fn query(ptr: *const u8, len: usize, out: &mut [Page]) -> Result<()> {
    let at = HostAddr::from(ptr);
    let range = ByteRange::new(at.0, len)
        .ok_or(Error::InvalidArgument { arg: "len", why: "pointer plus length wraps around" })?;
    query::query(range, out)
}

/// The counters now.
pub fn stats() -> Stats {
    STATS.snapshot()
}

/// Sets the counts to zero (not what describes the present, such as `managed_bytes`).
pub fn stats_reset() {
    STATS.reset();
}
