//! The system calls: mappings of the program's own, fork, and the handler of signals that are not the runtime's.

use core::ffi::{c_int, c_void};
use core::fmt::Write;

/// Readable.
pub const READ: i32 = libc::PROT_READ;
/// Readable and writable.
pub const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
/// For [`hmmrt::raw::mapping::remap`].
pub const MAY_MOVE: i32 = libc::MREMAP_MAYMOVE;

/// The same: to a place that is mapped, and what was moved stays mapped, empty.
pub const BUT_STAYS: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
/// The same, and does not stay.
pub const OVER: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
/// Something that this kernel (before Linux 5.7), or what stands in for it, does not know.
pub const UNKNOWN: i32 = libc::EINVAL;

/// Writes to standard error.
pub fn write_stderr(bytes: &[u8]) {
    // SAFETY: a buffer of that length.
    unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
}

/// Waits.
pub fn sleep_ms(ms: u64) {
    let t = libc::timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 };
    // SAFETY: a valid time.
    unsafe { libc::nanosleep(&t, core::ptr::null_mut()) };
}

/// The calling thread's number, never 0.
pub fn thread() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() as usize }
}

/// Ends the program with SIGABRT, without its handlers.
pub fn abort() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// Private anonymous memory of `len` bytes.
pub fn map(len: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping.
    let p = unsafe { libc::mmap(core::ptr::null_mut(), len, READ_WRITE, flags, -1, 0) };
    assert!(p != libc::MAP_FAILED, "mmap of {len} bytes failed");
    p.cast()
}

/// Runs `f` in a forked child, which ends with its answer; gives the wait status.
pub fn in_child(f: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the child reads and writes memory, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            // What a child does not end within is the parent's failure: the watchdog's.
            libc::_exit(i32::from(f()));
        }
        if pid < 0 {
            return 0; // no room for another process: nothing was checked
        }
        let mut status = 0;
        while libc::waitpid(pid, &mut status, 0) != pid {}
        status
    }
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel's record.
    let (addr, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    if hmmrt::raw::preload::in_child() {
        let _ = writeln!(crate::history::Err2, "signal {signal} (code {code}) at {addr:#x} in a child");
        // SAFETY: ends the child.
        unsafe { libc::_exit(99) };
    }
    crate::history::fail(format_args!("signal {signal} (code {code}) at {addr:#x}"), addr)
}

/// Faults that the runtime does not answer are failures. To be called before it starts, which then chains to this.
pub fn watch_signals() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: a handler of the right kind; zeros are an empty mask.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(signal, &action, core::ptr::null_mut());
        }
    }
}
