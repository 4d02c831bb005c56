//! What the driver doubles have in common: a GPU made of host memory and threads. `doubles/cuda` and `doubles/hip` put
//! the names, argument lists and error names of a driver in front of it. Test only; see `doubles/README.md`.
//!
//! Objects have numbers in place of addresses ([`handles`]), all calls of a driver go through [`call::enter`], which
//! holds the one [`lock`] that a driver has, and all work runs in order on [`stream`] threads.

pub mod argument;
pub mod backing;
pub mod call;
pub mod control;
pub mod copy;
pub mod device;
pub mod entries;
pub mod error;
pub mod event;
pub mod foreign;
pub mod handles;
pub mod host;
pub mod image;
pub mod inject;
pub mod kernels;
pub mod launch;
pub mod lock;
pub mod memory;
pub mod modules;
mod os;
mod place;
pub mod process;
pub mod settings;
pub mod space;
pub mod stream;
pub mod streams;
pub mod table;
pub mod thread;
pub mod view;

pub use error::{Error, Result};
