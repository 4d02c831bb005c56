//! The drivers' functions behind ours, and how a program comes by ours: as ordinary symbols if it is linked to a driver;
//! by dlsym, or by the driver's own `GetProcAddress`, if it (or the runtime library inside of it) looks them up. Those are
//! answered with our functions where name, version and flags are known to stand for their type; everything else passes.
//! Any thread; no driver is loaded here.

use super::drivers;
use crate::names;
use core::arch::naked_asm;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::*};

/// A driver was looked into and does not have it.
const MISSING: usize = 1;

/// A function of a driver: found once, then a load.
pub struct Function {
    name: &'static CStr,
    libraries: &'static [&'static CStr],
    at: AtomicUsize,
}

impl Function {
    /// The function of that name in the first of the libraries that is loaded.
    pub const fn new(libraries: &'static [&'static CStr], name: &'static CStr) -> Function {
        Function { name, libraries, at: AtomicUsize::new(0) }
    }

    /// Its address, 0 if there is none.
    #[inline]
    pub fn address(&self) -> usize {
        match self.at.load(Acquire) {
            0 => self.look_up(),
            MISSING => 0,
            at => at,
        }
    }

    /// Takes an address that a program was given, if there is no other.
    fn learn(&self, at: usize) {
        drivers::note(at);
        if self.address() == 0 {
            self.at.store(at, Release);
        }
    }

    #[cold]
    fn look_up(&self) -> usize {
        let saved = names::errno();
        let mut known = false;
        // SAFETY: C strings. Nothing is loaded; a handle is kept, as the address is.
        let at = unsafe {
            let mut at = find(libc::RTLD_NEXT, self.name);
            for library in self.libraries {
                if !at.is_null() {
                    break;
                }
                let handle = libc::dlopen(library.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
                if !handle.is_null() {
                    known = true;
                    at = find(handle, self.name);
                }
            }
            if at.is_null() {
                libc::dlerror(); // what failed is not the program's
            }
            at.expose_provenance()
        };
        drivers::note(at);
        if at != 0 || known {
            self.at.store(if at == 0 { MISSING } else { at }, Release);
        }
        names::set_errno(saved);
        at
    }
}

/// One of our functions, and what it stands for.
pub struct Entry {
    /// The name with its version.
    pub name: &'static CStr,
    /// Our function.
    pub ours: Ours,
    /// The driver's.
    pub function: &'static Function,
}

/// The address of a function.
pub struct Ours(pub *const ());

// SAFETY: the address of code, which is nobody's.
unsafe impl Sync for Ours {}

impl Entry {
    /// Our function's address.
    pub fn address(&self) -> usize {
        self.ours.0.expose_provenance()
    }
}

/// What a function answers whose driver is not there: both drivers' NOT_INITIALIZED.
pub const NOT_THERE: i32 = 3;

/// Calls a function of a driver that has none of ours: `Some` of its answer, or `None` if it is not there. Unsafe as the
/// function is.
macro_rules! plain {
    ($libraries:expr, $name:literal, fn($($type:ty),*), ($($arg:expr),* $(,)?)) => {{
        static FUNCTION: $crate::gpu::symbols::Function =
            $crate::gpu::symbols::Function::new($libraries, $name);
        match FUNCTION.address() {
            0 => None,
            at => {
                let f: unsafe extern "C" fn($($type),*) -> i32 =
                    core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                Some(f($($arg),*))
            }
        }
    }};
}

/// Defines exported functions in front of a driver's, and the list of them, `ENTRIES`. Several names share a body: `real` is the driver's function of the
/// name called, `per_thread` whether in it a stream of NULL is the calling thread's. The libraries are `LIBRARIES`.
macro_rules! wraps {
    ($($($name:ident)/+ fn $args:tt => $real:ident, $per_thread:ident $body:block)+) => {
        $($($crate::gpu::symbols::wraps!(@one $name $args $real $per_thread $body);)+)+

        /// The functions above.
        pub static ENTRIES: &[$crate::gpu::symbols::Entry] = &[$($($crate::gpu::symbols::Entry {
            name: $name::C_NAME,
            ours: $crate::gpu::symbols::Ours($name as *const ()),
            function: &$name::FUNCTION,
        }),+),+];
    };
    (@one $name:ident ($($arg:ident: $type:ty),* $(,)?) $real:ident $per_thread:ident $body:block) => {
        /// The driver's function of this name.
        ///
        /// # Safety
        /// As the driver's.
        #[allow(non_snake_case, clippy::too_many_arguments, reason = "the driver's")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> i32 {
            let at = $name::FUNCTION.address();
            if at == 0 {
                return $crate::gpu::symbols::NOT_THERE;
            }
            #[allow(unused_variables, reason = "not every body asks")]
            let $per_thread = $name::PER_THREAD;
            // SAFETY: the function of this name and type; the arguments are the caller's.
            unsafe {
                let $real: unsafe extern "C" fn($($type),*) -> i32 =
                    core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                $body
            }
        }
        #[allow(non_snake_case, reason = "named as the function")]
        mod $name {
            const NAME: &str = concat!(stringify!($name), "\0");
            pub const PER_THREAD: bool = $crate::gpu::symbols::is_per_thread(stringify!($name));
            pub const C_NAME: &core::ffi::CStr = match core::ffi::CStr::from_bytes_with_nul(NAME.as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!(),
            };
            pub static FUNCTION: $crate::gpu::symbols::Function =
                $crate::gpu::symbols::Function::new(super::LIBRARIES, C_NAME);
        }
    };
}

