//! What the program's mapping at an address is: PROCMAP_QUERY (Linux 6.11), else /proc/self/maps. Asked before pages
//! are taken from the CPU (so that the program's own protection is kept) and by the fault path to tell a real segfault
//! from a page that came home meanwhile. No descriptor is kept open (see `pagemap`). Signal-safe.

use super::kernel;
use crate::addr::HostAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

const PROCMAP_QUERY: core::ffi::c_ulong = 0xC068_6611;

#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    addr: u64,
    start: u64,
    end: u64,
    vma_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    name_size: u32,
    build_id_size: u32,
    name_addr: u64,
    build_id_addr: u64,
}

/// One mapping of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vma {
    /// First address.
    pub start: usize,
    /// One past the last.
    pub end: usize,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub exec: bool,
    /// Private, backed by no file, ordinary pages.
    pub private_anonymous: bool,
}

/// PROCMAP_QUERY has worked.
static QUICK: AtomicBool = AtomicBool::new(false);

/// The process's list of mappings, open for one operation.
pub(crate) struct Maps(Option<i32>);

impl Maps {
    /// Opens it. Where there is no /proc, [`Maps::at`] knows nothing.
    pub(crate) fn open() -> Maps {
        Maps(super::open_read(c"/proc/self/maps"))
    }

    /// Whether questions can be answered at all.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Whether questions are cheap: the kernel has PROCMAP_QUERY (Linux 6.11), and a question is no search through the text.
    pub(crate) fn is_quick(&self) -> bool {
        QUICK.load(Relaxed)
    }

    /// The mapping that covers `addr`, or the next one above it.
    pub(crate) fn at_or_after(&self, addr: HostAddr) -> Option<Vma> {
        let fd = self.0?;
        match query(fd, addr) {
            Ok(found) => found,
            Err(()) => parse(fd, addr),
        }
    }

    /// The mapping that covers `addr`.
    pub(crate) fn at(&self, addr: HostAddr) -> Option<Vma> {
        self.at_or_after(addr).filter(|v| v.start <= addr.0)
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        if let Some(fd) = self.0 {
            super::close(fd);
        }
    }
}

/// Names of mappings that belong to the kernel, although no file backs them.
fn is_special(name: &[u8]) -> bool {
    name.starts_with(b"[v")
}

#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn query(fd: i32, addr: HostAddr) -> Result<Option<Vma>, ()> {
    let mut name = [0u8; 16];
    let mut q = Query {
        size: size_of::<Query>() as u64,
        flags: 0x10, // covering, or the next
        addr: addr.0 as u64,
        name_size: name.len() as u32,
        name_addr: name.as_mut_ptr().expose_provenance() as u64,
        ..Query::default()
    };
    loop {
        // SAFETY: the struct and the name buffer are valid for their sizes; another file answers ENOTTY.
        if unsafe { kernel::ioctl(fd, PROCMAP_QUERY, &raw mut q) } == 0 {
            QUICK.store(true, Relaxed);
            break;
        }
        match super::errno() {
            libc::ENOENT => return Ok(None),
            libc::ENAMETOOLONG if q.name_size != 0 => (q.name_size, q.name_addr) = (0, 0), // a file's long path
            libc::EINTR => {}
            _ => return Err(()),
        }
    }
    let shared_or_file = q.vma_flags & 8 != 0 || q.inode != 0;
    Ok(Some(Vma {
        start: q.start as usize,
        end: q.end as usize,
        read: q.vma_flags & 1 != 0,
        write: q.vma_flags & 2 != 0,
        exec: q.vma_flags & 4 != 0,
        private_anonymous: !shared_or_file
            && q.page_size == 4096
            && !is_special(&name[..q.name_size as usize]),
    }))
}

/// Reads the text form, from the start, with a small buffer.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn parse(fd: i32, addr: HostAddr) -> Option<Vma> {
    let mut buf = [0u8; 512];
    let mut line = [0u8; 160];
    let (mut len, mut at) = (0usize, 0i64);
    loop {
        // SAFETY: the buffer is valid for its size.
        let n = unsafe { kernel::pread(fd, buf.as_mut_ptr().cast(), buf.len(), at) };
        if n <= 0 {
            return None;
        }
        at += n as i64;
        for &b in &buf[..n as usize] {
            if b != b'\n' {
                if len < line.len() {
                    line[len] = b;
                    len += 1;
                }
                continue;
            }
            if let Some(v) = parse_line(&line[..len])
                && v.end > addr.0
            {
                return Some(v);
            }
            len = 0;
        }
    }
}

/// One line of /proc/self/maps: `start-end perms offset dev inode path`.
fn parse_line(line: &[u8]) -> Option<Vma> {
    let hex = |s: &[u8]| s.iter().try_fold(0usize, |v, &c| Some(v << 4 | (c as char).to_digit(16)? as usize));
    let mut fields = line.split(|&b| b == b' ').filter(|f| !f.is_empty());
    let mut span = fields.next()?.splitn(2, |&b| b == b'-');
    let (start, end) = (hex(span.next()?)?, hex(span.next()?)?);
    let perms = fields.next()?;
    let inode = fields.nth(2)?;
    let name = fields.next().unwrap_or(b"");
    Some(Vma {
        start,
        end,
        read: perms.first() == Some(&b'r'),
        write: perms.get(1) == Some(&b'w'),
        exec: perms.get(2) == Some(&b'x'),
        private_anonymous: perms.get(3) == Some(&b'p') && inode == b"0" && !is_special(name),
    })
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself does
mod tests {
    use super::*;
    use crate::sys::map::{self, Prot};

    #[test]
    fn both_ways_agree() {
        let at = map::map(8 * 4096, 4096, Prot::ReadWrite, "test").unwrap();
        map::protect(at.add(4096), 4096, Prot::Read).unwrap();
        map::protect(at.add(8192), 4096, Prot::None).unwrap();
        let maps = Maps::open();
        for (page, read, write) in [(0, true, true), (1, true, false), (2, false, false), (3, true, true)] {
            let v = maps.at(at.add(page * 4096)).unwrap();
            assert_eq!((v.read, v.write, v.private_anonymous), (read, write, true), "page {page}");
            assert_eq!(parse(maps.0.unwrap(), at.add(page * 4096)), Some(v));
        }
        let code = maps.at(HostAddr(both_ways_agree as *const () as usize)).unwrap();
        assert!(code.exec && !code.private_anonymous);
        map::unmap(at, 8 * 4096);
    }

    #[test]
    fn lines() {
        let v = parse_line(b"7f00-7f10 rw-p 00000000 00:00 0 [heap]").unwrap();
        assert!(v.private_anonymous && v.read && v.write && v.start == 0x7f00);
        assert!(!parse_line(b"7f00-7f10 r--p 00000000 00:00 0 [vvar]").unwrap().private_anonymous);
        assert!(!parse_line(b"7f00-7f10 rw-s 00000000 00:01 12 /dev/zero").unwrap().private_anonymous);
        assert_eq!(parse_line(b"nonsense"), None);
    }
}
