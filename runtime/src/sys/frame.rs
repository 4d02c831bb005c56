//! The program's handler on the program's stack. Our handler runs on the thread's alternate stack, if it has one (a fault
//! may come with no stack left); a handler of the program's without SA_ONSTACK is to run where the program was. So the
//! kernel's signal frame is copied there, and the handler gets it as if the kernel had called it: it may fault in turn,
//! and finds the alternate stack free. Called by `segv` when it chains. Signal-safe. x86-64; elsewhere the handler runs on
//! the alternate stack.

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::call_on_own_stack;

/// Returns when the handler has to be called where we are.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn call_on_own_stack(
    _handler: usize,
    _signum: i32,
    _info: &libc::siginfo_t,
    _context: &libc::ucontext_t,
) {
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::ffi::c_int;

    /// The kernel's part of ucontext_t: up to and with its 8 bytes of signal mask.
    const CONTEXT: usize = 304;
    /// siginfo_t.
    const INFO: usize = 128;
    /// Registers of the x87 and SSE units, which every frame has.
    const LEGACY: usize = 512;
    /// What the kernel leaves above the frame of a function that is running (System V ABI: the red zone).
    const RED_ZONE: usize = 128;
    /// FP_XSTATE_MAGIC1: the frame has more than that, and says how much.
    const MAGIC: u32 = 0x4650_5853;

    core::arch::global_asm!(
        ".globl hmmrt_sigreturn",
        ".hidden hmmrt_sigreturn",
        ".type hmmrt_sigreturn, @function",
        // Unwinders know a signal frame by these very bytes.
        "hmmrt_sigreturn:",
        "mov rax, 15",
        "syscall",
        ".size hmmrt_sigreturn, . - hmmrt_sigreturn",
    );

    unsafe extern "C" {
        fn hmmrt_sigreturn();
    }

    /// Calls the handler on the stack that the signal has interrupted, and does not return: the handler's return ends the
    /// signal. Returns at once when that stack is the one we are on. Nothing of the caller's may need to be dropped.
    pub(crate) fn call_on_own_stack(
        handler: usize,
        signum: c_int,
        info: &libc::siginfo_t,
        context: &libc::ucontext_t,
    ) {
        let alternate = &context.uc_stack;
        let (low, size) = (alternate.ss_sp.expose_provenance(), alternate.ss_size);
        let is_alternate = |sp: usize| sp.wrapping_sub(low) < size;
        let sp = context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
        let here = core::ptr::from_ref(&sp).expose_provenance();
        if alternate.ss_flags & libc::SS_DISABLE != 0 || !is_alternate(here) || is_alternate(sp) {
            return;
        }
        let registers = context.uc_mcontext.fpregs.expose_provenance();
        // SAFETY: the kernel has put the registers there, 512 bytes at least; the last 48 of them are for software, and
        // say how long the whole is.
        let length = unsafe {
            let words = core::ptr::with_exposed_provenance::<u32>(registers + 464);
            if registers != 0 && words.read() == MAGIC { words.add(1).read() as usize } else { LEGACY }
        };
        // Downwards: registers (a multiple of 64), siginfo, context, return address (8 below a multiple of 16).
        let to_registers = (sp - RED_ZONE - length) & !63;
        let frame = ((to_registers - INFO - CONTEXT - 8) & !15) - 8;
        let (to_context, to_info) = (frame + 8, frame + 8 + CONTEXT);
        let bytes = core::ptr::with_exposed_provenance_mut::<u8>;
        // SAFETY: below what the interrupted function uses, where the kernel would have put the frame if the program had
        // asked for it; without room this faults, as that would. The frame has the kernel's layout (arch/x86's struct
        // rt_sigframe): sigreturn takes all from it.
        unsafe {
            let context = core::ptr::from_ref(context).cast::<u8>();
            core::ptr::copy_nonoverlapping(context, bytes(to_context), CONTEXT);
            core::ptr::copy_nonoverlapping(core::ptr::from_ref(info).cast(), bytes(to_info), INFO);
            if registers != 0 {
                core::ptr::copy_nonoverlapping(bytes(registers).cast_const(), bytes(to_registers), length);
                // No reference: the C library's struct is larger than the kernel's, which is what was copied.
                let copied = bytes(to_context).cast::<libc::ucontext_t>();
                (&raw mut (*copied).uc_mcontext.fpregs).write(bytes(to_registers).cast());
            }
            bytes(frame).cast::<usize>().write(hmmrt_sigreturn as *const () as usize);
            core::arch::asm!(
                "mov rsp, {frame}",
                "xor eax, eax",
                "cld",
                "jmp {handler}",
                frame = in(reg) frame,
                handler = in(reg) handler,
                in("rdi") signum as usize,
                in("rsi") to_info,
                in("rdx") to_context,
                options(noreturn),
            );
        }
    }
}
