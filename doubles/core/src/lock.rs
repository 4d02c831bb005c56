//! The one lock that a driver has. A call holds it from beginning to end, except while it waits for the device; a copy
//! from pageable memory holds it while it reads that memory. So a program whose fault handler waits for somebody who
//! needs the driver hangs here as it would on a real one. Stream threads never take it.

use std::sync::{Mutex, MutexGuard, PoisonError};

static LOCK: Mutex<()> = Mutex::new(());

/// Takes the lock.
pub fn take() -> MutexGuard<'static, ()> {
    held(&LOCK)
}

/// Takes any mutex; what a panicking call left behind is still consistent, since calls change tables last.
pub fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
