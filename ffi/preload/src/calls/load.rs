//! dlopen(3) without RTLD_DEEPBIND: a library that is loaded with it has the C library's functions before this library's, and would
//! give managed blocks to the C library's free. The sanitizers do without it as well. Any thread.

use crate::names::Real;
use crate::settings;
use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicI32, Ordering::*};

static DLOPEN: Real = Real::new(c"dlopen");
/// The flags that are let through.
static FLAGS: AtomicI32 = AtomicI32::new(!libc::RTLD_DEEPBIND);

/// Looks up what this file needs. Where nothing is ever managed, all flags are let through.
pub fn resolve() {
    DLOPEN.address();
    if !settings::is_wanted() {
        FLAGS.store(-1, Relaxed);
    }
}

/// Where to go on.
extern "C" fn address() -> usize {
    match DLOPEN.address() {
        0 => none as *const () as usize,
        at => at,
    }
}

/// There is no such function: older C libraries have it in a library of its own, which is not there.
extern "C" fn none(_: *const c_char, _: c_int) -> *mut c_void {
    core::ptr::null_mut()
}

/// dlopen(3). The C library's own looks at its caller, so this jumps to it and is not seen.
///
/// # Safety
/// As the C library's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "endbr64",
        "and esi, [rip + {flags}]",
        "mov rax, [rip + {real} + {at}]",
        "test rax, rax",
        "jnz 2f",
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {address}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "2: jmp rax",
        flags = sym FLAGS,
        real = sym DLOPEN,
        at = const Real::AT,
        address = sym address,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aarch64/dlopen.s")),
        flags = sym FLAGS,
        real = sym DLOPEN,
        at = const Real::AT,
        address = sym address,
    );
}
