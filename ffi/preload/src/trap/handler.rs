//! The handler of SIGSYS: makes the program's system call for it. It runs with the program's signal mask, so that what comes
//! meanwhile is handled as if the program itself waited in the kernel: a call is interrupted or goes on as ever.

use super::{actions, entry, spawn};
use crate::{calls, given, names};
use core::ffi::{c_int, c_void};
use libc::{siginfo_t, ucontext_t};

/// `si_code` of what Syscall User Dispatch sends.
const SYS_USER_DISPATCH: c_int = 2;
/// `si_arch` of a 64-bit call.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// The handler. It unwinds: a thread that is cancelled in a call ends there.
///
/// # Safety
/// The kernel calls it, as SIGSYS's handler with SA_SIGINFO: both are the signal's, and the context is what it goes on with.
pub unsafe extern "C-unwind" fn on_signal(_: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let context = context.cast::<ucontext_t>();
    // SAFETY: the kernel's, and nobody else's while this runs.
    unsafe {
        if (*info).si_code != SYS_USER_DISPATCH {
            actions::forward(info, context);
            return;
        }
        let saved = names::errno();
        // si_call_addr, si_syscall, si_arch: after three words.
        let arch = info.cast::<u8>().add(28).cast::<u32>().read();
        let word = |register: c_int| (*context).uc_mcontext.gregs[register as usize] as usize;
        let number = word(libc::REG_RAX) as i64;
        let a = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
            .map(word);
        let answer = match arch {
            AUDIT_ARCH_X86_64 => dispatch(number, a, context),
            // int 0x80: numbers and arguments are others.
            _ => Some(-(libc::ENOSYS as isize)),
        };
        if let Some(answer) = answer {
            (*context).uc_mcontext.gregs[libc::REG_RAX as usize] = answer as i64;
        }
        names::set_errno(saved);
    }
}

/// Makes the call; `None`: the program makes it when this returns, by the stub.
///
/// # Safety
/// As the system call.
unsafe fn dispatch(number: i64, a: [usize; 6], context: *mut ucontext_t) -> Option<isize> {
    const PR_SET_SYSCALL_USER_DISPATCH: usize = 59;
    // SAFETY: the caller's promise.
    let through = |a: [usize; 6]| unsafe { entry::enter(number, &a) };
    // SAFETY: the caller's promise.
    unsafe {
        Some(match number {
            libc::SYS_rt_sigreturn => {
                let stack = (*context).uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
                let back = core::ptr::with_exposed_provenance_mut::<ucontext_t>(stack);
                let mask = (&raw mut (*back).uc_sigmask).cast::<u64>();
                mask.write(calls::keeping(mask.read()));
                entry::leave(stack)
            }
            libc::SYS_rt_sigprocmask => {
                let answer = match actions::is_c_library((*context).uc_mcontext.gregs[libc::REG_RIP as usize])
                {
                    true if a[3] == 8 => calls::change_mask_for_the_c_library(a),
                    _ => calls::perform(number, a, through),
                };
                // The change is to last: the mask that comes back is the context's.
                let mut now = 0_u64;
                let a = [0, 0, (&raw mut now).expose_provenance(), 8, 0, 0];
                if names::bare(libc::SYS_rt_sigprocmask, a) == 0 {
                    (&raw mut (*context).uc_sigmask).cast::<u64>().write(now);
                }
                answer
            }
            libc::SYS_rt_sigaction => {
                actions::set(a, (*context).uc_mcontext.gregs[libc::REG_RIP as usize] as usize)
            }
            libc::SYS_sigaltstack => alternate_stack(a, context),
            libc::SYS_clone | libc::SYS_clone3 | libc::SYS_vfork | libc::SYS_fork => {
                return spawn::call(number, a, context);
            }
            // This thread's is in use; as before Linux 5.11.
            libc::SYS_prctl if a[0] == PR_SET_SYSCALL_USER_DISPATCH => -(libc::EINVAL as isize),
            _ => calls::perform(number, a, through),
        })
    }
}

/// sigaltstack(2): the kernel sets what the context says when the handler returns.
///
/// # Safety
/// As the system call.
unsafe fn alternate_stack(a: [usize; 6], context: *mut ucontext_t) -> isize {
    // SAFETY: the kernel sees copies; the context is its own.
    unsafe {
        let new = match a[0] {
            0 => None,
            at => match given::read(core::ptr::with_exposed_provenance::<libc::stack_t>(at)) {
                None => return -(libc::EFAULT as isize),
                new => new,
            },
        };
        let mut old: libc::stack_t = core::mem::zeroed();
        if let Some(new) = new.filter(|new| new.ss_flags & libc::SS_DISABLE == 0) {
            calls::keep(new.ss_sp, new.ss_size);
        }
        let given = new.as_ref().map_or(0, |new| core::ptr::from_ref(new).expose_provenance());
        let answer =
            names::bare(libc::SYS_sigaltstack, [given, (&raw mut old).expose_provenance(), 0, 0, 0, 0]);
        if answer == 0 {
            if let Some(new) = new {
                (*context).uc_stack = new;
            }
            if a[1] != 0 && !given::write(core::ptr::with_exposed_provenance_mut(a[1]), old) {
                return -(libc::EFAULT as isize);
            }
        }
        answer
    }
}
