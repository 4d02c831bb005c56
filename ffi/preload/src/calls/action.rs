//! rt_sigaction(2) by number: what the kernel is given is a copy without SIGSEGV and SIGBUS in its mask, and for these two the
//! program's action is kept beside the runtime's. Any context.

use super::mask;
use crate::{given, names};
use core::ffi::c_int;
use libc::{SIGBUS, SIGSEGV};

/// The kernel's `struct sigaction`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Action {
    /// A function, or a disposition.
    pub handler: usize,
    /// SA_...
    pub flags: usize,
    /// What a handler returns to.
    pub restorer: usize,
    /// What is blocked meanwhile.
    pub mask: u64,
}
const _: () = assert!(size_of::<Action>() == 32);

/// There is a restorer.
pub const SA_RESTORER: usize = 0x0400_0000;

/// rt_sigaction(2) as the program makes it. `own` sets the action of a signal and gives the one before, both of ours; it answers as the
/// kernel does.
///
/// # Safety
/// As the system call.
pub unsafe fn set(a: [usize; 6], own: impl FnOnce(c_int, Option<&Action>, &mut Action) -> isize) -> isize {
    let (signum, new_at, old_at, size) = (a[0] as c_int, a[1], a[2], a[3]);
    if size != 8 {
        return -(libc::EINVAL as isize);
    }
    // A copy: the kernel sees no memory of the program's.
    let new = match new_at {
        0 => None,
        at => match given::read(core::ptr::with_exposed_provenance::<Action>(at)) {
            None => return -(libc::EFAULT as isize),
            Some(new) => Some(Action { mask: mask::without_faults(new.mask), ..new }),
        },
    };
    let mut old = Action::default();
    let answer = own(signum, new.as_ref(), &mut old);
    if answer == 0 && old_at != 0 && !given::write(core::ptr::with_exposed_provenance_mut(old_at), old) {
        return -(libc::EFAULT as isize);
    }
    answer
}

/// The same by syscall(2), which `call` makes: it may be trapped, too.
///
/// # Safety
/// As the system call.
pub unsafe fn by_number(a: [usize; 6], call: impl Fn([usize; 6]) -> isize) -> isize {
    let own = |signum: c_int, new: Option<&Action>, old: &mut Action| match signum {
        SIGSEGV | SIGBUS => fault(signum, new, old),
        _ => {
            let new = new.map_or(0, |new| core::ptr::from_ref(new).expose_provenance());
            call([a[0], new, core::ptr::from_mut(old).expose_provenance(), 8, 0, 0])
        }
    };
    // SAFETY: the caller's promise.
    unsafe { set(a, own) }
}

/// The program's action for a signal by which faults of ours may come, set without the C library.
pub fn fault(signum: c_int, new: Option<&Action>, old: &mut Action) -> isize {
    // SAFETY: zeroed is a valid action; the kernel's set is the first 8 bytes of the C library's.
    unsafe {
        let mut given: libc::sigaction = core::mem::zeroed();
        let mut before: libc::sigaction = core::mem::zeroed();
        if let Some(new) = new {
            given.sa_sigaction = new.handler;
            given.sa_flags = new.flags as c_int & !(SA_RESTORER as c_int);
            (&raw mut given.sa_mask).cast::<u64>().write(new.mask);
        }
        let pointer = if new.is_some() { &raw const given } else { core::ptr::null() };
        if hmmrt_core::program_sigaction(signum, pointer, &mut before) != 0 {
            return -(names::errno() as isize);
        }
        old.handler = before.sa_sigaction;
        old.flags = before.sa_flags as u32 as usize;
        old.mask = (&raw const before.sa_mask).cast::<u64>().read();
    }
    0
}
