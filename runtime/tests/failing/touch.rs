//! Touches of memory that may end in a signal: the handler says so on standard error, and lets the touch answer that it failed.
//! A signal anywhere else ends the process, as it would have.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl hmmrt_test_read",
    "hmmrt_test_read:",
    "mov rax, [rdi]",
    "xor edx, edx",
    "ret",
    ".globl hmmrt_test_write",
    "hmmrt_test_write:",
    "mov [rdi], rsi",
    "xor edx, edx",
    "ret",
    ".globl hmmrt_test_failed",
    "hmmrt_test_failed:",
    "mov edx, 1",
    "ret",
);
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".globl hmmrt_test_read",
    "hmmrt_test_read:",
    "ldr x0, [x0]",
    "mov x1, #0",
    "ret",
    ".globl hmmrt_test_write",
    "hmmrt_test_write:",
    "str x1, [x0]",
    "mov x1, #0",
    "ret",
    ".globl hmmrt_test_failed",
    "hmmrt_test_failed:",
    "mov x1, #1",
    "ret",
);

/// In two registers.
#[repr(C)]
struct Touched {
    value: u64,
    failed: u64,
}

unsafe extern "C" {
    fn hmmrt_test_read(at: *const u64) -> Touched;
    fn hmmrt_test_write(at: *mut u64, value: u64) -> Touched;
    fn hmmrt_test_failed();
}

/// A signal is what is expected: nothing is said.
static EXPECTED: AtomicBool = AtomicBool::new(false);

/// The word at `at`; `None`: a signal.
pub fn read(at: *const u8) -> Option<u64> {
    // SAFETY: what can't be read is answered by the handler.
    let t = unsafe { hmmrt_test_read(at.cast()) };
    (t.failed == 0).then_some(t.value)
}

/// Writes the word at `at`; whether there was no signal.
pub fn write(at: *mut u8, value: u64) -> bool {
    // SAFETY: the callers' own memory; what can't be written is answered by the handler.
    unsafe { hmmrt_test_write(at.cast(), value).failed == 0 }
}

/// Whether a write of what is there already is a signal, as it should be.
pub fn is_read_only(at: *mut u8) -> bool {
    let Some(value) = read(at) else { return false };
    EXPECTED.store(true, SeqCst);
    let written = write(at, value);
    EXPECTED.store(false, SeqCst);
    !written
}

extern "C" fn on_signal(signum: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel, or the runtime in its place, passes valid structures.
    let (addr, context) = unsafe { ((*info).si_addr() as usize, &mut *context.cast::<libc::ucontext_t>()) };
    #[cfg(target_arch = "x86_64")]
    let pc = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    #[cfg(target_arch = "aarch64")]
    let pc = &mut context.uc_mcontext.pc;
    let touches = [hmmrt_test_read as *const () as usize, hmmrt_test_write as *const () as usize];
    if !touches.contains(&(*pc as usize)) {
        // SAFETY: the default action, which comes when the instruction runs again, or is sent to this thread.
        unsafe {
            libc::signal(signum, libc::SIG_DFL);
            libc::raise(signum);
        }
        return;
    }
    *pc = hmmrt_test_failed as *const () as _;
    if EXPECTED.load(SeqCst) && signum == libc::SIGSEGV {
        return;
    }
    let mut line = *b"caught SIG... at 0x0000000000000000\n";
    line[10..13].copy_from_slice(if signum == libc::SIGBUS { b"BUS" } else { b"SEG" });
    for i in 0..16 {
        line[19 + i] = b"0123456789abcdef"[addr >> (4 * (15 - i)) & 15];
    }
    // SAFETY: the line's own bytes.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}

/// Has this process's SIGBUS and SIGSEGV answered so. Before the runtime starts.
pub fn watch() {
    for signum in [libc::SIGBUS, libc::SIGSEGV] {
        // SAFETY: a handler of the right kind, that calls only what a handler may.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            assert_eq!(libc::sigaction(signum, &action, std::ptr::null_mut()), 0);
        }
    }
}
