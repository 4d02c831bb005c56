//! Stacks in reserve. The fault path needs 4 KiB, and up to 5 where a call fails, beside the kernel's frame; programs have
//! alternate stacks that are not much larger than that frame (MINSIGSTKSZ), and below them is memory of theirs. There the
//! answer to a fault is found on one of the stacks here, and all else of the handler is small. Called by `segv`. Signal-safe.

use super::{futex, kernel};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// What must be left of an alternate stack, or a stack of these is used. (A test measures what is needed where no call fails.)
const ENOUGH: usize = 6144;
/// As many threads at a time; a fault that waits for a kernel keeps its stack.
const COUNT: usize = 64;
/// Room for a second fault inside of the first ([`staying`]), whose frame is 11 KiB where the processor has tiles.
const SIZE: usize = 32 << 10;

#[repr(C, align(64))]
struct Stack(core::cell::UnsafeCell<[u8; SIZE]>);

// SAFETY: a stack belongs to the thread that has set its bit.
unsafe impl Sync for Stack {}

static STACKS: [Stack; COUNT] = [const { Stack(core::cell::UnsafeCell::new([0; SIZE])) }; COUNT];
/// A bit for each that is in use.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// Goes up when one is given back where none was left.
static RETURNS: AtomicU32 = AtomicU32::new(0);

/// Whether the signal that brought `context` has left too little of the alternate stack that we are on.
pub(crate) fn is_needed(context: &libc::ucontext_t) -> bool {
    let stack = &context.uc_stack;
    let here = core::ptr::from_ref(&stack).expose_provenance();
    let left = here.wrapping_sub(stack.ss_sp.expose_provenance());
    stack.ss_flags & libc::SS_DISABLE == 0 && left < stack.ss_size && left < ENOUGH
}

/// Calls `what(argument)` on a stack in reserve.
pub(crate) fn call(what: extern "C" fn(*mut ()), argument: *mut ()) {
    let number = take();
    let top = STACKS[number].0.get().expose_provenance() + SIZE;
    // SAFETY: the stack is this thread's alone, and its top is aligned; the function returns to the old one.
    unsafe { switch(top, what, argument) };
    // Who waits has seen that none was left.
    if TAKEN.fetch_and(!(1 << number), SeqCst) == u64::MAX {
        RETURNS.fetch_add(1, SeqCst);
        futex::wake(&RETURNS, i32::MAX);
    }
}

/// Runs `f`, which may fault. On a stack of these the kernel would take the alternate stack for free, and put the second fault's frame
/// where the first handler's is: it has to leave that alone meanwhile.
pub(crate) fn staying<T>(f: impl FnOnce() -> T) -> T {
    let from = STACKS.as_ptr().expose_provenance();
    let here = core::ptr::from_ref(&from).expose_provenance();
    if !(from..from + size_of_val(&STACKS)).contains(&here) {
        return f();
    }
    let off = libc::stack_t { ss_sp: core::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    let mut set = off;
    // SAFETY: two valid structures each time; the thread does not run on the alternate stack.
    let put = |new: &libc::stack_t, old: *mut libc::stack_t| unsafe {
        let new = core::ptr::from_ref(new).expose_provenance();
        kernel::raw(libc::SYS_sigaltstack, [new, old.expose_provenance(), 0, 0, 0, 0]);
    };
    put(&off, &mut set);
    let answer = f();
    put(&set, core::ptr::null_mut());
    answer
}

/// In a forked child: the threads that had the stacks are not there. The one that has forked is in no fault.
pub(crate) fn in_child() {
    TAKEN.store(0, SeqCst);
}

fn take() -> usize {
    loop {
        let seen = RETURNS.load(SeqCst);
        let taken = TAKEN.load(SeqCst);
        let number = taken.trailing_ones() as usize;
        if number == COUNT {
            futex::wait(&RETURNS, seen, Some(1_000_000));
        } else if TAKEN.compare_exchange(taken, taken | 1 << number, SeqCst, Relaxed).is_ok() {
            return number;
        }
    }
}

/// Calls `what(argument)` with the stack that ends at `top`.
///
/// # Safety
/// Nobody else uses that stack, and it is large enough.
#[cfg(target_arch = "x86_64")]
unsafe fn switch(top: usize, what: extern "C" fn(*mut ()), argument: *mut ()) {
    // SAFETY: the caller's promise; a callee keeps r12.
    unsafe {
        core::arch::asm!("xchg rsp, r12", "call {what}", "mov rsp, r12",
            what = in(reg) what, in("rdi") argument, inout("r12") top => _, clobber_abi("C"));
    }
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn switch(top: usize, what: extern "C" fn(*mut ()), argument: *mut ()) {
    // SAFETY: the caller's promise; a callee keeps x20.
    unsafe {
        core::arch::asm!("mov x20, sp", "mov sp, {top}", "blr {what}", "mov sp, x20",
            top = in(reg) top, what = in(reg) what, in("x0") argument, out("x20") _, clobber_abi("C"));
    }
}

#[cfg(all(test, not(hmmrt_standin)))] // what the processor itself does
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    /// What threads had that are not in the child can be had there.
    #[test]
    fn a_child_has_all_of_them() {
        let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        extern "C" fn note(argument: *mut ()) {
            // SAFETY: the caller's word.
            unsafe { *argument.cast::<u32>() += 1 };
        }
        super::super::thread::claim_process();
        TAKEN.store(u64::MAX, SeqCst);
        // SAFETY: the child only counts, and is ended if it waits for ever.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::alarm(120);
                let mut calls = 0_u32;
                (0..COUNT + 1).for_each(|_| call(note, (&raw mut calls).cast()));
                libc::_exit(i32::from(calls as usize != COUNT + 1));
            }
            TAKEN.store(0, SeqCst);
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(status, 0);
        }
    }

    #[test]
    fn every_thread_has_its_own() {
        let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        static INSIDE: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn count(argument: *mut ()) {
            let room = core::hint::black_box([argument as usize; 1000]);
            INSIDE.fetch_add(1, SeqCst);
            std::thread::yield_now();
            assert!(room.iter().all(|word| *word == argument as usize));
            // SAFETY: the caller's number.
            unsafe { *argument.cast::<usize>() += core::hint::black_box(room)[999] & 1 | 1 };
        }
        std::thread::scope(|s| {
            for _ in 0..COUNT + 20 {
                s.spawn(|| {
                    let mut calls = 0_usize;
                    (0..200).for_each(|_| call(count, (&raw mut calls).cast()));
                    assert_eq!(calls, 200);
                });
            }
        });
        assert_eq!(INSIDE.load(SeqCst), 200 * (COUNT + 20));
        assert_eq!(TAKEN.load(SeqCst), 0);
    }
}
