//! Every call to the operating system that this command makes itself, and the system's numbers; nothing else names `libc`.
//! Called from the one thread that there is.

use crate::privilege::Caller;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

pub use libc::{
    EACCES, ENOENT, ENOEXEC, ENOSYS, EPERM, RLIMIT_AS, RLIMIT_MEMLOCK, S_ISGID, S_ISUID, S_IXGRP,
};

fn c(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

/// Sets a variable of the environment.
pub fn set_variable(name: &str, value: &OsStr) {
    // SAFETY: no other thread has been started yet that could read the environment.
    unsafe { std::env::set_var(name, value) };
}

/// Becomes the program in `file`. Signal mask, dispositions and descriptors stay as they were given to us, so that the
/// program gets them. Returns why it could not.
pub fn exec(file: &CStr, words: &[CString]) -> io::Error {
    let words: Vec<_> = words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
    // SAFETY: C strings and an array of them that ends with NULL.
    unsafe { libc::execv(file.as_ptr(), words.as_ptr()) };
    io::Error::last_os_error()
}

/// Whether this process may execute a file, by its mode bits.
pub fn may_execute(file: &Path) -> bool {
    // SAFETY: a C string.
    c(file).is_some_and(|file| unsafe {
        libc::faccessat(libc::AT_FDCWD, file.as_ptr(), libc::X_OK, libc::AT_EACCESS) == 0
    })
}

/// Whose rights this process has.
pub fn caller() -> Caller {
    // SAFETY: no preconditions.
    unsafe {
        Caller {
            user: [libc::getuid(), libc::geteuid()],
            group: [libc::getgid(), libc::getegid()],
            never_gains: libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
        }
    }
}

/// Whether a file has capabilities.
pub fn has_capabilities(file: &Path) -> bool {
    // SAFETY: C strings; no buffer, to be told the length.
    c(file).is_some_and(|file| unsafe {
        libc::getxattr(file.as_ptr(), c"security.capability".as_ptr(), ptr::null_mut(), 0) > 0
    })
}

/// Whether a file lies where programs gain no rights (`nosuid`).
pub fn is_powerless(file: &Path) -> bool {
    let mut data = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a C string and room for the answer, which all-zero bytes are valid for.
    c(file).is_some_and(|file| unsafe {
        libc::statvfs(file.as_ptr(), data.as_mut_ptr()) == 0
            && data.assume_init().f_flag & libc::ST_NOSUID != 0
    })
}

/// A limit of the kind of RLIMIT_AS and RLIMIT_MEMLOCK as it is now; `None`: unlimited.
pub fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the struct is the call's.
    unsafe { libc::getrlimit(resource, &mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Bytes of a page.
pub fn page_size() -> u64 {
    // SAFETY: no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Whether the kernel takes pages out of a mapping that stays (Linux 5.7).
pub fn has_dontunmap() -> bool {
    let len = page_size() as usize;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the mappings are made here, and nobody else knows of them.
    unsafe {
        let at = libc::mmap(ptr::null_mut(), len, access, kind, -1, 0);
        if at == libc::MAP_FAILED {
            return false;
        }
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
        // With this flag there is an address; NULL for any.
        let moved = libc::mremap(at, len, len, flags, ptr::null_mut::<libc::c_void>());
        libc::munmap(at, len);
        if moved == libc::MAP_FAILED {
            return false;
        }
        libc::munmap(moved, len);
    }
    true
}

/// Whether the kernel answers questions about mappings (PROCMAP_QUERY, Linux 6.11).
pub fn has_procmap_query() -> bool {
    const PROCMAP_QUERY: libc::Ioctl = 0xC068_6611_u32 as libc::Ioctl;
    const COVERING_OR_NEXT: u64 = 0x10;
    // struct procmap_query: its size, flags, the address 0, and room for the answer.
    let mut query = [0_u64; 13];
    query[0] = size_of_val(&query) as u64;
    query[1] = COVERING_OR_NEXT;
    let Ok(maps) = File::open("/proc/self/maps") else { return false };
    // SAFETY: the array is as long as it says; another kernel answers ENOTTY.
    unsafe { libc::ioctl(maps.as_raw_fd(), PROCMAP_QUERY, query.as_mut_ptr()) == 0 }
}

/// A userfaultfd by the system call; `user_only`: of a kind that does not answer the kernel's own touches.
pub fn userfaultfd(user_only: bool) -> io::Result<OwnedFd> {
    const UFFD_USER_MODE_ONLY: libc::c_int = 1;
    let flags = libc::O_CLOEXEC | if user_only { UFFD_USER_MODE_ONLY } else { 0 };
    // SAFETY: no pointers; the descriptor is ours.
    unsafe { owned(libc::syscall(libc::SYS_userfaultfd, flags) as libc::c_int) }
}

/// A userfaultfd by the device file.
pub fn userfaultfd_of(device: &File) -> io::Result<OwnedFd> {
    const USERFAULTFD_IOC_NEW: libc::Ioctl = 0xAA00;
    // SAFETY: no pointers; the descriptor is ours.
    unsafe { owned(libc::ioctl(device.as_raw_fd(), USERFAULTFD_IOC_NEW, libc::O_CLOEXEC)) }
}

/// What the kernel's userfaultfd can do: the bits of UFFD_FEATURE_.
pub fn userfaultfd_features(uffd: &OwnedFd) -> io::Result<u64> {
    const UFFDIO_API: libc::Ioctl = 0xC018_AA3F_u32 as libc::Ioctl;
    // struct uffdio_api: the version, features and ioctls.
    let mut api = [0xAA_u64, 0, 0];
    // SAFETY: the array is as long as the struct.
    match unsafe { libc::ioctl(uffd.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()) } {
        0 => Ok(api[1]),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
/// `fd` is nobody else's descriptor, or negative and errno says why.
unsafe fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    match fd {
        // SAFETY: the caller's promise.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
