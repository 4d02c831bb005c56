//! Heterogeneous memory management in user space: one pointer, valid on the CPU and on the GPU; each page lives where
//! it is used.
//!
//! Managed memory is ordinary memory in every respect but one: its pages can be on a device. A kernel gets them by its
//! launch; the CPU gets them back by touching them, through a page fault that the runtime answers. No kernel patch, no
//! GPU page faults, no root.
//!
//! # Quick start
//! ```
//! use hmmrt::{Location, ManagedVec, Residency, Runtime, kernels};
//!
//! fn main() -> Result<(), hmmrt::Error> {
//!     let x = ManagedVec::from_slice(&vec![1.0_f32; 1 << 20])?;
//!     let mut y = ManagedVec::<f32>::zeroed(1 << 20)?;
//!     let stream = Runtime::new()?.device(0)?.stream()?;
//!
//!     kernels::saxpy(&stream, &mut y, 2.0, &x)?; // y += 2 x on the device; returns at once
//!     assert_eq!(y[4242], 2.0); // the touch waits for the kernel, and the page comes home
//!
//!     x.migrate(Location::Device(0))?; // moves without a kernel, and gives the host's RAM back
//!     assert_eq!(x.iter().sum::<f32>(), 1_048_576.0);
//!     Ok(())
//! }
//! ```
//!
//! # Memory
//! [`ManagedVec`] grows, [`Managed<[T]>`](Managed) does not; both deref to slices of plain old data ([`bytemuck::Pod`]).
//! [`HmmAlloc`] gives managed memory to other containers. [`raw`] has the calls underneath, on pointers, with the
//! program's own memory ([`raw::adopt`]) and its protection ([`raw::protect`]).
//!
//! # Moving and looking
//! [`Residency`], on slices: [`migrate`](Residency::migrate) now, [`prefetch`](Residency::prefetch) in the order of a
//! stream, [`pin`](Residency::pin) to the host, [`advise`](Residency::advise), and [`pages`](Residency::pages) to see
//! where each page of 4 KiB is. [`stats`] counts what was moved.
//!
//! ```
//! use hmmrt::{Advice, Location, ManagedVec, Page, Residency};
//!
//! let x = ManagedVec::from_slice(&[7_u8; 3 << 20])?;
//! x.advise(Advice::Random, Location::Host)?; // single pages come home, not chunks of 2 MiB
//! x.migrate(Location::Device(0))?;
//! assert_eq!(x[5000], 7);
//! let on_host = x.pages()?.iter().filter(|page| page.flags & Page::HOST != 0).count();
//! assert_eq!(on_host, 1);
//! # Ok::<(), hmmrt::Error>(())
//! ```
//!
//! # Kernels
//! [`kernels`] has safe calls of the built-in ones. [`Stream::launch`] runs any kernel; [`Arg`] says what it does where,
//! and the launch moves what is needed. [`Stream::acquire`] holds memory on the device for work that is queued by other
//! means; its [`AccessGuard`] borrows what the device may write, so that no `&mut` exists meanwhile.
//!
//! A launch does not borrow for as long as the kernel runs, and need not: a CPU access to what the kernel may be writing
//! waits, CPU writes do not reach the copy that it reads, and freeing waits. What a program sees is what it would see if
//! the kernel had run inside of the call.
//!
//! # Errors
//! Everything that can fail gives an [`Error`], with a [code](Error::code) that never changes and a message that names
//! the argument. An error changes nothing unless it says so.
//!
//! # Environment
//! The settings are those of [`Config`], each with a variable `HMMRT_<NAME>`: `HMMRT_BACKEND`, `HMMRT_SPARE`,
//! `HMMRT_LOG`, and so on. They are read when the runtime starts, at the first call that needs it; [`raw::init`] before
//! that gives them in the program.
//!
//! # Limits
//! - Linux, x86-64 and aarch64, 4 KiB pages; only private anonymous memory moves.
//! - Where there is no GPU, the device is the host backend's: in host RAM, with threads for kernels.
//! - The runtime handles SIGSEGV and passes on what is not its own. A thread that blocks it must not touch managed memory.
//! - A system call into memory that is on a device fails with EFAULT: [`raw::host_ready`] or a [`PinGuard`] before.
//! - A forked child has a snapshot of its parent's memory, but no device: calls are [`Error::Forked`].
//! - Memory that this thread has [acquired](raw::acquire) for a device to write, and touches before it has released it,
//!   raises SIGBUS. The borrows of [`AccessGuard`] keep safe code from it, but for the rest of a page acquired in part.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("hmmrt needs 64-bit Linux");

mod access;
mod addr;
mod adopt;
mod ahead;
mod alloc;
mod arenas;
mod atomic;
mod block;
mod blocker;
mod buffer;
mod calls;
mod chunk;
mod config;
mod crew;
mod device;
mod error;
mod evict;
mod fault;
mod fork;
mod gate;
mod guard;
mod handle;
mod heap;
mod holds;
mod inflight;
pub mod interop;
pub mod kernels;
mod launch;
mod list;
mod log;
mod managed;
mod managed_vec;
mod mask;
mod migrate;
mod moves;
mod pins;
pub mod policy;
mod pool;
mod prefetch;
mod query;
pub mod raw;
mod residency;
mod room;
mod runtime;
mod scratch;
mod service;
mod slab;
mod span;
mod spill;
mod stats;
mod stream;
mod summary;
mod sys;
mod table;
mod timeline;
pub mod trace;
mod transfer;
mod uffd;
mod warm;
mod window;

pub use access::{Access, AccessMode};
pub use alloc::HmmAlloc;
pub use config::{Backend, Config, FaultEngine, ForkMode, LogLevel, PolicyChoice, SpillTo};
pub use device::host::inject;
pub use device::{BackendReport, DeviceInfo, probe};
pub use error::{ConfigError, Error, Result};
pub use guard::{AccessGuard, Arg, PinGuard, Use};
pub use handle::{Device, Kernel, Module, Runtime, Stream};
pub use kernels::ListNode;
pub use launch::{HostFunction, KernelId, LaunchArg, LaunchConfig, ModuleId};
pub use managed::Managed;
pub use managed_vec::ManagedVec;
pub use query::Page;
pub use raw::{Advice, HMM_HOST, Protection, stats, stats_reset};
pub use residency::{Location, Residency};
pub use stats::Stats;
pub use stream::StreamId;
/// Calls to the operating system that fail, for tests.
#[cfg(feature = "inject")]
#[doc(hidden)]
pub use sys::refusal;
pub use sys::sigaction::program_sigaction;

/// This library's version.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
