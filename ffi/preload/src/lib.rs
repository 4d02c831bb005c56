//! libhmmrt_preload.so: malloc and its family with managed memory for large blocks, for any program, by `LD_PRELOAD`. It
//! exports names of the C library's and of GPU drivers', and nothing else. No driver is loaded and no thread started
//! before a device is used.
//!
//! `names` is the C library behind it, `settings` the environment, `malloc` the allocator, `theirs` the C library's and `rival` one that
//! comes before this; `calls` what is given to the kernel, with what `holds` keeps on the host meanwhile (`wraps` defines most of these) and `given` reads of it, `trap` the same
//! without the C library; `spare` is memory for what may have interrupted malloc. There is no destructor, and nothing here has thread-local storage, but for jemalloc, which `small`
//! objects come from where the library is built with them. `HMMRT_CHAOS=1` is a test aid (`chaos`).

mod allocator;
mod calls;
mod cancel;
mod chaos;
mod given;
mod gpu;
mod holds;
mod malloc;
mod maps;
mod names;
mod rival;
mod settings;
#[path = "../../src/signals.rs"]
mod signals;
mod size;
mod small;
mod spare;
mod theirs;
mod trap;
mod wraps;

/// Runs before the program, but not before everything: every function works without it.
extern "C" fn constructor() {
    hmmrt_core::raw::preload::watch_forks();
    hmmrt_core::raw::preload::ask_for_huge_pages_later();
    settings::read();
    theirs::resolve();
    calls::resolve();
    maps::start();
    if settings::is_wanted() {
        hmmrt_core::raw::preload::watch_faults();
    }
    chaos::start();
    trap::start();
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;
