//! What the program does to its mappings. With `HMMRT_ADOPT_MMAP=1` large private anonymous ones are adopted where they
//! are; and whether they are, or belong to blocks of the heap, what is done to managed memory goes through the runtime,
//! which forgets it, brings it home or remembers it first. The runtime's own calls do not come by here: it makes system
//! calls itself. What is not managed costs a look-up and goes on to the C library. Any thread, any time, also before any
//! constructor.

mod advice;
mod caller;
mod protection;

#[cfg(feature = "small-objects")]
pub use caller::is_driver;

use crate::names::{self, Real};
use crate::settings;
use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use hmmrt_core::raw::mapping::{self, Answer};
use libc::{off_t, size_t};

/// Looks up everything that stands behind the functions here, and starts the runtime if mappings are to be adopted: mmap is
/// called where nothing can be allocated.
pub fn start() {
    for real in [&MMAP, &MUNMAP, &MREMAP, &SHMAT] {
        real.address();
    }
    advice::resolve();
    protection::resolve();
    caller::resolve();
    if settings::adopts_mappings()
        && let Err(error) = mapping::prepare()
    {
        settings::refuse_all();
        names::say(&format!("hmmrt error: {error}; no memory is managed\n"));
    }
}

/// The C library's function behind one of ours, called with its arguments.
macro_rules! real {
    ($real:ident: fn($($type:ty),*) -> $ret:ty, $failed:expr; $($arg:expr),*) => {
        match $real.address() {
            0 => {
                crate::names::set_errno(libc::ENOSYS);
                $failed
            }
            at => {
                let f: unsafe extern "C" fn($($type),*) -> $ret =
                    core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                f($($arg),*)
            }
        }
    };
}
use real;

/// What a function of the C library's answers: -1 and errno, or the number.
fn number(answer: Answer) -> c_int {
    match answer {
        Ok(n) => n as c_int,
        Err(error) => {
            names::set_errno(error);
            -1
        }
    }
}

/// As [`number`], for addresses.
fn address(answer: Answer) -> *mut c_void {
    match answer {
        Ok(at) => core::ptr::with_exposed_provenance_mut(at),
        Err(error) => {
            names::set_errno(error);
            libc::MAP_FAILED
        }
    }
}

static MMAP: Real = Real::new(c"mmap");
static MUNMAP: Real = Real::new(c"munmap");
static MREMAP: Real = Real::new(c"mremap");
static SHMAT: Real = Real::new(c"shmat");

/// Defines mmap under a name: it calls `mmap_for` with its six arguments and its return address.
macro_rules! mmap_named {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            at: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t,
        ) -> *mut c_void {
            // The seventh argument is on the stack, which that aligns.
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "push qword ptr [rsp]",
                ".cfi_adjust_cfa_offset 8",
                "call {body}",
                "add rsp, 8",
                ".cfi_adjust_cfa_offset -8",
                "ret",
                ".cfi_endproc",
                body = sym mmap_for
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aarch64/caller.s")),
                after = const 6,
                body = sym mmap_for,
            );
        }
    };
}

mmap_named! {
    /// mmap(2).
    mmap
}
mmap_named! {
    /// mmap(2), by the name for large files.
    mmap64
}

/// Whether a mapping is one that may be managed: private anonymous memory that the program can use as it is, and that
/// nothing expects to stay where it is. What is only reserved is mapped again before it is used, or given a protection;
/// only the first is seen here.
fn may_be_adopted(len: usize, prot: c_int, flags: c_int, caller: usize) -> bool {
    const NOT: c_int = libc::MAP_STACK | libc::MAP_GROWSDOWN | libc::MAP_HUGETLB | libc::MAP_LOCKED;
    settings::is_large(len)
        && settings::adopts_mappings()
        && flags & libc::MAP_TYPE == libc::MAP_PRIVATE
        && flags & libc::MAP_ANONYMOUS != 0
        && flags & NOT == 0
        && prot != libc::PROT_NONE
        && prot & !(libc::PROT_READ | libc::PROT_WRITE) == 0
        && settings::allow(len, caller)
        && settings::is_own_process()
        && !caller::is_driver(caller)
}

/// # Safety
/// As mmap(2): with MAP_FIXED nobody uses what the range has been until now.
unsafe extern "C" fn mmap_for(
    at: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
    caller: usize,
) -> *mut c_void {
    let saved = names::errno();
    let adopt = may_be_adopted(len, prot, flags, caller);
    if flags & libc::MAP_FIXED != 0 && mapping::touches(at.addr(), len) {
        names::set_errno(saved);
        // SAFETY: the caller's promise.
        return address(unsafe { mapping::map_fixed(at.addr(), len, prot, flags, fd, offset, adopt) });
    }
    names::set_errno(saved);
    // SAFETY: the function of this name; the caller's promise.
    let got = unsafe {
        real!(MMAP: fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void, libc::MAP_FAILED;
            at, len, prot, flags, fd, offset)
    };
    if adopt && got != libc::MAP_FAILED {
        // SAFETY: the mapping that has just been made.
        unsafe { mapping::adopt(got.expose_provenance(), len, prot) };
        names::set_errno(saved);
    }
    got
}

/// munmap(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(at: *mut c_void, len: size_t) -> c_int {
    if mapping::touches(at.addr(), len) {
        // SAFETY: the caller's promise.
        return number(unsafe { mapping::unmap(at.addr(), len) });
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe { real!(MUNMAP: fn(*mut c_void, size_t) -> c_int, -1; at, len) }
}

/// mremap(2), whose last argument is there with `MREMAP_FIXED` only.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mremap(
    old: *mut c_void,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    to: *mut c_void,
) -> *mut c_void {
    let fixed = flags & libc::MREMAP_FIXED != 0;
    if mapping::touches(old.addr(), old_len) || fixed && mapping::touches(to.addr(), new_len) {
        // SAFETY: the caller's promise.
        return address(unsafe { mapping::remap(old.addr(), old_len, new_len, flags, to.addr()) });
    }
    // SAFETY: the function of this name; the caller's promise.
    unsafe {
        real!(MREMAP: fn(*mut c_void, size_t, size_t, c_int, *mut c_void) -> *mut c_void, libc::MAP_FAILED;
            old, old_len, new_len, flags, to)
    }
}

/// shmat(2), which with `SHM_REMAP` replaces what is mapped there.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmat(id: c_int, at: *const c_void, flags: c_int) -> *mut c_void {
    // SAFETY: the function of this name; the caller's promise.
    let attach = || unsafe {
        real!(SHMAT: fn(c_int, *const c_void, c_int) -> *mut c_void, libc::MAP_FAILED; id, at, flags)
    };
    if flags & libc::SHM_REMAP == 0 || at.is_null() {
        return attach();
    }
    // SAFETY: the struct is valid; it is written before it is read.
    let len = unsafe {
        let saved = names::errno();
        let mut about: libc::shmid_ds = core::mem::zeroed();
        let known = libc::shmctl(id, libc::IPC_STAT, &mut about) == 0;
        names::set_errno(saved);
        if known { about.shm_segsz } else { 0 }
    };
    let start = if flags & libc::SHM_RND != 0 { at.addr() & !4095 } else { at.addr() };
    if len == 0 || !mapping::touches(start, len) {
        return attach();
    }
    let mut call = || match attach() {
        libc::MAP_FAILED => Err(names::errno()),
        got => Ok(got.expose_provenance()),
    };
    // SAFETY: the call maps the segment there, or fails.
    address(unsafe { mapping::replace(start, len, &mut call) })
}
