//! What only the C library can do or say for the process: what it calls at fork and exit, signal actions, who the calling
//! thread is, and new threads. `standin/process.rs` has the same names without it.

use super::signal::Action;
use core::ffi::c_int;

/// A number for the calling thread, unique among live threads, never 0. Signal-safe: reads the thread pointer.
#[inline]
pub(crate) fn thread_pointer() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer: usize;
        // SAFETY: the thread control block starts with its own address (System V ABI, TLS variant II): what pthread_self
        // reads, without the call. Every lock takes it.
        unsafe {
            core::arch::asm!("mov {}, fs:0x10", out(reg) pointer, options(nostack, preserves_flags, readonly));
        }
        pointer
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: pthread_self only reads the thread pointer.
    unsafe {
        libc::pthread_self() as usize
    }
}

type Handler = Option<unsafe extern "C" fn()>;

/// Has the handlers called around each fork from now on: before it, ahead of all that were there already; after it in the
/// parent and in the child, behind them.
pub(crate) fn at_fork(prepare: Handler, parent: Handler, child: Handler) {
    // SAFETY: functions that are never unloaded.
    unsafe { libc::pthread_atfork(prepare, parent, child) };
}

/// Runs `f` when the process ends normally, before all that was registered so far; once for each call of this.
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: the function takes nothing and is never unloaded (`-z nodelete`).
    unsafe { libc::atexit(f) };
}

/// Whether this process runs with more rights than its user (setuid): then no variable may name a library.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

unsafe extern "C" {
    /// glibc's own name for sigaction: not interposed by anybody, our own interposer included.
    fn __sigaction(signum: c_int, act: *const Action, old: *mut Action) -> c_int;
}

/// The real sigaction(2). Signal-safe.
///
/// # Safety
/// As sigaction: the pointers are null or valid.
pub(crate) unsafe fn sigaction(signum: c_int, act: *const Action, old: *mut Action) -> c_int {
    // SAFETY: passed through.
    unsafe { __sigaction(signum, act, old) }
}

/// A thread of the runtime.
pub(crate) struct Thread(libc::pthread_t);

impl Thread {
    /// Waits for its end.
    pub(crate) fn join(self) {
        // SAFETY: a thread that was made joinable, once.
        unsafe { libc::pthread_join(self.0, core::ptr::null_mut()) };
        super::thread::forget(self.0 as usize);
        core::mem::forget(self);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: as above; nobody waits for it.
        unsafe { libc::pthread_detach(self.0) };
    }
}

type Body = Box<dyn FnOnce() + Send>;

/// Starts a thread with that much stack. Not by the standard library, whose threads end the process when there is no room for
/// their alternate stacks: here that is an error, or the thread has none.
pub(crate) fn start(name: &'static str, stack: usize, body: Body) -> std::io::Result<Thread> {
    let start = Box::into_raw(Box::new((name, body)));
    // SAFETY: the attributes are made before they are used; the new thread takes what it is to do.
    let (failed, id) = unsafe {
        let mut attributes: libc::pthread_attr_t = core::mem::zeroed();
        libc::pthread_attr_init(&mut attributes);
        libc::pthread_attr_setstacksize(&mut attributes, stack);
        let mut id = core::mem::zeroed();
        let failed = libc::pthread_create(&mut id, &attributes, begin, start.cast());
        libc::pthread_attr_destroy(&mut attributes);
        (failed, id)
    };
    if failed != 0 {
        // SAFETY: there is no thread that would take it.
        drop(unsafe { Box::from_raw(start) });
        return Err(std::io::Error::from_raw_os_error(failed));
    }
    Ok(Thread(id))
}

extern "C" fn begin(start: *mut core::ffi::c_void) -> *mut core::ffi::c_void {
    // SAFETY: `start` has handed it over.
    let (name, body) = *unsafe { Box::from_raw(start.cast::<(&'static str, Body)>()) };
    let mut text = [0_u8; 16];
    text.iter_mut().zip(name.bytes().take(15)).for_each(|(to, byte)| *to = byte);
    // SAFETY: 16 bytes, the last of them 0.
    unsafe { libc::prctl(libc::PR_SET_NAME, text.as_ptr()) };
    // What panics has said so, and ends with its thread, as it would with one of the standard library's.
    let _ = std::panic::catch_unwind(core::panic::AssertUnwindSafe(body));
    core::ptr::null_mut()
}
