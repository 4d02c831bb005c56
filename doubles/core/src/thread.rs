//! The double's own threads: no signal of the program is ever delivered to one of them.

use std::thread::Builder;

use crate::{Error, Result, os};

/// Starts a thread with all signals blocked; it ends by itself.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result {
    let _blocked = os::Blocked::new();
    let body = move || {
        os::wait_exactly();
        body();
    };
    let started = Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(body);
    started.map(drop).map_err(|_| Error::OUT_OF_MEMORY)
}
