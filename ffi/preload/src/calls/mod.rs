//! The C library's calls that hand memory to the kernel, one file for each kind. `docs/SYSTEM_CALLS.md` lists them.

mod action;
mod aio;
mod apart;
mod arrive;
mod clock;
mod context;
mod flight;
pub mod fork;
mod futexes;
mod io;
mod legacy;
mod lent;
mod load;
mod lookup;
mod mask;
mod masked;
mod mutex;
mod notify;
mod number;
mod once;
mod path;
mod print;
mod process;
mod queue;
mod resolver;
mod ring;
mod socket;
mod start;
mod stdio;
mod sync;
mod table;
mod variadic;
mod wait;

#[cfg(target_arch = "x86_64")]
pub use action::{Action, SA_RESTORER, fault, set as set_action};
pub use mask::{keep, keeping, never_block};
pub use number::{by_number, change_mask_for_the_c_library, perform};
pub use ring::settle;

/// Looks up everything that stands behind the functions here, so that none has to in a signal handler.
pub fn resolve() {
    crate::names::resolve();
    aio::resolve();
    apart::resolve();
    arrive::resolve();
    fork::resolve();
    clock::resolve();
    clock::resolve_clock();
    context::resolve();
    io::resolve();
    io::resolve_random();
    legacy::resolve();
    lent::resolve();
    load::resolve();
    lookup::resolve();
    mask::resolve();
    mask::start();
    masked::resolve();
    mutex::resolve();
    notify::resolve();
    number::resolve();
    once::resolve();
    path::resolve();
    print::resolve();
    print::resolve_variadic();
    process::resolve();
    queue::resolve();
    resolver::resolve();
    socket::resolve();
    start::resolve();
    start::resolve_variadic();
    stdio::resolve();
    stdio::resolve_given();
    sync::resolve();
    wait::resolve();
}
