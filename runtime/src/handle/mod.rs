//! Handles: the process-wide runtime, its devices, and what devices run things with. Thin values over the numbers that
//! [`crate::raw`] takes; each checks its arguments through the calls there. API context only.

mod device;
mod kernel;
mod module;
mod runtime;
mod stream;

pub use device::Device;
pub use kernel::Kernel;
pub use module::Module;
pub use runtime::Runtime;
pub use stream::Stream;
