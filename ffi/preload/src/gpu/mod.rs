//! GPU programs that know nothing of managed memory: the functions of the CUDA and HIP drivers that such a program hands
//! pointers to. A launch brings what it needs to its device first, copies go around memory of the driver's own, and with
//! `HMMRT_TAKE_MANAGED=1` the driver's managed memory is ours. Nothing is done, and no device opened, before a managed
//! pointer is among the arguments.
//!
//! `symbols` is how the functions are found and put in place, `params` a launch's parameters, `launch`, `copies`,
//! `managed` what is done, `streams` the program's streams, `drivers` where the drivers' code is, `cuda` and `hip`
//! the exported functions. Any thread.

mod copies;
mod cuda;
mod drivers;
mod hip;
mod launch;
mod managed;
mod params;
mod solids;
mod streams;
mod symbols;

pub use drivers::is_driver;

use crate::names;
use core::sync::atomic::{AtomicU8, Ordering::*};
use hmmrt_core::{Error, raw};

/// What is asked of a driver beside what the program asks.
pub struct Driver {
    /// What the runtime calls it.
    backend: &'static str,
    /// The calling thread's device; the driver's code if it has none.
    place: fn() -> Result<Place, i32>,
    /// Waits for a stream.
    wait: fn(usize) -> i32,
    /// Waits for the current context.
    wait_all: fn() -> i32,
    /// Whether what is put into a stream is being recorded, not done.
    is_recording: fn(usize) -> bool,
    /// Copies between any two places, in a stream.
    copy: fn(usize, usize, usize, usize) -> i32,
    /// Pinned memory, which stays.
    pinned: fn(usize) -> Option<*mut u8>,
    ready: AtomicU8,
}

/// Where a call of the driver's works.
#[derive(Clone, Copy)]
pub struct Place {
    /// The device's number.
    device: i32,
    /// The current context is the one that the runtime uses.
    shared: bool,
}

/// A stream as the program names it.
#[derive(Clone, Copy)]
pub struct Queue {
    handle: usize,
    /// NULL is the calling thread's own.
    per_thread: bool,
}

/// Both drivers' OUT_OF_MEMORY.
const OUT_OF_MEMORY: i32 = 2;
/// Both drivers' INVALID_VALUE.
const INVALID_VALUE: i32 = 1;
/// Both drivers' UNKNOWN.
const UNKNOWN: i32 = 999;

const UNKNOWN_YET: u8 = 0;
const READY: u8 = 1;
const REFUSED: u8 = 2;

impl Driver {
    /// Whether the runtime's devices are this driver's; opens them. The program has made a device current.
    fn is_ready(&self) -> bool {
        match self.ready.load(Acquire) {
            UNKNOWN_YET => self.open(),
            known => known == READY,
        }
    }

    #[cold]
    fn open(&self) -> bool {
        let same = match raw::device_info(0) {
            Ok(info) if info.backend == self.backend => true,
            Ok(info) => {
                names::say(&format!(
                    "hmmrt error: the program uses {}, the runtime {} (HMMRT_BACKEND); kernels can't reach managed memory\n",
                    self.backend, info.backend
                ));
                false
            }
            // It may be only for now.
            Err(Error::Device { .. } | Error::DeviceMemory { .. } | Error::NoMemory { .. }) => return false,
            Err(error) => {
                names::say(&format!("hmmrt error: {error}; kernels can't reach managed memory\n"));
                false
            }
        };
        self.ready.store(if same { READY } else { REFUSED }, Release);
        same
    }
}

/// What the program's call answers when the runtime could not do its part.
fn code_of(call: &str, error: Error) -> i32 {
    match error {
        Error::DeviceMemory { .. } | Error::NoMemory { .. } => OUT_OF_MEMORY,
        Error::Device { code, .. } if code != 0 => code,
        error => {
            names::say(&format!("hmmrt error: {call}: {error}\n"));
            UNKNOWN
        }
    }
}

/// A pointer from a number that the program gave.
fn pointer(at: usize) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(at)
}

/// Whether that is an address in managed memory.
fn is_managed(at: usize) -> bool {
    at != 0 && raw::owns(pointer(at))
}
