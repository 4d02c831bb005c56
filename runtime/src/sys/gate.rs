//! The instruction that enters the kernel. `kernel` and `program` make their calls through it. The one place where the runtime
//! meets the operating system's memory: `standin/gate.rs` takes its place where there is to be none. Signal-safe.

use core::ffi::c_long;

/// The system call `number`, from this library's own code; what the kernel answers, errors as small negative numbers.
///
/// # Safety
/// As the system call.
#[inline]
pub unsafe fn raw(number: c_long, a: [usize; 6]) -> isize {
    let answer: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise; the kernel keeps all registers but these.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number as isize => answer,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") a[0] as isize => answer,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    answer
}
