//! Functions with variable arguments, which stable Rust can't define: a few instructions of assembly put the arguments
//! where the platform's `va_list` expects them, and call an ordinary function with it (for aarch64 in `aarch64/`, where tests
//! without Rust's library for it find them). They unwind: what they call are
//! cancellation points. Any thread.

/// What `va_list` is on x86-64: System V ABI, 3.5.7. It is passed by its address.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct List {
    general: u32,
    float: u32,
    stack: *const usize,
    saved: *const u8,
}

/// What `va_list` is on aarch64: AAPCS64, appendix B. It is passed by the address of a copy.
#[cfg(target_arch = "aarch64")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct List {
    stack: *const usize,
    general_top: *const u8,
    float_top: *const u8,
    general: i32,
    float: i32,
}

impl List {
    /// The next argument, a pointer or an integer.
    ///
    /// # Safety
    /// There is one.
    pub unsafe fn next(&mut self) -> usize {
        // SAFETY: the area and the offsets are the assembly's below, or the C compiler's.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if self.general < 48 {
                let at = self.saved.add(self.general as usize).cast::<usize>();
                self.general += 8;
                return at.read();
            }
            #[cfg(target_arch = "aarch64")]
            if self.general < 0 {
                let at = self.general_top.offset(self.general as isize).cast::<usize>();
                self.general += 8;
                return at.read();
            }
            let at = self.stack;
            self.stack = at.add(1);
            at.read()
        }
    }
}

/// Defines an exported function with `$named` arguments and variable ones after them, all of integer class, which calls
/// another with the named ones and a [`List`]. Until a device is open it goes straight to the C library's of its name.
macro_rules! variadic {
    ($($name:ident($named:tt) -> $body:ident;)+) => {
        crate::names::reals! { plain, resolve_variadic: $($name)+ }

        $(
        /// The C library's function of this name.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name() {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "mov r11, [rip + {active}]",
                "test r11, r11",
                "jne 3f",
                "mov r11, [rip + {plain} + {at}]",
                "test r11, r11",
                "je 3f",
                "jmp r11",
                "3:",
                "sub rsp, 216",
                ".cfi_adjust_cfa_offset 216",
                "mov [rsp + 32], rdi",
                "mov [rsp + 40], rsi",
                "mov [rsp + 48], rdx",
                "mov [rsp + 56], rcx",
                "mov [rsp + 64], r8",
                "mov [rsp + 72], r9",
                "test al, al",
                "je 2f",
                "movaps [rsp + 80], xmm0",
                "movaps [rsp + 96], xmm1",
                "movaps [rsp + 112], xmm2",
                "movaps [rsp + 128], xmm3",
                "movaps [rsp + 144], xmm4",
                "movaps [rsp + 160], xmm5",
                "movaps [rsp + 176], xmm6",
                "movaps [rsp + 192], xmm7",
                "2:",
                concat!("mov dword ptr [rsp], 8 * ", $named),
                "mov dword ptr [rsp + 4], 48",
                "lea rax, [rsp + 224]",
                "mov [rsp + 8], rax",
                "lea rax, [rsp + 32]",
                "mov [rsp + 16], rax",
                concat!("mov ", crate::calls::variadic::register!($named), ", rsp"),
                "call {body}",
                "add rsp, 216",
                ".cfi_adjust_cfa_offset -216",
                "ret",
                ".cfi_endproc",
                active = sym hmmrt_core::raw::preload::OPEN,
                plain = sym plain::$name,
                at = const crate::names::Real::AT,
                body = sym $body,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aarch64/variadic.s")),
                active = sym hmmrt_core::raw::preload::OPEN,
                plain = sym plain::$name,
                at = const crate::names::Real::AT,
                named = const $named,
                body = sym $body,
            );
        }
    )+ };
}
pub(crate) use variadic;

/// The register of the argument that follows so many others, on x86-64.
#[cfg(target_arch = "x86_64")]
macro_rules! register {
    (1) => {
        "rsi"
    };
    (2) => {
        "rdx"
    };
    (3) => {
        "rcx"
    };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use register;
