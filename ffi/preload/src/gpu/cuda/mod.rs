//! CUDA's driver: the functions of its that are ours, under their exported names (`_v2`, `_ptsz`: one ABI each).
//! `launches`, `copies`, `graphs`, `memory`, `modules` and `refused` export them; `driver` is what stands behind, `planes` copies in more than
//! one dimension, `versions` what `cuGetProcAddress` gives out. Any thread.

mod copies;
mod driver;
mod graphs;
mod launches;
mod memory;
mod modules;
mod planes;
mod refused;
mod versions;

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
