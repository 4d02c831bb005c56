//! Thread identity: loom's.

use std::hash::{DefaultHasher, Hash, Hasher};

pub(crate) fn id() -> usize {
    let mut hasher = DefaultHasher::new();
    loom::thread::current().id().hash(&mut hasher);
    hasher.finish() as usize | 1
}

/// Waiting for a lock: nobody is in a forked child.
#[derive(Default)]
pub(crate) struct Waiting {
    _nothing: (),
}

impl Waiting {
    pub(crate) fn nap(&self) -> Option<u64> {
        None
    }
    pub(crate) fn is_in_vain(&mut self) -> bool {
        false
    }
}
