//! Heterogeneous memory management in user space: one pointer, valid on the CPU and on the GPU; each page lives where
//! it is used.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("hmmrt needs 64-bit Linux");

mod access;
mod addr;
mod adopt;
mod block;
mod chunk;
mod config;
mod device;
mod error;
mod fault;
mod heap;
mod inflight;
mod launch;
mod log;
mod mask;
mod migrate;
mod moves;
mod pins;
mod policy;
mod pool;
mod prefetch;
mod query;
pub mod raw;
mod runtime;
mod service;
mod slab;
mod span;
mod stats;
mod stream;
mod sys;
mod table;
mod window;

pub use access::{Access, AccessMode};
pub use config::{Backend, Config, FaultEngine, LogLevel};
pub use device::DeviceInfo;
pub use device::host::inject;
pub use error::{ConfigError, Error, Result};
pub use launch::{HostFunction, KernelId, LaunchArg, LaunchConfig, ModuleId};
pub use query::Page;
pub use raw::{Advice, HMM_HOST, Protection};
pub use stats::Stats;
pub use stream::StreamId;
pub use sys::segv::program_sigaction;

/// This library's version.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
