//! The run in which things fail: everything that moves pages or changes what they are, over memory of which every byte is
//! known. What an operation that failed may have changed is said here; nothing else may have.

mod maps;
mod program;

use super::common::kernels;
use super::region::{Look, PAGE, Region};
use hmmrt::raw::{self, HMM_HOST, mapping};
use hmmrt::{AccessMode, LaunchArg, LaunchConfig, StreamId};
use std::fmt::Display;

/// More than two chunks, and a part of one.
const LARGE: usize = (4 << 20) + 20_000;
const SMALL: usize = 40_000;
/// Of the program's own memory: not at a chunk's boundary, and more than one.
const OWN: usize = (2 << 20) + (300 << 10);
/// So many bytes a kernel changes.
const CHANGED: usize = 9000;

/// The memory, and what became of it.
pub struct World {
    look: Look,
    /// Operations may fail.
    fails: bool,
    pub errors: usize,
    pub unreadable: usize,
    regions: Vec<Region>,
    /// Around the program's own memory: somebody else's.
    foreign: [Region; 2],
    stream: StreamId,
    /// What could not be freed, and what is not the heap's.
    adopted: bool,
    /// Told of each step that begins.
    begins: Begins,
    /// All that is done now is done to a full device.
    evicts: bool,
}

/// Who is told the name of each step that begins.
pub type Begins = Box<dyn FnMut(&'static str)>;

const BIG: usize = 0;
const BLOCK: usize = 1;
const HOME: usize = 2;
const ADOPTED: usize = 3;

/// Adds one to the first bytes.
fn add(bytes: &mut [u8]) {
    let n = CHANGED.min(bytes.len());
    bytes[..n].iter_mut().for_each(|b| *b = b.wrapping_add(1));
}

impl World {
    /// Makes the memory. What of the heap's can't be had now is the C library's, and stays out of it.
    pub fn new(look: Look, fails: bool, begins: Begins) -> World {
        let own = map_new(OWN + 2 * PAGE); // with a page of somebody else's on both sides
        // SAFETY: inside the mapping.
        let (first, last) = unsafe { (own.add(PAGE), own.add(PAGE + OWN)) };
        let foreign = [Region::new("before", own, PAGE), Region::new("behind", last, PAGE)];
        let regions = Vec::new();
        let stream = StreamId::DEFAULT;
        let (errors, unreadable, adopted, evicts) = (0, 0, false, false);
        let mut w =
            World { look, fails, errors, unreadable, regions, foreign, stream, adopted, begins, evicts };
        w.foreign.iter_mut().for_each(|r| r.write(0..1, Look::Strict));
        w.early();
        for (name, len) in [("big", LARGE), ("block", SMALL), ("home", SMALL)] {
            let made = raw::calloc(len, 1);
            let ptr = w.note("calloc", made).unwrap_or_else(|| map_new(LARGE)); // in place of what could not be had
            w.regions.push(Region::new(name, ptr, len));
        }
        // SAFETY: the mapping is this process's own.
        w.adopted = w.note("adopt", unsafe { raw::adopt(first, OWN) }).is_some();
        w.regions.push(Region::new("adopted", first, OWN));
        for i in 0..w.regions.len() {
            w.check(i, "fresh");
            w.write(i, 0..usize::MAX);
        }
        w
    }

    /// A step begins, and ends where the next one does.
    pub fn step(&mut self, name: &'static str) {
        (self.begins)(if self.evicts { "evict" } else { name });
    }

    fn note<T>(&mut self, what: &str, result: Result<T, impl Display>) -> Option<T> {
        if let Err(e) = &result {
            eprintln!("{what}: {e}");
            assert!(self.fails, "{what}: {e}");
            self.errors += 1;
        }
        result.ok()
    }

    fn write(&mut self, i: usize, pages: std::ops::Range<usize>) {
        self.step("touch");
        let look = self.look;
        self.regions[i].write(pages, look);
    }

    fn check(&mut self, i: usize, when: &str) {
        self.check_part(i, 0..usize::MAX, when);
    }

    fn check_part(&mut self, i: usize, pages: std::ops::Range<usize>, when: &str) {
        // What has never left does not need a device.
        self.step("touch");
        let look = if i == HOME && self.look == Look::Host { Look::Strict } else { self.look };
        self.unreadable += self.regions[i].check(pages, look, when);
    }

    /// All of it.
    pub fn check_all(&mut self, when: &str) {
        (0..self.regions.len()).for_each(|i| self.check(i, when));
        self.foreign.iter().for_each(|r| assert_eq!(r.check(0..1, Look::Strict, when), 0));
    }

    /// From here on nothing fails: with `lost` but for what went with a device.
    pub fn mended(&mut self, lost: bool) {
        self.fails = lost;
        self.look = if lost { Look::Host } else { Look::Strict };
    }

    fn migrate(&mut self, i: usize, to: i32) {
        self.migrate_as(if to == HMM_HOST { "migrate home" } else { "migrate out" }, i, to);
    }

    fn migrate_as(&mut self, step: &'static str, i: usize, to: i32) {
        self.step(step);
        let r = &self.regions[i];
        let done = raw::migrate(r.ptr, r.len, to);
        self.note("migrate", done);
    }

    fn prefetch(&mut self, i: usize, to: i32, stream: StreamId) {
        self.step("prefetch");
        let r = &self.regions[i];
        let done = raw::prefetch(r.ptr, r.len, to, stream);
        self.note("prefetch", done);
        self.wait();
    }

    /// Waits for both streams; what a release was not heard of for is not in use any more.
    pub fn synchronize(&mut self) {
        self.step("synchronize");
        self.wait();
    }

    fn wait(&mut self) {
        let done = raw::stream_synchronize(self.stream);
        self.note("synchronize", done);
        let done = raw::stream_synchronize(StreamId::DEFAULT);
        self.note("synchronize", done);
    }

    /// A kernel adds to the first bytes, or overwrites all.
    fn launch(&mut self, i: usize, device: i32, stream: StreamId, overwrite: bool) {
        self.step(if overwrite { "launch, overwriting" } else { "launch" });
        let name = if overwrite { "test_fill_bytes" } else { "test_add_bytes" };
        let kernel = kernels::try_kernel(device, name);
        let Some(kernel) = self.note("kernel", kernel) else { return };
        let r = &mut self.regions[i];
        let (ptr, len) = (r.ptr, r.len);
        let mode = if overwrite { AccessMode::Write } else { AccessMode::ReadWrite };
        let (n, one) = (if overwrite { len } else { CHANGED.min(len) } as u64, 1_u8);
        let args = [
            LaunchArg::Pointer { ptr, len, mode },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const one).cast(), size: 1 },
        ];
        // SAFETY: the arguments are the kernel's.
        let done = unsafe { raw::launch(kernel, &LaunchConfig { stream, ..LaunchConfig::default() }, &args) };
        match (&done, overwrite) {
            (Ok(()), false) => r.becomes(add),
            (Ok(()), true) => r.becomes(|b| b.fill(1)),
            // The error may be of what comes behind the kernel.
            (Err(_), false) => r.may_become(false, add),
            (Err(_), true) => r.forget(0..r.pages()),
        }
        if done.is_ok() && overwrite {
            r.is_known();
        }
        self.note("launch", done);
    }

    /// Everything that moves pages, step by step.
    pub fn run(&mut self) {
        self.step("open");
        let count = raw::device_count();
        self.note("open", count);
        self.step("stream");
        let made = raw::stream_create(0);
        let stream = self.note("stream", made).unwrap_or(StreamId::DEFAULT);
        self.stream = stream;
        self.migrate(BIG, 0);
        self.check_part(BIG, 0..1, "a page comes home");
        self.launch(BIG, 0, stream, false);
        self.launch(BLOCK, 0, stream, false);
        self.write(HOME, 0..2);
        self.synchronize();
        self.migrate_as("migrate over", BIG, 1);
        self.write(BIG, 3..4);
        self.check_part(BIG, 500..700, "a part comes home");
        self.launch(BIG, 1, StreamId::DEFAULT, false);
        self.migrate(BIG, HMM_HOST);
        self.check(BIG, "from the other device");
        self.prefetch(BLOCK, 1, StreamId::DEFAULT);
        self.launch(BLOCK, 1, StreamId::DEFAULT, false);
        self.pin();
        self.own();
        self.piece();
        self.laid();
        self.protections();
        self.discard();
        self.prefetch(BIG, 0, stream);
        self.fork();
        self.check_part(BIG, 0..520, "on both sides");
        self.resize();
        self.evict();
        self.synchronize();
        self.check_all("in the end");
        if stream != StreamId::DEFAULT {
            self.step("stream");
            let done = raw::stream_destroy(stream);
            if self.note("stream_destroy", done).is_some() {
                self.stream = StreamId::DEFAULT;
            }
        }
    }

    /// Home, to stay; and for a system call.
    fn pin(&mut self) {
        self.step("pin");
        let (ptr, len) = (self.regions[BLOCK].ptr, self.regions[BLOCK].len);
        if self.note("pin", raw::pin(ptr, len)).is_some() {
            self.write(BLOCK, 1..3);
            self.note("unpin", raw::unpin(ptr, len));
        }
        self.check(BLOCK, "pinned");
        self.migrate(BLOCK, 0);
        self.step("host_ready");
        self.note("host_ready", raw::host_ready(ptr, 2 * PAGE, AccessMode::Write));
        self.check(BLOCK, "ready");
        self.migrate(BLOCK, 1);
    }

    fn note_errno(&mut self, what: &str, answer: Result<usize, i32>) {
        self.note(what, answer.map_err(std::io::Error::from_raw_os_error));
    }

    fn discard(&mut self) {
        self.migrate(BIG, 1);
        for pages in [50..66, 512..1024] {
            self.step("discard");
            let r = &mut self.regions[BIG];
            // SAFETY: the model gives the bytes up, too.
            let done = unsafe { raw::discard(r.at(pages.start), pages.len() * PAGE) };
            let zero = |b: &mut [u8]| b[pages.start * PAGE..pages.end * PAGE].fill(0);
            if done.is_ok() {
                r.becomes(zero)
            } else {
                r.may_become(true, zero)
            }
            self.note("discard", done);
            self.check_part(BIG, pages.start - 5..pages.end + 5, "discarded");
            self.write(BIG, pages);
        }
    }

    /// The child sees what the parent has.
    fn fork(&mut self) {
        self.step("fork");
        // SAFETY: the child reads memory, says what it found, and ends.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: no preconditions.
                unsafe { libc::alarm(120) };
                self.begins = Box::new(|_| {}); // what it asks of the driver may be locked here
                if self.look == Look::Host {
                    self.look = Look::Loose; // it has no device, and what could not be copied home is not there
                }
                let right = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    (0..self.regions.len()).for_each(|i| self.check(i, "in the child"));
                    self.write(HOME, 0..1);
                    self.write(BIG, 5..6);
                }));
                // SAFETY: no preconditions.
                unsafe { libc::_exit(if right.is_ok() { 0 } else { 3 }) }
            }
            -1 => {}
            child => {
                let mut status = 0;
                // SAFETY: a valid place for the status.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                // That it can't be kept from memory that it does not have is the end of a child, and says so.
                let aborted = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT;
                assert!(
                    status == 0 || aborted && self.look != Look::Strict,
                    "the child ended with {status:#x}"
                );
                if aborted {
                    eprintln!("child aborted");
                }
            }
        }
    }

    /// A block on a device gets longer there, and shorter.
    fn resize(&mut self) {
        for (to, len) in [(0, LARGE + (3 << 20)), (1, 3 << 20), (0, LARGE)] {
            self.migrate(BIG, to);
            self.step("realloc");
            let r = &mut self.regions[BIG];
            let old = r.pages();
            // SAFETY: after success only the new pointer is used.
            let new = unsafe { raw::realloc(r.ptr, len) };
            if let Ok(new) = new {
                r.resize(new, len);
                self.write(BIG, old.saturating_sub(1)..usize::MAX);
                self.check(BIG, "resized");
            }
            self.note("realloc", new);
        }
        self.migrate(BIG, 0);
    }

    /// More than a device has: others leave it. Then memory is freed, and comes back as zeros.
    fn evict(&mut self) {
        self.evicts = true;
        for len in [5 << 20, SMALL] {
            let Some(ptr) = self.note("calloc", raw::calloc(len, 1)) else { continue };
            self.regions.push(Region::new("another", ptr, len));
            let i = self.regions.len() - 1;
            self.check(i, "zero");
            self.write(i, 0..usize::MAX);
            self.launch(i, 0, StreamId::DEFAULT, false);
            self.launch(i, 1, StreamId::DEFAULT, false);
            self.check_part(i, 0..5, "evicting");
            self.launch(BIG, 0, self.stream, false);
            self.synchronize();
            self.check(i, "evicted");
            self.migrate(i, 0);
            (self.begins)("free");
            // SAFETY: not used any more.
            if self.note("free", unsafe { raw::free(ptr) }).is_some() {
                self.regions.truncate(i);
            }
        }
        self.evicts = false;
        for len in [5 << 20, SMALL] {
            let Some(ptr) = self.note("calloc", raw::calloc(len, 1)) else { continue };
            self.regions.push(Region::new("again", ptr, len));
            self.check(self.regions.len() - 1, "zero again");
        }
    }

    /// All of it is ordinary memory again: everything can be written.
    pub fn write_all(&mut self) {
        for r in self.regions.iter_mut().filter(|r| !r.read_only.is_empty()) {
            let (prot, len) = (libc::PROT_READ | libc::PROT_WRITE, r.read_only.len() * PAGE);
            // SAFETY: the region's own pages, which are nobody else's affair any more.
            assert_eq!(unsafe { libc::mprotect(r.at(r.read_only.start).cast(), len, prot) }, 0);
            r.read_only = 0..0;
        }
        for i in 0..self.regions.len() {
            self.write(i, 0..usize::MAX);
            self.check(i, "written");
        }
    }

    /// The bytes of what stays do not matter any more: what was lost with a device does not keep the runtime from ending.
    pub fn give_up(&mut self) {
        for r in &mut self.regions {
            for page in 0..r.pages() {
                // SAFETY: nobody looks at the bytes again before they are written.
                if raw::owns(r.at(page)) && unsafe { raw::discard(r.at(page), PAGE) }.is_ok() {
                    r.forget(page..page + 1);
                }
            }
        }
    }

    /// Gives back what it can of the heap's memory; whether that was all.
    pub fn free(&mut self) -> bool {
        let freed = |r: &Region| match r.name {
            // SAFETY: not used any more.
            maps::PIECE => unsafe { mapping::unmap(r.ptr.addr(), r.len) }.is_ok(),
            // SAFETY: as above.
            _ => !raw::owns(r.ptr) || unsafe { raw::free(r.ptr) }.is_ok(),
        };
        let kept = |i: usize, r: &Region| i == ADOPTED || !freed(r);
        let mut i = 0;
        self.regions.retain(|r| (kept(i, r), i += 1).0);
        self.regions.len() == 1
    }
}

/// Memory that is not managed.
fn map_new(len: usize) -> *mut u8 {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at.cast()
}
