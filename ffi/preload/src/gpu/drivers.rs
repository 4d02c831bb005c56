//! Where the drivers' own code is. What a driver allocates for itself is never managed: it does so with its locks held,
//! and memory that devices reach is had from the driver. Any thread; `is_driver` takes no lock and does not allocate.

use crate::{names, settings};
use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Mutex, PoisonError};

const SLOTS: usize = 16;
static STARTS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
static ENDS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];

/// Parts of drivers in files of their own.
const PARTS: [&str; 5] =
    ["libcuda.so", "libnvidia-", "libamdhip64.so", "libhsa-runtime64.so", "libamd_comgr.so"];

/// Whether code of a driver's is at that address.
pub fn is_driver(at: usize) -> bool {
    (0..SLOTS).any(|i| STARTS[i].load(Relaxed) <= at && at < ENDS[i].load(Acquire))
}

/// A function of a driver is at that address: so is the driver, with its other parts. Nothing for 0.
pub fn note(at: usize) {
    static ONE: Mutex<()> = Mutex::new(());
    if at == 0 || is_driver(at) {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    names::objects(|name, start, end| {
        let known = |i: &usize| STARTS[*i].load(Relaxed) == start && ENDS[*i].load(Relaxed) == end;
        let is_it = (start..end).contains(&at) || is_part(name);
        if !is_it || (0..SLOTS).any(|i| known(&i)) {
            return;
        }
        if name.to_bytes().windows(15).any(|w| w == b"/libamdhip64.so") {
            settings::refuse_small_objects();
        }
        if let Some(i) = (0..SLOTS).find(|i| ENDS[*i].load(Relaxed) == 0) {
            STARTS[i].store(start, Relaxed);
            ENDS[i].store(end, Release);
        }
    });
}

fn is_part(path: &CStr) -> bool {
    let path = path.to_bytes();
    let file = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    PARTS.iter().any(|part| file.starts_with(part.as_bytes()))
}
