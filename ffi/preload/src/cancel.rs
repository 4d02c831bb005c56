//! Threads with asynchronous cancellation, in the functions that hold: what unwinds them looks up in each frame with something to let
//! go of which call it has been in, and ends the process where it has been in none. Any thread, any context.

use crate::names;
use core::ffi::c_int;

/// Runs `body` with this thread cancelled at its points for that alone, and tells it how the program has it ([`as_it_was`]). A thread
/// that is cancelled anywhere would end the process in a frame that has something to let go of: such frames are unwound from
/// their calls only. So this one has nothing, nor has what calls it.
#[inline(never)]
pub fn deferred<R: Copy>(body: impl FnOnce(c_int) -> R) -> R {
    /// Not a part of the frame above, whatever it has.
    #[inline(never)]
    fn apart<R>(before: c_int, body: impl FnOnce(c_int) -> R) -> R {
        body(before)
    }
    let before = names::set_cancel_type(names::DEFERRED);
    let answer = apart(before, body);
    if before != names::DEFERRED {
        names::set_cancel_type(before);
    }
    answer
}

/// Makes the program's own call within [`deferred`], with its thread cancelled as the program has it. Has nothing to let go of.
#[inline(never)]
pub fn as_it_was<R: Copy>(kind: c_int, call: impl FnOnce() -> R) -> R {
    if kind == names::DEFERRED {
        return call();
    }
    names::set_cancel_type(kind);
    let answer = call();
    names::set_cancel_type(names::DEFERRED);
    answer
}
