//! The C interface of libhmmrt: what `include/hmmrt.h` declares, over `hmmrt::raw`. Each function checks its pointers,
//! turns C types into Rust ones, calls the runtime and turns the answer into a `hmm_status`; nothing else happens here.
//! No lock is taken and no state is kept but the thread's last message. The header is generated from these files
//! (`tests/header.rs`), in the order given there, so their doc comments speak to C programmers.

#![allow(
    non_camel_case_types,
    reason = "the names are the C interface's own, and cbindgen takes them from here as they are"
)]

mod array;
pub mod config;
pub mod device;
mod guard;
pub mod kernel;
pub mod last_error;
pub mod life;
pub mod look;
pub mod memory;
pub mod movement;
mod settings;
mod signals;
mod sized;
pub mod status;
pub mod stream;
pub mod types;

/// The runtime's handlers at fork are to run behind those that programs register: from the time on at which the library is
/// loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = {
    extern "C" fn at_load() {
        hmmrt_core::raw::preload::watch_forks();
    }
    at_load
};
