//! The assembly: the system calls that trapping lets through because they are made here, the way back from a signal, and the
//! stub that makes a thread or a child. x86-64.

use core::arch::naked_asm;
use core::ffi::c_long;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

/// Where calls are let through: this library's first address, and its length.
pub static ALLOWED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

const PR_SET_SYSCALL_USER_DISPATCH: usize = 59;
const PR_SYS_DISPATCH_ON: usize = 1;

/// Has the calling thread's system calls trapped. 0, or the kernel's error.
pub fn enable() -> isize {
    let (start, len) = (ALLOWED[0].load(Relaxed), ALLOWED[1].load(Relaxed));
    let a = [PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, start, len, 0, 0];
    // SAFETY: no memory is involved.
    unsafe { crate::names::bare(libc::SYS_prctl, a) }
}

/// Makes the call and gives the kernel's answer. A function of its own, and not inline: a thread that is cancelled in it
/// unwinds through a call, which the compiler expects.
///
/// # Safety
/// As the system call.
#[unsafe(naked)]
pub unsafe extern "C-unwind" fn enter(number: c_long, a: *const [usize; 6]) -> isize {
    naked_asm!(
        ".cfi_startproc",
        "mov rax, rdi",
        "mov rcx, rsi",
        "mov rdi, [rcx]",
        "mov rsi, [rcx + 8]",
        "mov rdx, [rcx + 16]",
        "mov r10, [rcx + 24]",
        "mov r8, [rcx + 32]",
        "mov r9, [rcx + 40]",
        "syscall",
        "ret",
        ".cfi_endproc",
    );
}

/// Where the handler of SIGSYS returns to. These bytes and no unwind information: that is how unwinders and debuggers know
/// a signal's frame.
///
/// # Safety
/// It is never called: a handler of the kernel's making returns here, with the signal's frame on the stack.
#[unsafe(naked)]
pub unsafe extern "C" fn restorer() {
    naked_asm!("mov rax, 15", "syscall");
}

/// rt_sigreturn(2) with the stack pointer that the program has made it with.
///
/// # Safety
/// A signal's frame is there.
#[unsafe(naked)]
pub unsafe extern "C" fn leave(stack: usize) -> ! {
    naked_asm!("mov rsp, rdi", "mov eax, 15", "syscall", "ud2");
}

/// What the stub needs while there is no stack that it may use: a child of vfork writes over what its parent has left there,
/// and a thread begins on one of its own.
#[repr(C, align(128))]
pub struct Slot {
    /// The register that the slot's address is in.
    r9: AtomicUsize,
    back: AtomicUsize,
    /// Who still has to read it: parent and child.
    users: AtomicU32,
    saved: [AtomicUsize; 5],
}

const SLOTS: usize = 256;
static POOL: [Slot; SLOTS] = [const {
    Slot {
        r9: AtomicUsize::new(0),
        back: AtomicUsize::new(0),
        users: AtomicU32::new(0),
        saved: [const { AtomicUsize::new(0) }; 5],
    }
}; SLOTS];

impl Slot {
    /// A free one, for a call that goes on at `back`, in so many that see the same slot.
    pub fn take(users: u32, r9: usize, back: usize) -> Option<&'static Slot> {
        let slot = POOL.iter().find(|s| s.users.compare_exchange(0, users, Acquire, Relaxed).is_ok())?;
        slot.r9.store(r9, Relaxed);
        slot.back.store(back, Release);
        Some(slot)
    }

    /// In a forked child nobody else is there.
    pub fn forget_all() {
        POOL.iter().for_each(|s| s.users.store(0, Relaxed));
    }
}

/// Makes the call that is in the registers, all of them the program's but r9, which has a slot's address, and goes on
/// where the program made it. rcx and r11 are what a system call does not keep. In the child, trapping is set up first.
///
/// # Safety
/// It is never called, but jumped to with the registers as said; the slot is taken for all who will come by here.
#[unsafe(naked)]
pub unsafe extern "C" fn stub() {
    naked_asm!(
        "syscall",
        "mov r11, r9",
        "test rax, rax",
        "jz 2f",
        "mov rcx, [r11 + 8]",
        "mov r9, [r11]",
        "js 3f",
        "lock dec dword ptr [r11 + 16]",
        "jmp rcx",
        "3:", // there is no child
        "mov dword ptr [r11 + 16], 0",
        "jmp rcx",
        "2:",
        "mov [r9 + 24], rdi",
        "mov [r9 + 32], rsi",
        "mov [r9 + 40], rdx",
        "mov [r9 + 48], r10",
        "mov [r9 + 56], r8",
        "mov eax, 157",
        "mov edi, {set}",
        "mov esi, {on}",
        "mov rdx, [rip + {allowed}]",
        "mov r10, [rip + {allowed} + 8]",
        "xor r8d, r8d",
        "syscall",
        "mov rdi, [r9 + 24]",
        "mov rsi, [r9 + 32]",
        "mov rdx, [r9 + 40]",
        "mov r10, [r9 + 48]",
        "mov r8, [r9 + 56]",
        "mov r11, r9",
        "mov rcx, [r11 + 8]",
        "mov r9, [r11]",
        "lock dec dword ptr [r11 + 16]",
        "xor eax, eax",
        "jmp rcx",
        set = const PR_SET_SYSCALL_USER_DISPATCH,
        on = const PR_SYS_DISPATCH_ON,
        allowed = sym ALLOWED,
    );
}

const _: () = assert!(libc::SYS_prctl == 157 && libc::SYS_rt_sigreturn == 15);
const _: () = assert!(core::mem::offset_of!(Slot, users) == 16 && core::mem::offset_of!(Slot, saved) == 24);
