//! Filling pages that nobody may touch, in place, through /proc/self/mem. Used when the number of mappings is near its
//! limit, because it adds none. Opened anew each time (see `pagemap` for why). Signal-safe.

use super::{kernel, os_error};
use crate::addr::HostAddr;
use crate::error::Result;

/// Writes `len` bytes from `from` to the protected private pages at `to`.
pub(crate) fn fill(to: HostAddr, from: HostAddr, len: usize) -> Result<()> {
    let fd = kernel::open(c"/proc/self/mem", libc::O_RDWR | libc::O_CLOEXEC);
    if fd < 0 {
        return Err(os_error("open /proc/self/mem"));
    }
    let result = write(fd, to, from, len);
    super::close(fd);
    result
}

/// The byte at `at`, if it can be read; never faults.
pub(crate) fn read_byte(at: HostAddr) -> Option<u8> {
    let fd = super::open_read(c"/proc/self/mem")?;
    let mut byte = 0u8;
    // SAFETY: one byte of room; the kernel checks the source.
    let n = unsafe { kernel::pread(fd, (&raw mut byte).cast(), 1, at.0 as i64) };
    super::close(fd);
    (n == 1).then_some(byte)
}

fn write(fd: i32, to: HostAddr, from: HostAddr, len: usize) -> Result<()> {
    let mut done = 0;
    while done < len {
        // SAFETY: the source is readable for `len` bytes; the kernel checks the target.
        let n = unsafe { kernel::pwrite(fd, from.add(done).ptr().cast(), len - done, (to.0 + done) as i64) };
        if n <= 0 {
            return Err(os_error("pwrite /proc/self/mem"));
        }
        done += n as usize;
    }
    Ok(())
}
