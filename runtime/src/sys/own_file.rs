//! The one descriptor of ours in the program's table: which it is, and whether it is still that. A program may close descriptors
//! that it does not know, and give the number to a file of its own.

use super::kernel;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};

/// Its number; -1: there is none.
static NUMBER: AtomicI32 = AtomicI32::new(-1);
/// The device and the inode of its file. Since Linux 5.12 each userfaultfd has an inode of its own; before that it has the one
/// that all files without a name have, and is told from the program's only if those have names, or are sockets or pipes.
static FILE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn file_of(fd: i32) -> Option<[u64; 2]> {
    let mut facts = core::mem::MaybeUninit::<libc::stat>::zeroed();
    let to = facts.as_mut_ptr().expose_provenance();
    // SAFETY: room for what the kernel writes, whose layout it is.
    let (answer, facts) = unsafe {
        let answer = kernel::raw(libc::SYS_fstat, [fd as usize, to, 0, 0, 0, 0]);
        (answer, facts.assume_init())
    };
    (answer == 0).then_some([facts.st_dev, facts.st_ino])
}

/// From here on it is `fd`, which has just been opened.
pub(crate) fn set(fd: i32) {
    let [device, inode] = file_of(fd).unwrap_or_default();
    FILE[0].store(device, Relaxed);
    FILE[1].store(inode, Relaxed);
    NUMBER.store(fd, SeqCst);
}

/// Its number, if there is one, whosever it is by now. Signal-safe.
pub(crate) fn number() -> i32 {
    NUMBER.load(Relaxed)
}

/// Whether the calling thread's descriptor `fd` is the one. Signal-safe.
pub(crate) fn is(fd: i32) -> bool {
    file_of(fd).is_some_and(|file| file == [FILE[0].load(Relaxed), FILE[1].load(Relaxed)])
}

/// There is none any more: closes it, unless `shared`: the table is that of another process, which goes on. Signal-safe.
pub(crate) fn close(shared: bool) {
    let fd = NUMBER.swap(-1, SeqCst);
    if fd >= 0 && !shared && is(fd) {
        kernel::close(fd);
    }
}
