//! The program's memory as a device sees it that does not go through the process's page protections: DMA to registered
//! pages. The kernel copies, so that a page that is gone is an error here and not a signal on a stream's thread.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::{fs, slice};

use crate::{Error, Result, os};

/// Copies from the program's memory.
///
/// # Safety
/// `to` is writable for `n` bytes.
pub unsafe fn read(to: *mut u8, from: u64, n: usize) -> Result {
    let mut done = 0;
    while done < n {
        // SAFETY: writes at most n - done bytes there, which the caller has.
        let got = unsafe { os::peek(to.wrapping_add(done), from + done as u64, n - done) };
        if got > 0 {
            done += got;
            continue;
        }
        // Protected pages: the way of debuggers reads them all the same.
        let page = (4096 - (from as usize + done) % 4096).min(n - done);
        // SAFETY: the caller's bytes, which nobody else looks at.
        let buffer = unsafe { slice::from_raw_parts_mut(to.add(done), page) };
        file()?.read_exact_at(buffer, from + done as u64).map_err(|_| Error::ILLEGAL_ADDRESS)?;
        done += page;
    }
    Ok(())
}

/// Copies to the program's memory.
///
/// # Safety
/// `from` is readable for `n` bytes.
pub unsafe fn write(to: u64, from: *const u8, n: usize) -> Result {
    let mut done = 0;
    while done < n {
        // SAFETY: reads at most n - done bytes there, which the caller has.
        let got = unsafe { os::poke(to + done as u64, from.wrapping_add(done), n - done) };
        if got > 0 {
            done += got;
            continue;
        }
        let page = (4096 - (to as usize + done) % 4096).min(n - done);
        // SAFETY: the caller's bytes. Another may change them meanwhile, then any bytes are right.
        let buffer = unsafe { slice::from_raw_parts(from.add(done), page) };
        file()?.write_all_at(buffer, to + done as u64).map_err(|_| Error::ILLEGAL_ADDRESS)?;
        done += page;
    }
    Ok(())
}

fn file() -> Result<&'static File> {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let open = || File::options().read(true).write(true).open("/proc/self/mem").ok();
    FILE.get_or_init(open).as_ref().ok_or(Error::ILLEGAL_ADDRESS)
}

/// One line of the list of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
    /// Can be read.
    pub read: bool,
    /// Can be written.
    pub write: bool,
    /// Is `PROT_NONE`.
    pub nothing: bool,
}

/// The mappings that overlap a range, in order.
pub fn mapped(start: u64, end: u64) -> Vec<Mapped> {
    let text = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    text.lines().filter_map(line).filter(|m| m.start < end && start < m.end).collect()
}

fn line(line: &str) -> Option<Mapped> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let number = |hex| u64::from_str_radix(hex, 16).ok();
    Some(Mapped {
        start: number(start)?,
        end: number(end)?,
        read: rest.starts_with('r'),
        write: rest[1..].starts_with('w'),
        nothing: rest.starts_with("---"),
    })
}

/// Whether all of a range can be read, and written if asked.
pub fn usable(start: u64, len: u64, write: bool) -> bool {
    let Some(end) = start.checked_add(len) else { return false };
    let mut at = start;
    for m in mapped(start, end.max(start + 1)) {
        if m.start > at || !m.read || write && !m.write {
            return false;
        }
        at = m.end;
    }
    at >= end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_usable_and_nothing_is_not() {
        let here = [0u8; 100];
        assert!(usable(here.as_ptr() as u64, 100, true));
        assert!(!usable(16, 100, false) && !usable(u64::MAX, 2, false));
        let m = line("7000-8000 ---p 00000000 00:00 0").unwrap();
        assert_eq!((m.start, m.end, m.read, m.write, m.nothing), (0x7000, 0x8000, false, false, true));
    }

    #[test]
    fn copies_read_and_write_and_refuse_what_is_not_there() {
        let mut here = [7u8; 5000];
        let mut there = [0u8; 5000];
        let (h, t) = (here.as_mut_ptr(), there.as_mut_ptr());
        // SAFETY: both arrays have 5000 bytes, and the other addresses are for the kernel to check.
        unsafe {
            assert_eq!(read(t, h as u64, 5000), Ok(()));
            assert_eq!(read(t, 64, 1), Err(Error::ILLEGAL_ADDRESS));
            assert_eq!(write(h as u64 + 1, t, 1), Ok(()));
            assert_eq!(write(64, t, 1), Err(Error::ILLEGAL_ADDRESS));
        }
        assert!(there.iter().all(|&b| b == 7));
    }
}
