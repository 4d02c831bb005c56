//! Exported functions: the macro that makes one of a line and a body, and the list of them that looking up by name needs.

/// A function's address.
pub struct Symbol(pub *const ());

// SAFETY: the address of code, which is nobody's.
unsafe impl Sync for Symbol {}

/// Exports functions: `Needs fn name(frame, arguments) { body }`, where the body gives a [`crate::Result`]. The front-end
/// has `current::ready`, `current::device`, the calling thread's, and
/// `current::finish`, which makes a number of the result.
#[macro_export]
#[allow(clippy::crate_in_macro_def, reason = "the front-end's own")]
macro_rules! entries {
    ($($needs:ident fn $name:ident($frame:tt $(, $arg:ident: $kind:ty)* $(,)?) $body:block)*) => {
        $(
            /// The driver's function of this name.
            ///
            /// # Safety
            /// The arguments are what the driver's documentation asks for.
            #[unsafe(no_mangle)]
            #[allow(clippy::too_many_arguments, non_snake_case, reason = "the driver's")]
            pub unsafe extern "C" fn $name($($arg: $kind),*) -> i32 {
                use $crate::call::{Needs, enter};
                static COUNTER: $crate::inject::Counter = $crate::inject::Counter::new(
                    stringify!($name),
                    !matches!(Needs::$needs, Needs::Nothing),
                );
                use crate::current::{device, finish, ready};
                finish(enter(&COUNTER, Needs::$needs, ready, device, |$frame| $body))
            }
        )*

        /// The functions above by name.
        pub(crate) static SYMBOLS: &[(&str, $crate::entries::Symbol)] =
            &[$((stringify!($name), $crate::entries::Symbol($name as *const ()))),*];
    };
}
