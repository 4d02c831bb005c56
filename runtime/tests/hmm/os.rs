//! What the system says of this process: mappings, resident pages, huge pages, descriptors, threads. And forked children.

use crate::memory::PAGE;
use std::fs;
use std::os::unix::fs::FileExt;

/// A mapping's lines in smaps, and its bytes.
struct Mapping {
    start: usize,
    end: usize,
    protection: String,
    huge_kib: usize,
}

fn mappings() -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let mut fields = line.split_ascii_whitespace();
        let first = fields.next().unwrap_or("");
        if let Some((start, end)) = first.split_once('-') {
            let hex = |s| usize::from_str_radix(s, 16).unwrap();
            let protection = fields.next().unwrap().to_owned();
            all.push(Mapping { start: hex(start), end: hex(end), protection, huge_kib: 0 });
        } else if first == "AnonHugePages:" {
            all.last_mut().unwrap().huge_kib = fields.next().unwrap().parse().unwrap();
        }
    }
    all
}

fn overlapping(start: usize, len: usize) -> impl Iterator<Item = Mapping> {
    mappings().into_iter().filter(move |m| m.start < start + len && start < m.end)
}

/// The protections (`rw-p`) of the mappings in a range.
pub fn protections(start: usize, len: usize) -> Vec<String> {
    overlapping(start, len).map(|m| m.protection).collect()
}

/// Bytes of a range, the mappings of which reach nowhere else, that are in huge pages.
pub fn huge_bytes(start: usize, len: usize) -> usize {
    overlapping(start, len)
        .filter(|m| start <= m.start && m.end <= start + len)
        .map(|m| m.huge_kib * 1024)
        .sum()
}

/// How many mappings the process has.
pub fn mapping_count() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// The kernel's word on each page of a range: whether the CPU has it in memory.
pub fn present_pages(start: usize, len: usize) -> usize {
    let mut entries = vec![0u8; len / PAGE * 8];
    let pagemap = fs::File::open("/proc/self/pagemap").unwrap();
    pagemap.read_exact_at(&mut entries, (start / PAGE * 8) as u64).unwrap();
    entries.chunks(8).filter(|e| e[7] & 0x80 != 0).count()
}

/// Open descriptors and threads.
pub fn descriptors_and_threads() -> (usize, usize) {
    let count = |path| fs::read_dir(path).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// Starts a child that runs `f`, which uses memory only.
pub fn fork(f: impl FnOnce() -> bool) -> i32 {
    // SAFETY: as said.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            libc::alarm(120);
            libc::_exit(if f() { 0 } else { 1 });
        }
        pid
    }
}

/// How a child ended.
pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: a child of ours.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

/// Runs `f` in a forked child and waits for it.
pub fn child(f: impl FnOnce() -> bool) -> i32 {
    wait(fork(f))
}

/// Whether a child that runs `f` is ended by a segmentation fault, as it would be without this library.
pub fn segfaults(f: impl FnOnce()) -> bool {
    let status = child(|| {
        f();
        true
    });
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV
}

/// A pipe for one byte: who writes wakes who reads.
pub struct Signal([i32; 2]);

impl Signal {
    pub fn new() -> Signal {
        let mut ends = [0; 2];
        // SAFETY: a place for two numbers.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        Signal(ends)
    }
    pub fn give(&self) {
        // SAFETY: one readable byte.
        assert_eq!(unsafe { libc::write(self.0[1], [1_u8].as_ptr().cast(), 1) }, 1);
    }
    pub fn take(&self) {
        let mut byte = [0_u8];
        // SAFETY: one writable byte.
        assert_eq!(unsafe { libc::read(self.0[0], byte.as_mut_ptr().cast(), 1) }, 1);
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // SAFETY: descriptors of our own.
        self.0.iter().for_each(|fd| unsafe { _ = libc::close(*fd) });
    }
}
