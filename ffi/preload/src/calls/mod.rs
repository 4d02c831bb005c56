//! The C library's calls that hand memory to the kernel, one file for each kind. `docs/SYSTEM_CALLS.md` lists them.

mod io;
mod mask;
mod path;
mod socket;
mod start;
mod stdio;
mod sync;
mod wait;

/// Looks up everything that stands behind the functions here, so that none has to in a signal handler.
pub fn resolve() {
    io::resolve();
    mask::resolve();
    path::resolve();
    socket::resolve();
    start::resolve();
    stdio::resolve();
    stdio::resolve_given();
    sync::resolve();
    wait::resolve();
}
