//! Memory that the kernel, or a thread of the C library's, goes on using after the call that named it: pinned to the host
//! from before that call until the operation is known to be over, or the memory is freed. Any thread. Operations are begun by calls
//! that are not for signal handlers, but aio_return(3) is: what ends one allocates and frees nothing. Handlers are kept off while the list is
//! locked.

use super::mask::Quiet;
use crate::given;
use hmmrt_core::raw;
use hmmrt_core::raw::preload::{self, List};
use std::sync::{Mutex, MutexGuard};

/// A range that is pinned.
#[derive(Clone, Copy)]
pub struct Pin {
    at: usize,
    len: usize,
}

impl Pin {
    /// What a pin of exactly this range was.
    pub fn of(at: usize, len: usize) -> Pin {
        Pin { at, len }
    }
}

/// Pins the first run of what is managed of `len` bytes from `at`, as far as its block goes.
pub fn pin(at: usize, len: usize) -> Option<Pin> {
    let run = preload::want(core::ptr::with_exposed_provenance::<u8>(at), len, true)?;
    let ptr = core::ptr::with_exposed_provenance::<u8>(run.start());
    // What is adopted has no block.
    let end = preload::block(ptr).map_or(run.end(), |(start, size)| run.end().min(start + size));
    let _quiet = Quiet::new();
    let len = end - run.start();
    raw::pin(ptr, len).is_ok().then_some(Pin { at: run.start(), len })
}

/// Undoes that. Without effect if the block was freed.
pub fn unpin(pin: Pin) {
    let _quiet = Quiet::new();
    preload::unpin(core::ptr::with_exposed_provenance(pin.at), pin.len);
}

/// What is pinned for operations on their way, each with what the program knows the operation by.
static FLIGHTS: Mutex<List<(usize, Pin)>> = Mutex::new(List::new(1 << 18, "operations on their way"));

fn flights() -> MutexGuard<'static, List<(usize, Pin)>> {
    FLIGHTS.lock().unwrap_or_else(|e| e.into_inner())
}

/// An operation begins. One of the same name must be over. What there is no room to note stays pinned until it is freed.
pub fn begin(name: usize, pins: Vec<Pin>) {
    end(name);
    let _quiet = Quiet::new();
    let mut all = flights();
    if !pins.is_empty() && all.make_room(pins.len()).is_ok() {
        for pin in pins {
            let behind = all.all().len();
            all.insert(behind, (name, pin));
        }
    }
}

/// An operation is over. For signal handlers, too.
pub fn end(name: usize) {
    let _quiet = Quiet::new();
    let next = || {
        let mut all = flights();
        let i = all.all().iter().position(|(of, _)| *of == name)?;
        let (_, pin) = all.all()[i];
        all.remove(i, 1);
        Some(pin)
    };
    core::iter::from_fn(next).for_each(unpin);
}

/// The ranges of a call's arguments, pinned one after the other.
#[derive(Default)]
pub struct Pins(pub Vec<Pin>);

impl Pins {
    /// The kernel uses `len` bytes.
    pub fn range(&mut self, at: usize, len: usize) {
        let end = at.saturating_add(len);
        let mut next = at;
        while next < end
            && let Some(pin) = pin(next, end - next)
        {
            next = pin.at + pin.len;
            self.0.push(pin);
        }
    }

    /// The kernel uses what vectors describe, and the vectors.
    ///
    /// # Safety
    /// `count` valid ones, or no address of the program's.
    pub unsafe fn vectors(&mut self, at: usize, count: usize) {
        // The kernel takes no more than 1,024.
        if at == 0 || count > 1024 {
            return;
        }
        self.range(at, count * size_of::<libc::iovec>());
        for i in 0..count {
            let at = core::ptr::with_exposed_provenance::<libc::iovec>(at).wrapping_add(i);
            let Some(part) = given::read(at) else { return };
            self.range(part.iov_base.expose_provenance(), part.iov_len);
        }
    }

    /// The kernel uses a message and all it points to.
    ///
    /// # Safety
    /// As [`Pins::vectors`].
    pub unsafe fn message(&mut self, at: usize) {
        if at == 0 {
            return;
        }
        self.range(at, size_of::<libc::msghdr>());
        let Some(m) = given::read(core::ptr::with_exposed_provenance::<libc::msghdr>(at)) else { return };
        // SAFETY: the caller's promise.
        unsafe {
            self.range(m.msg_name.expose_provenance(), m.msg_namelen as usize);
            self.range(m.msg_control.expose_provenance(), m.msg_controllen as _);
            self.vectors(m.msg_iov.expose_provenance(), m.msg_iovlen as _);
        }
    }
}
