//! fork, vfork, clone and clone3. A child with memory of its own is made here, in the handler, and returns from it like its
//! parent. One that shares the memory would run on the handler's stack, or begin on another: that call is made by the stub,
//! when the handler has returned, with the program's registers.

use super::entry::{self, Slot};
use crate::calls;
use core::ffi::c_long;
use hmmrt_core::raw::preload;
use libc::ucontext_t;

const CLONE_VM: u64 = 0x100;

/// Makes the call, or leaves it to the stub.
///
/// # Safety
/// As the system call.
pub unsafe fn call(number: c_long, a: [usize; 6], context: *mut ucontext_t) -> Option<isize> {
    let (flags, stack) = calls::fork::asked(number, a).unwrap_or((0, 0)); // to be refused
    // SAFETY: the caller's promise; the context is the kernel's.
    unsafe {
        if flags & CLONE_VM == 0 && stack == 0 {
            let enter = || {
                let answer = entry::enter(number, &a);
                if answer == 0 {
                    Slot::forget_all();
                    entry::enable();
                }
                answer
            };
            return Some(match calls::fork::copies_memory(number, a) {
                true => calls::fork::forking(calls::fork::shares_files(number, a), enter),
                false => enter(),
            });
        }
        // A stack must not be away when it is needed to say so.
        let top = core::ptr::with_exposed_provenance::<u8>((stack as usize).wrapping_sub(1));
        if let Some((start, len)) = preload::block(top) {
            calls::keep(core::ptr::with_exposed_provenance_mut(start), len);
        }
        let registers = &mut (*context).uc_mcontext.gregs;
        let r9 = registers[libc::REG_R9 as usize] as usize;
        let users = if flags & CLONE_VM != 0 { 2 } else { 1 };
        let Some(slot) = Slot::take(users, r9, registers[libc::REG_RIP as usize] as usize) else {
            return Some(-(libc::EAGAIN as isize));
        };
        registers[libc::REG_R9 as usize] = core::ptr::from_ref(slot).expose_provenance() as i64;
        registers[libc::REG_RIP as usize] = entry::stub as *const () as i64;
        None
    }
}
