//! Loom's atomics under the names of the runtime's `atomic`. Loom takes SeqCst for AcqRel: a SeqCst load is made a
//! read-modify-write here, which reads the latest value, as the single order of all SeqCst operations asks for. Weaker loads
//! stay as weak as loom knows them.

use loom::sync::atomic as inner;
pub(crate) use loom::sync::atomic::Ordering;

macro_rules! atomics {
    ($($name:ident $value:ty),*) => {$(
        #[derive(Default)]
        pub(crate) struct $name(inner::$name);

        impl $name {
            pub(crate) fn new(v: $value) -> $name {
                $name(inner::$name::new(v))
            }
            pub(crate) fn load(&self, order: Ordering) -> $value {
                match order {
                    Ordering::SeqCst => self.0.fetch_add(0, Ordering::SeqCst),
                    order => self.0.load(order),
                }
            }
            pub(crate) fn store(&self, v: $value, order: Ordering) {
                match order {
                    Ordering::SeqCst => drop(self.0.swap(v, Ordering::SeqCst)),
                    order => self.0.store(v, order),
                }
            }
            pub(crate) fn swap(&self, v: $value, order: Ordering) -> $value {
                self.0.swap(v, order)
            }
            pub(crate) fn fetch_add(&self, v: $value, order: Ordering) -> $value {
                self.0.fetch_add(v, order)
            }
            pub(crate) fn fetch_sub(&self, v: $value, order: Ordering) -> $value {
                self.0.fetch_sub(v, order)
            }
            pub(crate) fn fetch_max(&self, v: $value, order: Ordering) -> $value {
                self.0.fetch_max(v, order)
            }
            pub(crate) fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                done: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(old, new, done, failed)
            }
        }
    )*};
}

atomics!(AtomicU32 u32, AtomicU64 u64, AtomicUsize usize);

/// Loom's atomics can't be made in a constant.
macro_rules! const_fn {
    ($(#[$doc:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$doc])* $vis fn $($rest)* };
}
pub(crate) use const_fn;

/// Spinning is only more of the same to loom.
pub(crate) fn spins(_: u32) -> u32 {
    1
}