pub(crate) use {plain, wraps};

/// Whether a name is that of a function whose NULL stream is the calling thread's.
pub const fn is_per_thread(name: &str) -> bool {
    let name = name.as_bytes();
    let [.., b'_', b'p', b't', third, b'z' | b's'] = name else {
        return matches!(name, [.., b'_', b's', b'p', b't']);
    };
    matches!(third, b's' | b'd')
}

/// Our functions of the driver that names begin like that.
fn entries_of(name: &CStr) -> &'static [&'static [Entry]] {
    match name.to_bytes() {
        [b'c', b'u', ..] => super::cuda::ENTRIES,
        [b'h', b'i', b'p', ..] => super::hip::ENTRIES,
        _ => &[],
    }
}

/// Our function in the place of one that a driver gave out: the one whose driver's function that is, or else the one of
/// that name, if `name` says which that is. 0: none.
pub fn instead_of(entries: &'static [&'static [Entry]], at: usize, name: Option<&CStr>) -> usize {
    let mut all = entries.iter().copied().flatten();
    if let Some(entry) = all.clone().find(|e| e.function.address() == at) {
        return entry.address();
    }
    match name.and_then(|name| all.find(|e| e.name == name)) {
        Some(entry) => {
            entry.function.learn(at);
            entry.address()
        }
        None => 0,
    }
}

/// What the hook does: answers, or jumps on with the arguments as they were.
#[repr(C)]
struct Next {
    answer: usize,
    jump: usize,
}

/// dlsym(3). The C library's own looks at its caller, so this jumps to it and is not seen.
///
/// # Safety
/// As the C library's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "endbr64",
        "push rdi",
        "push rsi",
        "mov rdx, [rsp + 16]",
        "sub rsp, 8",
        "call {decide}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rdx, rdx",
        "jz 2f",
        "jmp rdx",
        "2: ret",
        decide = sym decide,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aarch64/dlsym.s")),
        decide = sym decide,
    );
}

/// The C library's dlsym, by the version that every one has.
fn real_dlsym() -> usize {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    const VERSION: &CStr = if cfg!(target_arch = "x86_64") { c"GLIBC_2.2.5" } else { c"GLIBC_2.17" };
    if REAL.load(Relaxed) == 0 {
        // SAFETY: C strings.
        let at = unsafe { libc::dlvsym(libc::RTLD_NEXT, c"dlsym".as_ptr(), VERSION.as_ptr()) };
        REAL.store(at.expose_provenance(), Relaxed);
    }
    REAL.load(Relaxed)
}

/// What the C library's dlsym finds: not what another library makes of it that stands before this one, and asks us again.
///
/// # Safety
/// A handle, as dlsym takes it.
unsafe fn find(handle: *mut c_void, name: &CStr) -> *mut c_void {
    match real_dlsym() {
        0 => core::ptr::null_mut(),
        // SAFETY: the C library's function of that type; the handle is the caller's.
        real => unsafe {
            let f: unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void =
                core::mem::transmute(core::ptr::with_exposed_provenance::<()>(real));
            f(handle, name.as_ptr())
        },
    }
}

/// # Safety
/// `name` is NULL or a C string.
unsafe extern "C" fn decide(handle: *mut c_void, name: *const c_char, caller: usize) -> Next {
    let real = real_dlsym();
    let pass = Next { answer: 0, jump: real };
    // Where the search is by scope it finds ours by itself.
    if real == 0 || name.is_null() || handle == libc::RTLD_DEFAULT || handle == libc::RTLD_NEXT {
        return pass;
    }
    // SAFETY: a C string, by the caller's promise; byte by byte up to its end.
    let begins = unsafe {
        matches!((*name as u8, *name.cast::<u8>().add(usize::from(*name != 0))), (b'c', b'u') | (b'h', b'i'))
    };
    if !begins || names::is_ours(caller) {
        return pass;
    }
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name) };
    let Some(entry) = entries_of(name).iter().copied().flatten().find(|e| e.name == name) else {
        return pass;
    };
    // SAFETY: the handle is the caller's.
    let at = unsafe { find(handle, name) }.expose_provenance();
    if at == 0 || at == entry.address() {
        return pass;
    }
    entry.function.learn(at);
    Next { answer: entry.address(), jump: 0 }
}

/// The number of the calling thread, which is not soon another's.
pub fn thread() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// Reads what is readable of the bytes from `at` on; how many those are.
pub fn peek(at: usize, into: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: core::ptr::with_exposed_provenance_mut(at), iov_len: into.len() };
    // SAFETY: writes at most what `into` has room for; the kernel checks the other side.
    let got = unsafe {
        let saved = names::errno();
        let got = libc::process_vm_readv(libc::getpid(), &local, 1 as _, &remote, 1 as _, 0);
        names::set_errno(saved);
        got
    };
    usize::try_from(got as c_int).unwrap_or(0)
}
