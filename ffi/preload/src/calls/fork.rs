//! Children with memory of their own: fork(3) has handlers, the runtime's among them; for what runs none the runtime is told
//! here. A child of a call that shares the memory (vfork, a thread) is no matter of this file. And the handlers that other
//! libraries register: the runtime's own have to be there first, to run last.

use crate::{given, names, spare};
use core::ffi::{c_int, c_long, c_void};
use core::sync::atomic::{AtomicBool, Ordering::*};
use hmmrt_core::raw::preload;
use libc::pid_t;

const CLONE_VM: u64 = 0x100;
const CLONE_FILES: u64 = 0x400;
const CLONE_SETTLS: u64 = 0x8_0000;

/// The head of `struct clone_args` (linux/sched.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    flags: u64,
    _ids: [u64; 4],
    /// Its lowest address; `clone`'s is the one after its highest.
    stack: u64,
    size: u64,
}

/// Flags and the stack's end of a call that makes a thread or a process; `None`: another call, or one to be refused.
pub fn asked(number: c_long, a: [usize; 6]) -> Option<(u64, u64)> {
    match number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork => Some((0, 0)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork => Some((CLONE_VM, 0)),
        libc::SYS_clone3 if a[0] != 0 && a[1] >= size_of::<Arguments>() => {
            let arguments = given::read(core::ptr::with_exposed_provenance::<Arguments>(a[0]))?;
            Some((arguments.flags, arguments.stack.wrapping_add(arguments.size)))
        }
        libc::SYS_clone => Some((a[0] as u64, a[1] as u64)),
        _ => None,
    }
}

/// Whether the call makes a child that goes on where its parent is, as the same thread, with a copy of the memory.
pub fn copies_memory(number: c_long, a: [usize; 6]) -> bool {
    asked(number, a).is_some_and(|(flags, stack)| flags & (CLONE_VM | CLONE_SETTLS) == 0 && stack == 0)
}

/// Has the runtime make the child's memory a snapshot around `call`, which answers 0 in the child. Also in signal handlers.
/// `shares_files`: the child's descriptors are the parent's.
pub fn forking(shares_files: bool, call: impl FnOnce() -> isize) -> isize {
    let _spare = (preload::is_active() && preload::may_use_heap()).then(spare::Use::begin);
    preload::forking(shares_files, call)
}

/// Whether that call's child has its parent's descriptors.
pub fn shares_files(number: c_long, a: [usize; 6]) -> bool {
    asked(number, a).is_some_and(|(flags, _)| flags & CLONE_FILES != 0)
}

static FORK: names::Real = names::Real::new(c"_Fork");
static REGISTER: names::Real = names::Real::new(c"__register_atfork");

/// Looks up what this file needs.
pub fn resolve() {
    FORK.address();
    REGISTER.address();
}

/// _Fork(3): fork without handlers; new in glibc 2.34.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _Fork() -> pid_t {
    let at = FORK.address();
    if at == 0 {
        names::set_errno(libc::ENOSYS);
        return -1;
    }
    let mut saved = names::errno();
    let pid = forking(false, || {
        // SAFETY: the function of that name.
        let pid = unsafe {
            let real: unsafe extern "C" fn() -> pid_t =
                core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
            real()
        };
        if pid < 0 {
            saved = names::errno();
        }
        pid as isize
    });
    names::set_errno(saved);
    pid as pid_t
}

type Handler = Option<unsafe extern "C" fn()>;

/// What pthread_atfork(3) calls, which is linked into each library: behind the runtime's own registration.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __register_atfork(
    prepare: Handler,
    parent: Handler,
    child: Handler,
    library: *mut c_void,
) -> c_int {
    static FIRST: AtomicBool = AtomicBool::new(true);
    if FIRST.swap(false, SeqCst) {
        preload::watch_forks(); // comes here again
    }
    let at = REGISTER.address();
    if at == 0 {
        return libc::ENOMEM;
    }
    // SAFETY: the function of that name; the caller's promise.
    unsafe {
        let real: unsafe extern "C" fn(Handler, Handler, Handler, *mut c_void) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
        real(prepare, parent, child, library)
    }
}
