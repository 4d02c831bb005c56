//! fork, vfork, clone and clone3. A child with memory of its own is made here, in the handler, and returns from it like its
//! parent, to the stack that the call names. One that shares the memory would run on the handler's stack, or begin on another: that call is made by the stub,
//! when the handler has returned, with the program's registers.

use super::entry::{self, Slot};
use crate::{calls, given};
use core::ffi::c_long;
use core::mem::MaybeUninit;
use libc::ucontext_t;

const CLONE_VM: u64 = 0x100;

/// So many words of clone3's arguments are copied: more than there are in Linux 6.12.
const WORDS: usize = 16;
/// Which of them are the stack's lowest address, and its length.
const STACK: [usize; 2] = [5, 6];

/// The arguments of a call that has its child go on on another stack, for one that goes on on this; `None`: it can't be, or the
/// kernel is to refuse it.
fn without_stack(
    number: c_long,
    mut a: [usize; 6],
    copy: &mut [MaybeUninit<u64>; WORDS],
) -> Option<[usize; 6]> {
    if number == libc::SYS_clone {
        a[1] = 0;
        return Some(a);
    }
    let words = copy.get_mut(..a[1] / 8).filter(|_| a[1].is_multiple_of(8))?;
    if !given::fill(core::ptr::with_exposed_provenance::<u64>(a[0]), words) {
        return None;
    }
    for word in STACK {
        // SAFETY: filled.
        if unsafe { core::mem::replace(words.get_mut(word)?, MaybeUninit::new(0)).assume_init() } == 0 {
            return None;
        }
    }
    a[0] = words.as_ptr().expose_provenance();
    Some(a)
}

/// Makes the call, or leaves it to the stub.
///
/// # Safety
/// As the system call.
pub unsafe fn call(number: c_long, a: [usize; 6], context: *mut ucontext_t) -> Option<isize> {
    let (flags, stack) = calls::fork::asked(number, a).unwrap_or((0, 0)); // to be refused
    // SAFETY: the caller's promise; the context is the kernel's.
    unsafe {
        calls::fork::keep_stack(stack as usize);
        let snapshot = calls::fork::has_snapshot(flags);
        let mut copy = [const { MaybeUninit::uninit() }; WORDS];
        let without = if stack == 0 { Some(a) } else { without_stack(number, a, &mut copy) };
        if let Some(without) = without.filter(|_| snapshot || flags & CLONE_VM == 0 && stack == 0) {
            let enter = || {
                let answer = entry::enter(number, &without);
                if answer == 0 {
                    Slot::forget_all();
                    entry::enable();
                    if stack != 0 {
                        (*context).uc_mcontext.gregs[libc::REG_RSP as usize] = stack as i64;
                    }
                }
                answer
            };
            return Some(match snapshot {
                true => calls::fork::forking(calls::fork::shares_files(number, a), enter),
                false => enter(),
            });
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
