//! Mappings of files, and shared and huge ones: refused, and as useful as before.

use crate::device;
use crate::memory::{ANON, HUGE, LEN, MIB, RW, STATE, flags, pattern};
use crate::row::{Kind, row};
use hmmrt::raw::mapping;
use hmmrt::{Error, Page, raw};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

const REFUSED: &str = "refused, not migrated";

/// A file without a name, with a pattern in it.
fn file(salt: u32) -> std::fs::File {
    use std::io::Write;
    // SAFETY: a name that ends; the descriptor is the file's from here on.
    let mut file: std::fs::File = unsafe {
        let fd = libc::memfd_create(c"hmm".as_ptr(), 0);
        assert!(fd >= 0);
        std::os::fd::FromRawFd::from_raw_fd(fd)
    };
    let bytes: Vec<u8> = pattern(0, LEN, salt).into_iter().flat_map(u32::to_le_bytes).collect();
    file.write_all(&bytes).unwrap();
    file
}

/// Maps a file; the mapping stays until the process ends.
fn map(file: &std::fs::File, prot: i32, flags: i32) -> *mut u8 {
    // SAFETY: a new mapping.
    let at = unsafe { libc::mmap(null_mut(), LEN, prot, flags, file.as_raw_fd(), 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at.cast()
}

/// Neither adopting it, nor moving it, nor giving it to a device works, and each says why.
fn refused(at: *mut u8, len: usize) {
    // SAFETY: refused.
    let e = unsafe { raw::adopt(at, len) }.unwrap_err();
    assert!(matches!(e, Error::NotMigratable { addr, .. } if addr == at.addr()), "{e}");
    for e in [
        raw::migrate(at, len, 0).unwrap_err(),
        device::read(0, at, len).unwrap_err(),
        device::write(0, at, &pattern(0, len, 9)).unwrap_err(),
    ] {
        assert!(matches!(e, Error::NotManaged { addr, .. } if addr == at.addr()), "{e}");
    }
    assert!(flags(at, len).iter().all(|f| f & (STATE | Page::FOREIGN) == Page::HOST | Page::FOREIGN));
}

fn bytes(file: &std::fs::File, salt: u32) -> bool {
    use std::os::unix::fs::FileExt;
    let mut all = vec![0_u8; LEN];
    file.read_exact_at(&mut all, 0).unwrap();
    all == pattern(0, LEN, salt).into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>()
}

/// Catches: file pages taken for the program's own memory.
#[test]
fn file_read() {
    let Some(_row) = row("files::file_read", Kind::Changed, REFUSED) else { return };
    let file = file(3);
    for flags in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
        let at = map(&file, libc::PROT_READ, flags);
        refused(at, LEN);
        assert!(crate::memory::holds(at, 0, LEN, 3), "it reads as ever");
    }
}

/// Catches: a shared file mapping that does not reach its file any more.
#[test]
fn file_write() {
    let Some(_row) = row("files::file_write", Kind::Changed, REFUSED) else { return };
    let file = file(3);
    let at = map(&file, RW, libc::MAP_SHARED);
    refused(at, LEN);
    for (i, w) in pattern(0, LEN, 4).into_iter().enumerate() {
        // SAFETY: inside the mapping.
        unsafe { at.cast::<u32>().add(i).write_volatile(w) };
    }
    assert!(bytes(&file, 4), "what is written is in the file");
}

/// Catches: private pages of a file, dirtied, that are moved (their clean neighbours would come back as the file's).
#[test]
fn migrate_file_private() {
    let differs = "refused, also when dirtied: clean pages of the mapping are the file's";
    let Some(_row) = row("files::migrate_file_private", Kind::Changed, differs) else { return };
    let file = file(3);
    let at = map(&file, RW, libc::MAP_PRIVATE);
    for (i, w) in pattern(0, LEN / 2, 4).into_iter().enumerate() {
        // SAFETY: inside the mapping.
        unsafe { at.cast::<u32>().add(i).write_volatile(w) };
    }
    refused(at, LEN);
    refused(at, LEN / 2);
    assert!(crate::memory::holds(at, 0, LEN / 2, 4));
    assert!(crate::memory::holds(at.wrapping_add(LEN / 2), LEN / 2, LEN, 3));
    assert!(bytes(&file, 3), "and the file is as it was");
}

/// Catches: shared memory that moves, also where it was laid over memory that does.
#[test]
fn migrate_shared() {
    let Some(_row) = row("files::migrate_shared", Kind::Same, "") else { return };
    let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: new mappings of the row's, which stay.
    unsafe {
        let at = libc::mmap(null_mut(), LEN, RW, shared, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        refused(at.cast(), LEN);
        // In the middle of adopted memory, once with the runtime's knowledge and once behind its back.
        for known in [true, false] {
            let m = libc::mmap(null_mut(), LEN, RW, ANON, -1, 0).cast::<u8>();
            raw::adopt(m, LEN).unwrap();
            let middle = m.wrapping_add(MIB);
            if known {
                let fixed = shared | libc::MAP_FIXED;
                mapping::map_fixed(middle.addr(), MIB, RW, fixed, -1, 0, true).unwrap();
                let e = raw::migrate(middle, MIB, 0).unwrap_err();
                assert!(matches!(e, Error::NotManaged { addr, .. } if addr == middle.addr()), "{e}");
            } else {
                let got = libc::mmap(middle.cast(), MIB, RW, shared | libc::MAP_FIXED, -1, 0);
                assert_eq!(got, middle.cast());
                let e = raw::migrate(middle, MIB, 0).unwrap_err();
                assert!(matches!(e, Error::NotMigratable { addr, .. } if addr == middle.addr()), "{e}");
            }
            m.write_volatile(7);
            middle.write_volatile(8);
            assert_eq!(raw::migrate(m, MIB, 0), Ok(MIB / 4096));
            assert_eq!((m.read_volatile(), middle.read_volatile()), (7, 8));
        }
    }
}

/// Two huge pages in reserve for as long as it is there, and then as many as before.
struct Reserve {
    before: String,
    /// Others that do the same wait.
    _turn: std::fs::File,
}

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";

impl Reserve {
    fn new() -> Option<Reserve> {
        let turn = std::fs::File::create(std::env::temp_dir().join("hmmrt-hugepages")).ok()?;
        turn.lock().ok()?;
        let before = std::fs::read_to_string(RESERVED).ok()?;
        let more = before.trim().parse::<usize>().ok()? + 2;
        std::fs::write(RESERVED, more.to_string()).ok()?;
        Some(Reserve { before, _turn: turn })
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        std::fs::write(RESERVED, self.before.trim()).unwrap();
    }
}

/// Catches: pages of the huge page pool taken for ordinary memory.
#[test]
fn anon_write_hugetlbfs() {
    let differs = "refused, not migrated; skipped where no huge page is reserved, nor can be";
    let Some(row) = row("files::anon_write_hugetlbfs", Kind::Changed, differs) else { return };
    // SAFETY: a new mapping.
    let map = || unsafe { libc::mmap(null_mut(), HUGE, RW, ANON | libc::MAP_HUGETLB, -1, 0) };
    let (mut at, mut reserve) = (map(), None);
    if at == libc::MAP_FAILED {
        reserve = Reserve::new();
        at = map();
    }
    if at == libc::MAP_FAILED {
        let tried = reserve.take().is_some();
        let why = if tried { "the kernel gives none" } else { "only root can reserve some" };
        row.skip(format!("no huge page is reserved, and {why}"));
    }
    refused(at.cast(), HUGE);
    for (i, w) in pattern(0, HUGE, 4).into_iter().enumerate() {
        // SAFETY: inside the mapping.
        unsafe { at.cast::<u32>().add(i).write_volatile(w) };
    }
    assert!(crate::memory::holds(at.cast(), 0, HUGE, 4));
    // SAFETY: not used any more.
    assert_eq!(unsafe { libc::munmap(at, HUGE) }, 0);
    drop(reserve);
}
