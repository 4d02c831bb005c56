//! The macro that defines most of the functions that hold. The exported ones have nothing to let go of, and so can be cancelled
//! anywhere (`cancel`). Any thread; costs a load where no device is open.

/// Whether a function goes straight on, and whether it does so once more with what it uses held where that has failed.
macro_rules! straight {
    ([] []) => {
        (!hmmrt_core::raw::preload::is_active(), true)
    };
    ([always] []) => {
        (false, false)
    };
    ([$($always:ident)?] [$plain:expr]) => {
        ($plain, false)
    };
}
pub(crate) use straight;

/// What a function answers that the C library does not have: what its system call does, if it names one.
macro_rules! missing {
    ([] [$($arg:ident)*] $ret:ty) => {{
        crate::names::set_errno(libc::ENOSYS);
        <$ret as crate::holds::Failed>::FAILED
    }};
    ([$number:ident] [$($arg:ident)*] $ret:ty) => {
        // SAFETY: the call that such a function makes; the arguments are the caller's.
        unsafe { crate::calls::by_number(libc::$number, &[$(crate::wraps::Word::word($arg)),*]) }
    };
}
pub(crate) use missing;

/// An argument as a system call has it.
pub trait Word {
    /// The word.
    fn word(self) -> usize;
}
impl Word for core::ffi::c_int {
    fn word(self) -> usize {
        self as usize
    }
}
impl Word for core::ffi::c_uint {
    fn word(self) -> usize {
        self as usize
    }
}
impl Word for usize {
    fn word(self) -> usize {
        self
    }
}
impl<T> Word for *const T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

/// Defines exported functions, each of which holds what its block says, with `h` for the [`Holds`](crate::holds::Holds), and then calls the
/// function that it stands for. They unwind: some are cancellation points. `if always`: holds where no device is open, too,
/// because one may be opened before the call is over, and what fails then can't be repeated. `= SYS_...`: the system call that is made where the C
/// library has no such function. `plain if`: then nothing has to be
/// held, and the function is called as it is. `then`: what is to be done with the answer while it is held.
macro_rules! wraps {
    ($(
        fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty $(= $number:ident)?
        |$h:ident| $(if $always:ident)? $(plain if $plain:expr =>)? $body:block $(then |$answer:ident| $then:block)?
    )+) => {
        crate::names::reals! { real, resolve: $($name)+ }

        $(
            /// The C library's function of this name, with managed memory among its arguments held for the call.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($($arg: $type),*) -> $ret {
                let at = real::$name.known();
                let (is_straight, repeats) = crate::wraps::straight!([$($always)?] [$($plain)?]);
                let mut has_failed = false;
                if at != 0 && is_straight {
                    // SAFETY: the function of this name and type; the arguments are the caller's.
                    let answer = unsafe {
                        let f: unsafe extern "C-unwind" fn($($type),*) -> $ret =
                            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                        f($($arg),*)
                    };
                    // The devices may have been opened during the call.
                    has_failed = repeats
                        && crate::holds::has_failed(&answer)
                        && hmmrt_core::raw::preload::is_active();
                    if !has_failed {
                        return answer;
                    }
                }
                // SAFETY: the caller's promise.
                crate::cancel::deferred(|kind| unsafe { held::$name(kind, has_failed, ($($arg,)*)) })
            }
        )+

        /// What has to look closer.
        mod held {
            use super::*;
        $(
            /// # Safety
            /// As the C library's.
            #[inline(never)]
            pub unsafe fn $name(kind: core::ffi::c_int, has_failed: bool, ($($arg,)*): ($($type,)*)) -> $ret {
                let at = real::$name.address();
                if at == 0 {
                    return crate::wraps::missing!([$($number)?] [$($arg)*] $ret);
                }
                // SAFETY: the function of this name and type; the arguments are the caller's.
                unsafe {
                    let f: unsafe extern "C-unwind" fn($($type),*) -> $ret =
                        core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                    let call = || {
                        let answer = crate::cancel::as_it_was(kind, || f($($arg),*));
                        $(
                            let $answer = answer;
                            $then
                        )?
                        answer
                    };
                    let hold = |$h: &mut crate::holds::Holds| $body;
                    if has_failed {
                        return crate::holds::again(hold, call).unwrap_or(<$ret as crate::holds::Failed>::FAILED);
                    }
                    let always = $(stringify!($always) == "always" ||)? false;
                    crate::holds::around(always, hold, call, crate::holds::has_failed)
                }
            }
        )+
        }
    };
}
pub(crate) use wraps;
