//! Every call to the operating system that the runtime makes, one noun per file. Nothing outside this folder names
//! `libc::`. Functions say in their doc line whether the fault path may call them ("Signal-safe"). In the package `standin`
//! three of the files have others in their place (`standin/`): a kernel of plain Rust, which Miri can look into.

pub(crate) mod chain;
pub(crate) mod clock;
pub(crate) mod decode;
#[cfg_attr(hmmrt_standin, path = "standin/frame.rs")]
pub(crate) mod frame;
pub(crate) mod futex;
#[cfg_attr(hmmrt_standin, path = "standin/gate.rs")]
pub(crate) mod gate;
pub(crate) mod kernel;
pub(crate) mod library;
pub(crate) mod life;
pub(crate) mod limits;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod mark;
pub(crate) mod own_file;
pub(crate) mod pagemap;
mod pending;
#[cfg_attr(hmmrt_standin, path = "standin/process.rs")]
pub(crate) mod process;
pub(crate) mod procmem;
pub(crate) mod program;
#[cfg(feature = "inject")]
pub mod refusal;
pub(crate) mod reserve;
pub(crate) mod segv;
pub(crate) mod sigaction;
pub(crate) mod signal;
pub(crate) mod stderr;
pub(crate) mod thread;
pub(crate) mod tracefile;
pub(crate) mod trial;
pub(crate) mod uffd;
pub(crate) mod vma;

use crate::error::Error;
pub(crate) use process::at_exit;

/// The last OS error of `call`. Signal-safe.
pub(crate) fn os_error(call: &'static str) -> Error {
    Error::System { call, errno: errno() }
}

/// This thread's errno. Signal-safe.
pub(crate) fn errno() -> i32 {
    // SAFETY: glibc's errno location is valid for the life of the thread.
    unsafe { *libc::__errno_location() }
}

/// Sets this thread's errno. Signal-safe.
pub(crate) fn set_errno(value: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value }
}

/// Opens a `/proc` file for reading; the caller closes it with [`close`]. Signal-safe.
#[cfg_attr(feature = "inject", track_caller)]
pub(crate) fn open_read(path: &core::ffi::CStr) -> Option<i32> {
    let fd = kernel::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
    (fd >= 0).then_some(fd)
}

/// Closes a descriptor of ours. Signal-safe.
pub(crate) fn close(fd: i32) {
    kernel::close(fd);
}

/// This process's number, asked of the kernel. Signal-safe.
pub(crate) fn process() -> i32 {
    // SAFETY: no memory is involved.
    unsafe { kernel::raw(libc::SYS_getpid, [0; 6]) as i32 }
}

/// The page size of this machine.
pub(crate) fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// `vm.max_map_count`, or the kernel's default where it can't be read.
pub(crate) fn max_map_count() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|s| s.trim().parse().ok())
        .unwrap_or(65_530)
}

/// Bytes of memory that the kernel could give without swapping; 0 where it does not say.
pub(crate) fn available_memory() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) * 1024
}
