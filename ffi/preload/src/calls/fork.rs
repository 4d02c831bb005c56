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
    asked(number, a).is_some_and(|(flags, stack)| has_snapshot(flags) && stack == 0)
}

/// Whether the child of a call with these flags has a copy of the memory, and goes on as the same thread.
pub fn has_snapshot(flags: u64) -> bool {
    flags & (CLONE_VM | CLONE_SETTLS) == 0
}

/// Keeps the managed block that a stack is in on the host, until it is freed: a stack must not be away when it is needed to say
/// so. `top`: the address after its highest.
pub fn keep_stack(top: usize) {
    let last = core::ptr::with_exposed_provenance::<u8>(top.wrapping_sub(1));
    if let Some((start, len)) = preload::block(last) {
        super::keep(core::ptr::with_exposed_provenance_mut(start), len);
    }
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
static CLONE: names::Real = names::Real::new(c"clone");
static REGISTER: names::Real = names::Real::new(c"__register_atfork");

/// Looks up what this file needs.
pub fn resolve() {
    FORK.address();
    CLONE.address();
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

/// What a child of clone(3) calls.
type Function = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;
/// The type of clone(3) with all of its arguments. Those after the fourth may be missing: they are passed as if it had no variable
/// ones, and what is in their places goes on to the C library's, which looks at them as the flags say.
type Clone = unsafe extern "C-unwind" fn(
    Option<Function>,
    *mut c_void,
    c_int,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> c_int;

/// What the child finds in its copy of its parent's stack.
struct Child {
    function: Function,
    argument: *mut c_void,
    shares_files: bool,
    spare: Option<spare::Use>,
}

impl Child {
    /// Its first function, on its own stack.
    ///
    /// # Safety
    /// `child` is one, which nobody else uses in this copy of the memory.
    unsafe extern "C-unwind" fn start(child: *mut c_void) -> c_int {
        // SAFETY: the caller's promise; the parent, which drops its own, is not here.
        unsafe {
            let Child { function, argument, shares_files, spare } = child.cast::<Child>().read();
            preload::forked(Some(shares_files));
            drop(spare);
            function(argument)
        }
    }
}

/// clone(2) as the C library has it, with a function and a stack for the child. A managed stack is pinned to the host until it is
/// freed; a child with a copy of the memory has a snapshot.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn clone(
    function: Option<Function>,
    stack: *mut c_void,
    flags: c_int,
    argument: *mut c_void,
    parent_id: *mut c_void,
    tls: *mut c_void,
    child_id: *mut c_void,
) -> c_int {
    let at = CLONE.address();
    if at == 0 {
        names::set_errno(libc::ENOSYS);
        return -1;
    }
    // SAFETY: the function of that name and its type.
    let real: Clone = unsafe { core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at)) };
    let saved = names::errno();
    keep_stack(stack.expose_provenance());
    names::set_errno(saved);
    let with_snapshot = function.filter(|_| !stack.is_null() && has_snapshot(flags as u32 as u64));
    let Some(function) = with_snapshot else {
        // SAFETY: the caller's arguments and promise.
        return unsafe { real(function, stack, flags, argument, parent_id, tls, child_id) };
    };
    let spare = (preload::is_active() && preload::may_use_heap()).then(spare::Use::begin).flatten();
    let shares_files = flags as u64 & CLONE_FILES != 0;
    let begun = preload::before_fork();
    let mut child = Child { function, argument, shares_files, spare };
    // SAFETY: the caller's promise; the child finds what is here where it was.
    let answer = unsafe {
        match begun {
            true => {
                let child = (&raw mut child).cast();
                real(Some(Child::start), stack, flags, child, parent_id, tls, child_id)
            }
            false => real(Some(function), stack, flags, argument, parent_id, tls, child_id),
        }
    };
    let saved = if answer < 0 { names::errno() } else { saved };
    if begun {
        preload::forked(None);
    }
    drop(child);
    names::set_errno(saved);
    answer
}

/// The same, by its other name.
///
/// # Safety
/// As [`clone`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __clone(
    function: Option<Function>,
    stack: *mut c_void,
    flags: c_int,
    argument: *mut c_void,
    parent_id: *mut c_void,
    tls: *mut c_void,
    child_id: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { clone(function, stack, flags, argument, parent_id, tls, child_id) }
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
