//! The runtime's numbers for the program's streams: made when a stream is first launched on, given up when the program
//! destroys it. Any thread; the list's lock is not held while anything waits.

use super::{Place, Queue, symbols};
use hmmrt_core::{Error, StreamId, raw};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// CUDA's and HIP's handles with a meaning of their own.
const LEGACY: usize = 1;
const PER_THREAD: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    device: i32,
    handle: usize,
    /// The thread that such a stream is of.
    thread: u32,
}

static KNOWN: Mutex<BTreeMap<Key, StreamId>> = Mutex::new(BTreeMap::new());

fn known() -> MutexGuard<'static, BTreeMap<Key, StreamId>> {
    KNOWN.lock().unwrap_or_else(|e| e.into_inner())
}

impl Queue {
    /// The handle with which any of the driver's functions finds it.
    pub fn native(self) -> usize {
        if self.handle == 0 && self.per_thread { PER_THREAD } else { self.handle }
    }
}

/// The runtime's number; `None`: it can't have one, and the work on it has to be waited for.
pub fn number(place: Place, queue: Queue) -> Result<Option<StreamId>, Error> {
    let handle = queue.native();
    if !place.shared {
        return Ok(None);
    }
    if matches!(handle, 0 | LEGACY) {
        return Ok(Some(StreamId::DEFAULT));
    }
    let thread = if handle == PER_THREAD { symbols::thread() } else { 0 };
    let key = Key { device: place.device, handle, thread };
    if let Some(number) = known().get(&key) {
        return Ok(Some(*number));
    }
    // SAFETY: the program launches on it, so it lives; `forget` ends the number first.
    match unsafe {
        raw::preload::stream_of_driver(place.device, core::ptr::with_exposed_provenance_mut(handle))
    } {
        Ok(number) => {
            // Another thread may have been faster: then that number is the stream's, so that there is one order.
            let first = *known().entry(key).or_insert(number);
            if first != number {
                let _ = raw::stream_destroy(number);
            }
            Ok(Some(first))
        }
        // Of another context, or one too many.
        Err(Error::InvalidArgument { .. } | Error::Unsupported { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The program is about to destroy the stream: what it does with managed memory is waited for.
pub fn forget(handle: usize) {
    let mut gone = Vec::new();
    known().retain(|key, number| {
        let is_it = key.handle == handle && handle > PER_THREAD;
        if is_it {
            gone.push(*number);
        }
        !is_it
    });
    for number in gone {
        let _ = raw::stream_destroy(number);
    }
}
