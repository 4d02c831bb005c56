//! What may be done with a page, found out by having the kernel do it: for when /proc can't be opened (none is mounted, or the
//! process has no descriptor left), and for pointers that a program gives to calls. Not for pages that userfaultfd watches, where the
//! kernel's own accesses fail or wait. Called by migrate, the fault path and the preload library. Signal-safe.

use super::kernel;
use crate::addr::{HostAddr, PAGE};

/// Whether the word at `at`, a page's first, can be written. It is: nothing is added to it.
pub(crate) fn can_write(at: HostAddr) -> bool {
    // 0 is added to the word, and its waiters are woken if it was -2048: who waits for a word must expect that.
    const ADD_NOTHING: usize = 1 << 28 | 0x800;
    let mut own = 0_u32;
    let op = (libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG) as usize;
    let a = [(&raw mut own).expose_provenance(), op, 0, 0, at.0, ADD_NOTHING];
    // SAFETY: an atomic addition of nothing to a word of the caller's; the kernel checks the address.
    unsafe { kernel::raw(libc::SYS_futex, a) != -libc::EFAULT as isize }
}

/// Whether the word at `at` can be read.
pub(crate) fn can_read(at: HostAddr) -> bool {
    const UNLIKELY: usize = 0x5EED_0BAD; // were it this, the kernel would set a timer first
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let a = [at.0, op, UNLIKELY, core::ptr::from_ref(&now).expose_provenance(), 0, 0];
    // SAFETY: the kernel reads a word and compares it; it does not wait at all.
    unsafe { kernel::raw(libc::SYS_futex, a) != -libc::EFAULT as isize }
}

/// Whether the page of `addr` can be written, or read.
pub(crate) fn can(addr: HostAddr, write: bool) -> bool {
    let page = HostAddr(addr.0 & !(PAGE - 1));
    if write { can_write(page) } else { can_read(page) }
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself does
mod tests {
    use super::*;
    use crate::sys::map::{self, Prot};

    #[test]
    fn knows_protections_and_changes_nothing() {
        let at = map::map(3 * PAGE, PAGE, Prot::ReadWrite, "test").unwrap();
        for (page, value) in [(0, 0_u32), (1, -2048_i32 as u32), (2, 7)] {
            // SAFETY: freshly mapped writable memory.
            unsafe { at.add(page * PAGE).ptr().cast::<u32>().write_volatile(value) };
        }
        map::protect(at.add(PAGE), PAGE, Prot::Read).unwrap();
        for (page, value) in [(0, 0_u32), (1, -2048_i32 as u32), (2, 7)] {
            let at = at.add(page * PAGE);
            assert_eq!((can_read(at), can_write(at)), (true, page != 1), "page {page}");
            // SAFETY: still readable.
            assert_eq!(unsafe { at.ptr().cast::<u32>().read_volatile() }, value);
        }
        map::protect(at, 3 * PAGE, Prot::None).unwrap();
        assert!(!can_read(at) && !can_write(at));
        map::unmap(at, 3 * PAGE);
        assert!(!can_read(at) && !can_write(at));
    }
}
