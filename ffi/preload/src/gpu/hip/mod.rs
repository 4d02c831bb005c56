//! HIP's runtime: the functions of its that are ours. Programs are linked to them, or look them up. `launches`, `copies`,
//! `memory` and `modules` export them; `driver` is what stands behind, `code` what programs' own code says of its
//! kernels. Any thread.

mod code;
mod copies;
mod driver;
mod launches;
mod memory;
mod modules;

use super::Queue;
use super::symbols::Entry;

/// Our functions.
pub static ENTRIES: &[&[Entry]] = &[launches::ENTRIES, copies::ENTRIES, memory::ENTRIES, modules::ENTRIES];

const fn queue(handle: usize, per_thread: bool) -> Queue {
    Queue { handle, per_thread }
}
