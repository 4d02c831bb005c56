//! Thread identity: loom's.

use std::hash::{DefaultHasher, Hash, Hasher};

pub(crate) fn id() -> usize {
    let mut hasher = DefaultHasher::new();
    loom::thread::current().id().hash(&mut hasher);
    hasher.finish() as usize | 1
}
