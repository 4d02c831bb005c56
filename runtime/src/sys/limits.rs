//! Whether a limit of the process or of the machine may refuse another mapping: `mremap` to a given address looks at them only
//! when what was there is gone. Called before every such move. Signal-safe.

use super::kernel;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Whether the kernel counts what is mapped against the machine's memory (`vm.overcommit_memory` = 2): 0 not asked yet, 1 no,
/// 2 yes. Nobody changes that on a machine that runs.
static COUNTED: AtomicU8 = AtomicU8::new(0);

/// Whether `len` bytes with the protection `prot` can be mapped now (limits of data count what is writable). Without limits, as is usual, two short system calls; with some, the
/// kernel is asked for a mapping.
pub(crate) fn have_room(len: usize, prot: i32) -> bool {
    if !is_limited(libc::RLIMIT_DATA as usize) && !is_limited(libc::RLIMIT_AS as usize) && !is_counted() {
        return true;
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping of its own, at no given place, which goes at once.
    unsafe {
        let at = kernel::mmap(core::ptr::null_mut(), len, prot, flags | libc::MAP_NORESERVE);
        at != libc::MAP_FAILED && kernel::munmap(at, len) == 0
    }
}

fn is_limited(which: usize) -> bool {
    let mut limit = libc::rlimit64 { rlim_cur: libc::RLIM64_INFINITY, rlim_max: libc::RLIM64_INFINITY };
    let to = (&raw mut limit).expose_provenance();
    // SAFETY: the kernel writes the struct.
    unsafe { kernel::raw(libc::SYS_prlimit64, [0, which, 0, to, 0, 0]) };
    limit.rlim_cur != libc::RLIM64_INFINITY
}

fn is_counted() -> bool {
    if COUNTED.load(Relaxed) == 0 {
        let mut mode = 0_u8;
        if let Some(fd) = super::open_read(c"/proc/sys/vm/overcommit_memory") {
            // SAFETY: one byte of ours.
            unsafe { kernel::pread(fd, (&raw mut mode).cast(), 1, 0) };
            super::close(fd);
        }
        COUNTED.store(if mode == b'2' { 2 } else { 1 }, Relaxed);
    }
    COUNTED.load(Relaxed) == 2
}
