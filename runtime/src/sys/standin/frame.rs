//! No signal is delivered here, so no handler is called on another stack.

/// Returns: the handler has to be called where we are.
pub(crate) fn call_on_own_stack(
    _handler: usize,
    _signum: i32,
    _info: &libc::siginfo_t,
    _context: &libc::ucontext_t,
) {
}
