//! getcontext, setcontext and swapcontext: the kernel reads and writes the masks in their contexts before the C library has touched
//! all of them. They are brought home just before, and held until then, not for the call: a switch comes back at another time, if
//! at all. What leaves in the fraction of a microsecond between is EFAULT. Any context.

use crate::holds::{self, Holds};
use crate::names::{self, Real};
use core::arch::naked_asm;
use core::ffi::c_int;
use hmmrt_core::raw::owns;
use libc::ucontext_t;

crate::names::reals! { real, resolve: getcontext setcontext swapcontext }

/// Defines a function that has another make ready what it is given, and then jumps to the C library's, where that says: the
/// return address and the stack are the caller's. While no device is open it goes there at once.
macro_rules! readied {
    ($name:ident($($arg:ident: $type:ty),+), $ready:ident) => {
        /// The C library's function of this name.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),+) -> c_int {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                "endbr64",
                "mov rax, [rip + {active}]",
                "test rax, rax",
                "jne 2f",
                "mov rax, [rip + {real} + {at}]",
                "test rax, rax",
                "jne 3f",
                "2:",
                "push rdi",
                "push rsi",
                "sub rsp, 8",
                "call {ready}",
                "add rsp, 8",
                "pop rsi",
                "pop rdi",
                "3: jmp rax",
                active = sym hmmrt_core::raw::preload::OPEN,
                real = sym real::$name,
                at = const Real::AT,
                ready = sym $ready,
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aarch64/context.s")),
                active = sym hmmrt_core::raw::preload::OPEN,
                plain = sym real::$name,
                at = const Real::AT,
                ready = sym $ready,
            );
        }
    };
}

readied!(getcontext(to: *mut ucontext_t), ready_to_get);
readied!(setcontext(from: *const ucontext_t), ready_to_set);
readied!(swapcontext(to: *mut ucontext_t, from: *const ucontext_t), ready_to_swap);

extern "C" fn ready_to_get(to: *mut ucontext_t) -> usize {
    ready(to, core::ptr::null(), &real::getcontext)
}

extern "C" fn ready_to_set(from: *const ucontext_t) -> usize {
    ready(core::ptr::null_mut(), from, &real::setcontext)
}

extern "C" fn ready_to_swap(to: *mut ucontext_t, from: *const ucontext_t) -> usize {
    ready(to, from, &real::swapcontext)
}

/// Brings home what is managed of both. Where to go on.
fn ready(to: *mut ucontext_t, from: *const ucontext_t, real: &Real) -> usize {
    let mask = from.wrapping_byte_add(core::mem::offset_of!(ucontext_t, uc_sigmask)).cast::<u64>();
    // Its end may be on another page.
    if owns(to.cast_const().cast()) || owns(to.wrapping_add(1).cast_const().cast()) || owns(mask.cast()) {
        bring(to, mask);
    }
    match real.address() {
        0 => none as *const () as usize,
        at => at,
    }
}

/// Brings home what the C library and the kernel use of both till the mask is set, at the same time.
#[inline(never)] // most contexts are not managed: their stacks need not have room for this
fn bring(to: *mut ucontext_t, mask: *const u64) {
    let saved = names::errno();
    let hold = |h: &mut Holds| {
        // All of it: the C library writes the rest before the kernel does the mask, and would wait for a page of it.
        h.one(to);
        h.reads(mask, size_of::<u64>());
    };
    holds::around(true, hold, || (), |()| false);
    names::set_errno(saved);
}

/// There is no such function.
extern "C" fn none() -> c_int {
    names::set_errno(libc::ENOSYS);
    -1
}
