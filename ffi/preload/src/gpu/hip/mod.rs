//! HIP's runtime: the functions of its that are ours. Programs are linked to them, or look them up. `launches`, `copies`,
//! `graphs`, `memory`, `modules` and `refused` export them; `driver` is what stands behind, `code` and `object` what programs' own code says of
//! its kernels. Any thread.

mod code;
mod copies;
mod driver;
mod graphs;
mod launches;
mod memory;
mod modules;
mod object;
mod refused;
mod spaces;

use super::Queue;
use super::symbols::Entry;

/// Our functions.
pub static ENTRIES: &[&[Entry]] = &[
    launches::ENTRIES,
    copies::ENTRIES,
    graphs::ENTRIES,
    memory::ENTRIES,
    modules::ENTRIES,
    refused::ENTRIES,
];

const fn queue(handle: usize, per_thread: bool) -> Queue {
    Queue { handle, per_thread }
}
