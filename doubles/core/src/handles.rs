//! Tables of objects by number. A number is never used again, so one of a destroyed object is always found out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};

use crate::lock::held;
use crate::{Error, Result};

/// Looks like an address that nothing is at, and is none of the small numbers that drivers give a meaning.
static NEXT: AtomicU64 = AtomicU64::new(0x5000_0000);

/// A number that was not used before.
pub fn fresh() -> u64 {
    NEXT.fetch_add(16, Relaxed)
}

/// Objects of one kind.
pub struct Handles<T>(LazyLock<Mutex<HashMap<u64, Arc<T>>>>);

impl<T> Handles<T> {
    /// An empty table.
    #[allow(clippy::new_without_default, reason = "Default is not const, and tables are statics")]
    pub const fn new() -> Handles<T> {
        Handles(LazyLock::new(|| Mutex::new(HashMap::new())))
    }

    /// Adds an object.
    pub fn add(&self, object: Arc<T>) -> u64 {
        let handle = fresh();
        held(&self.0).insert(handle, object);
        handle
    }

    /// The object, or INVALID_HANDLE.
    pub fn get(&self, handle: u64) -> Result<Arc<T>> {
        held(&self.0).get(&handle).cloned().ok_or(Error::INVALID_HANDLE)
    }

    /// Takes the object out.
    pub fn remove(&self, handle: u64) -> Result<Arc<T>> {
        held(&self.0).remove(&handle).ok_or(Error::INVALID_HANDLE)
    }

    /// Takes out all that `of` is true for.
    pub fn remove_all(&self, of: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        held(&self.0).extract_if(|_, object| of(object)).map(|(_, object)| object).collect()
    }
}
