//! pthread_once(3) and C11's call_once: who comes while another thread runs the routine waits by futex(2), as `sync` has it. A
//! thread's own routine runs with nothing held: it may use a device. Any thread.

use super::mask::Key;
use crate::cancel;
use crate::holds::Holds;
use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, Ordering::*};
use hmmrt_core::raw;

/// The bit of a control that says that all is done, as glibc has it.
const DONE: c_int = 2;

type Routine = unsafe extern "C-unwind" fn();

/// What the thread's innermost call that has not come to its routine yet is: the address of its [`Call`].
static CALL: Key = Key::new();

/// A call that has not come to its routine.
struct Call {
    before: u64,
    routine: Routine,
    /// How the program's thread is cancelled.
    kind: c_int,
    holds: Option<Holds>,
}
impl Drop for Call {
    fn drop(&mut self) {
        CALL.set(self.before);
    }
}

/// Stands for the routine: lets go of what is held, and runs it.
///
/// # Safety
/// The C library calls it from within [`once`], in the same thread: `CALL` has the address of a call that is there.
unsafe extern "C-unwind" fn begin() {
    let call = core::ptr::with_exposed_provenance_mut::<Call>(CALL.get() as usize);
    // SAFETY: this thread's, which is in `once` and waits for us.
    let (routine, kind) = unsafe {
        (*call).holds = None;
        CALL.set((*call).before);
        ((*call).routine, (*call).kind)
    };
    // SAFETY: the program's own.
    cancel::as_it_was(kind, || unsafe { routine() });
}

/// Makes a call for a control that is not done, with the control held until a routine runs.
///
/// # Safety
/// As the C library's.
unsafe fn once<R: Copy>(
    control: *mut c_int,
    routine: Routine,
    kind: c_int,
    call: impl Fn(Routine) -> R,
) -> R {
    if !CALL.is_there() {
        return cancel::as_it_was(kind, || call(routine));
    }
    let mut holds = Holds::new();
    holds.one(control);
    let mut of = Call { before: CALL.get(), routine, kind, holds: Some(holds) };
    CALL.set((&raw mut of).expose_provenance() as u64);
    call(begin)
}

/// Whether nobody waits: it is done, or not managed.
///
/// # Safety
/// As the C library's.
unsafe fn is_plain(control: *mut c_int) -> bool {
    // SAFETY: the caller's promise.
    !raw::owns(control.cast_const().cast())
        || unsafe { AtomicI32::from_ptr(control) }.load(Acquire) & DONE != 0
}

macro_rules! onces {
    ($(fn $name:ident $(-> $ret:ty = $missing:expr)?;)+) => {
        crate::names::reals! { real, resolve_functions: $($name)+ }

        $(
            /// The C library's function of this name, with a control in managed memory held while it waits.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name(control: *mut c_int, routine: Routine) $(-> $ret)? {
                let at = real::$name.address();
                if at == 0 {
                    return $($missing)?;
                }
                // SAFETY: the function of this name and type; the arguments are the caller's.
                unsafe {
                    let f: unsafe extern "C-unwind" fn(*mut c_int, Routine) $(-> $ret)? =
                        core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                    if is_plain(control) {
                        return f(control, routine);
                    }
                    cancel::deferred(|kind| once(control, routine, kind, |routine| f(control, routine)))
                }
            }
        )+
    };
}

onces! {
    fn pthread_once -> c_int = libc::ENOSYS;
    fn call_once;
}

/// Looks up what this file needs.
pub fn resolve() {
    resolve_functions();
    CALL.make();
}
