//! The process without its C library: nothing forks or exits that anybody would have to be told of, and signal actions are
//! kept as they are set, but no signal comes.

use crate::sys::signal::Action;
use core::ffi::c_int;
use std::collections::HashMap;
use std::sync::Mutex;

thread_local! {
    static HERE: u8 = const { 0 };
}

/// A number for the calling thread, unique among live threads, never 0.
pub(crate) fn thread_pointer() -> usize {
    HERE.with(|here| core::ptr::from_ref(here).addr())
}

/// A thread of the runtime.
pub(crate) struct Thread(std::thread::JoinHandle<()>);

impl Thread {
    /// Waits for its end.
    pub(crate) fn join(self) {
        let _ = self.0.join();
    }
}

/// Starts a thread.
pub(crate) fn start(
    name: &'static str,
    stack: usize,
    body: Box<dyn FnOnce() + Send>,
) -> std::io::Result<Thread> {
    std::thread::Builder::new().name(name.into()).stack_size(stack).spawn(body).map(Thread)
}

type Handler = Option<unsafe extern "C" fn()>;

/// Nothing forks.
pub(crate) fn at_fork(_prepare: Handler, _parent: Handler, _child: Handler) {}

/// Nothing is left to be brought home for destructors.
pub(crate) fn at_exit(_f: extern "C" fn()) {}

/// It has its user's rights.
pub(crate) fn is_privileged() -> bool {
    false
}

/// The actions that were set.
static ACTIONS: Mutex<Option<HashMap<c_int, Action>>> = Mutex::new(None);

/// sigaction(2): sets and tells.
///
/// # Safety
/// The pointers are null or valid.
pub(crate) unsafe fn sigaction(signum: c_int, act: *const Action, old: *mut Action) -> c_int {
    let mut actions = ACTIONS.lock().unwrap_or_else(|e| e.into_inner());
    let actions = actions.get_or_insert_default();
    // SAFETY: the caller's promise; zeroed is SIG_DFL.
    unsafe {
        if !old.is_null() {
            *old = actions.get(&signum).copied().unwrap_or_else(|| core::mem::zeroed());
        }
        if !act.is_null() {
            actions.insert(signum, *act);
        }
    }
    0
}
