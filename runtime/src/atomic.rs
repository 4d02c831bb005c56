//! Where the files that `models/` explores with loom have their atomics from: there they are loom's. Signal-safe.

pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// A function that is `const` where atomics can be made so: here.
macro_rules! const_fn {
    ($(#[$doc:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$doc])* $vis const fn $($rest)* };
}
pub(crate) use const_fn;

/// How often to look before sleeping: as often as asked for, here.
pub(crate) const fn spins(n: u32) -> u32 {
    n
}
