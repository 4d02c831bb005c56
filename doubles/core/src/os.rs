//! The operating system's calls: mappings, memory of the program through the kernel, threads without signals, and what is
//! run at fork and exit. Nothing else here names `libc`.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

/// A new private mapping, at `hint` if that is free, without access or writable; nothing is replaced. `None`: there is no room.
pub(crate) fn map(hint: u64, len: usize, writable: bool) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let prot = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
    // SAFETY: a new mapping; the hint makes it replace nothing.
    let at = unsafe { libc::mmap(hint as *mut c_void, len, prot, flags, -1, 0) };
    (at != libc::MAP_FAILED).then_some(at.cast())
}

/// Takes mappings away.
///
/// # Safety
/// What is there is the caller's, and nobody uses it any more.
pub(crate) unsafe fn unmap(at: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(at.cast(), len) };
}

/// Makes pages readable and writable. Whether it worked.
///
/// # Safety
/// They are the caller's.
pub(crate) unsafe fn open(at: *mut u8, len: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { libc::mprotect(at.cast(), len, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// Asks for huge pages, which may be refused.
///
/// # Safety
/// The mapping is the caller's.
pub(crate) unsafe fn huge_pages(at: *mut u8, len: usize) {
    // SAFETY: the caller's promise; contents do not change.
    unsafe { libc::madvise(at.cast(), len, libc::MADV_HUGEPAGE) };
}

/// Bytes at both sides of a copy by the kernel.
fn sides(own: *mut u8, theirs: u64, len: usize) -> [libc::iovec; 2] {
    [own.cast(), theirs as *mut c_void].map(|iov_base| libc::iovec { iov_base, iov_len: len })
}

/// The kernel copies what is at `from`, if that can be read: how many bytes, 0 if none.
///
/// # Safety
/// `to` is writable for `len` bytes.
pub(crate) unsafe fn peek(to: *mut u8, from: u64, len: usize) -> usize {
    let [local, remote] = sides(to, from, len);
    // SAFETY: the caller's promise; the kernel checks the other side.
    let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    usize::try_from(got).unwrap_or(0)
}

/// The kernel copies to `to`, if that can be written: how many bytes, 0 if none.
///
/// # Safety
/// `from` is readable for `len` bytes.
pub(crate) unsafe fn poke(to: u64, from: *const u8, len: usize) -> usize {
    let [local, remote] = sides(from.cast_mut(), to, len);
    // SAFETY: the caller's promise; the kernel checks the other side.
    let got = unsafe { libc::process_vm_writev(libc::getpid(), &local, 1, &remote, 1, 0) };
    usize::try_from(got).unwrap_or(0)
}

/// Has functions called in forked children and at exit.
///
/// # Safety
/// Both may be called at any moment, and the library is never unloaded.
pub(crate) unsafe fn at_fork_and_exit(in_child: unsafe extern "C" fn(), at_exit: extern "C" fn()) {
    // SAFETY: the caller's promise.
    unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
        libc::atexit(at_exit);
    }
}

/// All signals are blocked in this thread, and in those that it starts, until this is dropped.
pub(crate) struct Blocked(libc::sigset_t);

impl Blocked {
    pub(crate) fn new() -> Blocked {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both sets are ours; the first is filled before it is used, the second by the call.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
            Blocked(old.assume_init())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: what was before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// This thread's own timed waits end on time: latencies of the settings are short.
pub(crate) fn wait_exactly() {
    // SAFETY: changes nothing else.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}
