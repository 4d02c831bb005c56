//! Memory for the rows, of three kinds, with a pattern of 32-bit words in it, and what the runtime says of its pages.

use crate::os;
use hmmrt::raw::{self, mapping};
use hmmrt::{Page, Protection};
use std::ptr::null_mut;
use std::sync::Mutex;

pub const PAGE: usize = 4096;
pub const MIB: usize = 1 << 20;
pub const HUGE: usize = 2 * MIB;
/// The buffer of most cases.
pub const LEN: usize = 4 * MIB;
pub const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
pub const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// What a buffer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mapping of the program's, adopted, of 4 KiB pages.
    Small,
    /// The same, at a multiple of 2 MiB and of huge pages.
    Huge,
    /// A block of the library's own.
    Block,
}

/// The kinds that the kernel's cases tell apart.
pub const BOTH: [Kind; 2] = [Kind::Small, Kind::Huge];

/// A buffer. Dropped, it is unmapped but for what the row has unmapped itself.
pub struct Memory {
    pub ptr: *mut u8,
    pub len: usize,
    kind: Kind,
    /// Bytes `from..to` that are not its own any more: the system may have given them to somebody else.
    gone: Mutex<Vec<(usize, usize)>>,
}

// SAFETY: plain memory; the rows decide who touches which bytes.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// Maps `len` bytes with inaccessible pages around them, so that no mapping merges with others.
pub fn map(len: usize, huge: bool) -> *mut u8 {
    // SAFETY: a new mapping, and changes to it alone.
    unsafe {
        let all = libc::mmap(null_mut(), len + 2 * HUGE, libc::PROT_NONE, ANON | libc::MAP_NORESERVE, -1, 0);
        assert_ne!(all, libc::MAP_FAILED);
        let odd = if huge { 0 } else { 3 * PAGE };
        let at = all.wrapping_byte_add(HUGE - all.addr() % HUGE + odd);
        let (first, more) = around(at.cast(), len);
        let (skip, end) = (first.addr() - all.addr(), first.addr() + more);
        libc::munmap(all, skip);
        libc::munmap(first.wrapping_add(more).cast(), all.addr() + len + 2 * HUGE - end);
        assert_eq!(libc::mprotect(at, len, RW), 0);
        let advice = if huge { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
        libc::madvise(at, len, advice); // a kernel without huge pages has small ones
        at.cast()
    }
}

/// Where the inaccessible pages around a mapping of [`map`] begin, and how long all of it is: one page before and after.
fn around(at: *mut u8, len: usize) -> (*mut u8, usize) {
    (at.wrapping_sub(PAGE), len.next_multiple_of(PAGE) + 2 * PAGE)
}

impl Memory {
    pub fn new(kind: Kind, len: usize) -> Memory {
        let ptr = match kind {
            Kind::Block => raw::malloc(len).unwrap(),
            _ => {
                let at = map(len, kind == Kind::Huge);
                // SAFETY: the mapping stays; what unmaps it goes through `mapping`.
                unsafe { raw::adopt(at, len).unwrap() };
                at
            }
        };
        Memory { ptr, len, kind, gone: Mutex::default() }
    }

    /// A mapping of 4 KiB pages, adopted, with a pattern in it.
    pub fn filled(kind: Kind, len: usize, salt: u32) -> Memory {
        let m = Memory::new(kind, len);
        m.fill(salt);
        m
    }

    /// What `seed` says, at every word of the bytes `from..to`.
    pub fn fill_part(&self, from: usize, to: usize, salt: u32) {
        assert!(to <= self.len);
        for i in (from..to).step_by(4) {
            // SAFETY: inside, writable for the row.
            unsafe { self.ptr.add(i).cast::<u32>().write_volatile(word(i, salt)) };
        }
    }

    pub fn fill(&self, salt: u32) {
        self.fill_part(0, self.len, salt);
    }

    /// Whether the bytes `from..to` hold the pattern, read by the CPU.
    pub fn part_holds(&self, from: usize, to: usize, salt: u32) -> bool {
        assert!(to <= self.len);
        holds(self.ptr.wrapping_add(from), from, to, salt)
    }

    pub fn holds(&self, salt: u32) -> bool {
        self.part_holds(0, self.len, salt)
    }

    /// Whether the bytes `from..to` are zeros, read by the CPU.
    pub fn part_is_zero(&self, from: usize, to: usize) -> bool {
        // SAFETY: inside, readable for the row.
        (from..to).step_by(4).all(|i| unsafe { self.ptr.add(i).cast::<u32>().read_volatile() } == 0)
    }

    pub fn at(&self, offset: usize) -> *mut u8 {
        self.ptr.wrapping_add(offset)
    }

    pub fn migrate(&self, to: i32) -> usize {
        raw::migrate(self.ptr, self.len, to).unwrap()
    }

    /// Sends all of it to the first device; every page must go.
    pub fn send(&self) {
        assert_eq!(self.migrate(0), self.len / PAGE, "moved == asked");
        assert!(self.all_are(Page::DEVICE));
    }

    pub fn flags(&self) -> Vec<u32> {
        flags(self.ptr, self.len)
    }

    /// Whether every page is in exactly this state.
    pub fn all_are(&self, state: u32) -> bool {
        self.flags().iter().all(|f| f & STATE == state)
    }

    /// The program's own mprotect(2), known to the runtime.
    pub fn protect(&self, from: usize, len: usize, prot: i32) {
        // SAFETY: memory of the row's.
        unsafe { mapping::protect(self.ptr.addr() + from, len, prot, None).unwrap() };
    }

    /// The same through `hmm_protect`.
    pub fn hmm_protect(&self, protection: Protection) {
        // SAFETY: as above.
        unsafe { raw::protect(self.ptr, self.len, protection).unwrap() };
    }

    /// munmap(2), known to the runtime.
    pub fn unmap(&self, from: usize, len: usize) -> Result<usize, i32> {
        self.lose(from, len);
        // SAFETY: the row does not use it again.
        unsafe { mapping::unmap(self.ptr.addr() + from, len) }
    }

    /// So many bytes are not its own from now on.
    pub fn lose(&self, from: usize, len: usize) {
        self.gone.lock().unwrap().push((from, from + len));
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match self.kind {
            // SAFETY: not used any more.
            Kind::Block => unsafe { raw::free(self.ptr).unwrap() },
            _ => {
                let mut gone = std::mem::take(&mut *self.gone.lock().unwrap());
                gone.sort_unstable();
                gone.push((self.len, self.len));
                let mut at = 0;
                for (from, to) in gone {
                    if at < from {
                        self.unmap(at, from - at).unwrap();
                    }
                    at = to;
                }
                let (before, all) = around(self.ptr, self.len);
                // SAFETY: the inaccessible pages around, which are this buffer's own.
                unsafe {
                    libc::munmap(before.cast(), self.ptr.addr() - before.addr());
                    let end = self.at(self.len);
                    libc::munmap(end.cast(), before.addr() + all - end.addr());
                }
            }
        }
    }
}

/// What a page's place is made of.
pub const STATE: u32 = Page::UNTOUCHED | Page::HOST | Page::DEVICE;
/// What the program may do with it.
pub const ACCESS: u32 = Page::READ | Page::WRITE;

/// The word at byte `i` of a pattern.
pub fn word(i: usize, salt: u32) -> u32 {
    (i as u32 / 4).wrapping_mul(0x9E37_79B1) ^ salt
}

/// The words of the bytes `from..to` of a pattern.
pub fn pattern(from: usize, to: usize, salt: u32) -> Vec<u32> {
    (from..to).step_by(4).map(|i| word(i, salt)).collect()
}

/// Whether memory at `ptr` holds the bytes `from..to` of a pattern.
pub fn holds(ptr: *const u8, from: usize, to: usize, salt: u32) -> bool {
    (from..to).step_by(4).all(|i| {
        // SAFETY: readable for the row.
        unsafe { ptr.add(i - from).cast::<u32>().read_volatile() == word(i, salt) }
    })
}

/// The flags of the pages of a range.
pub fn flags(ptr: *const u8, len: usize) -> Vec<u32> {
    let mut out = vec![Page::default(); len / PAGE];
    raw::query(ptr, len, &mut out).unwrap();
    out.iter().map(|p| p.flags).collect()
}

/// Whether the kernel says `rw-p` of every mapping in a range.
pub fn is_plain(ptr: *const u8, len: usize) -> bool {
    os::protections(ptr.addr(), len).iter().all(|p| p == "rw-p")
}
