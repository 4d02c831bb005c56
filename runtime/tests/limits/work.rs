//! The scripted workload: a step for each thing that a program does with managed memory, on blocks whose every byte is known.

use crate::common::{self, kernels};
use crate::touch;
use hmmrt::raw::{self, HMM_HOST, mapping};
use hmmrt::{AccessMode, Error, KernelId, LaunchArg, LaunchConfig, StreamId};

const MIB: usize = 1 << 20;

/// A block, and what is in it.
pub struct Filled {
    pub ptr: *mut u8,
    pub len: usize,
    seed: u8,
    /// What kernels have added to every byte.
    added: u8,
    /// Launches that failed, after which nobody can say whether the kernel was queued.
    unsure: u8,
    adopted: bool,
}

fn pattern(seed: u8, i: usize) -> u8 {
    ((i ^ (i >> 7) ^ ((i >> 12) * 13)) as u8).wrapping_add(seed)
}

impl Filled {
    fn fill(ptr: *mut u8, len: usize, seed: u8, adopted: bool) -> Filled {
        // SAFETY: a new block of that length.
        (0..len).for_each(|i| unsafe { ptr.add(i).write(pattern(seed, i)) });
        Filled { ptr, len, seed, added: 0, unsure: 0, adopted }
    }

    /// A block of the heap.
    pub fn new(len: usize, seed: u8) -> Filled {
        Filled::try_new(len, seed).unwrap()
    }

    fn try_new(len: usize, seed: u8) -> Result<Filled, Error> {
        Ok(Filled::fill(raw::malloc(len)?, len, seed, false))
    }

    /// Memory of the program's own.
    fn mapped(len: usize, seed: u8) -> Filled {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Filled::fill(at.cast(), len, seed, true)
    }

    fn byte(&self, i: usize) -> u8 {
        assert!(i < self.len);
        // SAFETY: inside the block; another step may have changed it behind the compiler's back.
        unsafe { self.ptr.add(i).read_volatile() }
    }

    /// Whether the byte is what it should be, given how often kernels whose fate is unknown have run.
    fn is_right(&self, i: usize, more: u8) -> bool {
        self.byte(i) == pattern(self.seed, i).wrapping_add(self.added).wrapping_add(more)
    }

    fn more(&self) -> Option<u8> {
        (0..=self.unsure).find(|more| self.is_right(0, *more))
    }

    /// A byte in 13: every place of a cache line, many of each page.
    #[track_caller]
    pub fn check(&self, what: &str) {
        let more =
            self.more().unwrap_or_else(|| panic!("{what}: {:p} begins with {}", self.ptr, self.byte(0)));
        let Some(wrong) = (0..self.len).step_by(13).find(|i| !self.is_right(*i, more)) else { return };
        // Where, and what is there: which pages, and whether they are zero.
        let first = wrong / 4096;
        let of = |page: usize| page * 4096..self.len.min((page + 1) * 4096);
        let count = |page: usize| of(page).filter(|i| !self.is_right(*i, more)).count();
        let is_zero = |page: usize| of(page).all(|i| self.byte(i) == 0);
        let pages: Vec<_> = (first..self.len.div_ceil(4096))
            .filter(|p| count(*p) > 0)
            .map(|p| (p, count(p), is_zero(p)))
            .collect();
        let byte = self.byte(wrong);
        let shown = &pages[..pages.len().min(20)];
        panic!(
            "{what}: {:p} of {}: byte {wrong} is {byte}; {} pages, of which (page, wrong bytes, all zero) {shown:?}",
            self.ptr,
            self.len,
            pages.len(),
        );
    }

    /// The first byte of every page, without a panic: for forked children.
    fn is_whole(&self) -> bool {
        self.more().is_some_and(|more| (0..self.len).step_by(4096).all(|i| self.is_right(i, more)))
    }

    fn free(&self) -> Result<(), Error> {
        match self.adopted {
            true => {
                // SAFETY: a mapping of the test's, disowned before.
                unsafe { libc::munmap(self.ptr.cast(), self.len) };
                Ok(())
            }
            // SAFETY: not used any more.
            false => unsafe { raw::free(self.ptr) },
        }
    }
}

/// The blocks, and what is needed to use them.
pub struct Work {
    pub blocks: Vec<Filled>,
    own: Filled,
    adopted: bool,
    /// Behind it, what could not be cut off.
    tail: usize,
    add: KernelId,
}

/// A step of the script.
pub type Step = fn(&mut Work) -> Result<(), Error>;

/// All of them, in order.
pub const STEPS: [(&str, Step); 15] = [
    ("allocate", Work::allocate),
    ("adopt", Work::adopt),
    ("send out", Work::send_out),
    ("touch", Work::touch),
    ("prefetch", Work::prefetch),
    ("launch", Work::launch),
    ("fork", Work::fork),
    ("touch again", Work::touch),
    ("parts", Work::parts),
    ("touch parts", Work::touch),
    ("pin", Work::pin),
    ("grow", Work::grow),
    ("stream", Work::stream),
    ("disown", Work::disown),
    ("free", Work::free_one),
];

/// What else a program does; not part of the script.
pub const MORE: [(&str, Step); 3] =
    [("discard", Work::discard), ("remap", Work::remap), ("restart", Work::restart)];

impl Work {
    /// With the devices open.
    pub fn new() -> Work {
        let blocks = [(4 * MIB + 20_000, 1), (2 * MIB, 2), (40_000, 3), (4096, 4)];
        Work {
            blocks: blocks.map(|(len, seed)| Filled::new(len, seed)).into(),
            own: Filled::mapped(3 * MIB + 8192, 5),
            adopted: false,
            tail: 0,
            add: kernels::kernel(0, "test_add_bytes"),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Filled> {
        self.blocks.iter().chain([&self.own])
    }

    fn managed(&self) -> impl Iterator<Item = &Filled> {
        self.blocks.iter().chain(Some(&self.own).filter(|_| self.adopted))
    }

    /// All blocks.
    #[track_caller]
    pub fn check(&self, what: &str) {
        self.all().for_each(|b| b.check(what));
    }

    /// Ends all of it: nothing is managed any more.
    pub fn end(self) {
        self.end_but(0);
    }

    /// As [`Work::end`], where others have `bytes`.
    pub fn end_but(mut self, bytes: usize) {
        self.cut().unwrap();
        self.disown().unwrap();
        self.check("at the end");
        self.all().for_each(|b| b.free().unwrap());
        let stats = raw::stats();
        assert_eq!(stats.managed_bytes, bytes as u64);
        assert!(bytes > 0 || stats.device_bytes == 0);
    }

    fn allocate(&mut self) -> Result<(), Error> {
        for (i, len) in [MIB, 30_000, 3 * MIB].into_iter().enumerate() {
            let block = Filled::try_new(len, 10 + i as u8)?;
            self.blocks.push(block);
        }
        Ok(())
    }

    fn adopt(&mut self) -> Result<(), Error> {
        if !self.adopted {
            // SAFETY: memory of the test's, which stays until it is disowned.
            unsafe { raw::adopt(self.own.ptr, self.own.len)? };
            self.adopted = true;
        }
        Ok(())
    }

    fn disown(&mut self) -> Result<(), Error> {
        if self.adopted {
            // SAFETY: adopted before.
            unsafe { raw::disown(self.own.ptr, self.own.len)? };
            self.adopted = false;
        }
        Ok(())
    }

    fn send_out(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for b in self.managed() {
            let sent = raw::migrate(b.ptr, b.len, 0);
            result = result.and(sent.map(drop)); // the others are tried all the same
        }
        result
    }

    /// Reads here, writes there.
    fn touch(&mut self) -> Result<(), Error> {
        for b in self.managed() {
            let more = b.more();
            assert!(more.is_some_and(|more| (0..b.len).step_by(300_000).all(|i| b.is_right(i, more))));
            for i in (0..b.len).step_by(500_000) {
                let now = b.byte(i);
                // SAFETY: inside the block.
                unsafe { b.ptr.add(i).write_volatile(now) };
            }
        }
        Ok(())
    }

    fn prefetch(&mut self) -> Result<(), Error> {
        for b in self.managed() {
            raw::prefetch(b.ptr, b.len, 0, StreamId::DEFAULT)?;
        }
        raw::stream_synchronize(StreamId::DEFAULT)
    }

    fn launch(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for b in &mut self.blocks {
            let (n, one) = (b.len as u64, 1_u8);
            let args = [
                LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite },
                LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
                LaunchArg::Value { data: (&raw const one).cast(), size: 1 },
            ];
            // SAFETY: the arguments are the kernel's.
            let launched = unsafe { raw::launch(self.add, &LaunchConfig::default(), &args) };
            match &launched {
                Ok(()) => b.added = b.added.wrapping_add(1),
                Err(_) => b.unsure += 1,
            }
            result = result.and(launched);
        }
        result.and(raw::stream_synchronize(StreamId::DEFAULT))
    }

    /// A child that looks at everything.
    fn fork(&mut self) -> Result<(), Error> {
        // SAFETY: the child looks at memory, and leaves.
        unsafe {
            match libc::fork() {
                -1 => {
                    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
                    Err(Error::System { call: "fork", errno })
                }
                0 => {
                    touch::take_bus_never();
                    libc::_exit(if self.all().all(Filled::is_whole) { 0 } else { 5 })
                }
                child => {
                    let mut status = 0;
                    while libc::waitpid(child, &mut status, 0) != child {
                        let e = std::io::Error::last_os_error();
                        assert_eq!(e.kind(), std::io::ErrorKind::Interrupted, "{e}");
                    }
                    match status >> 8 {
                        0 if status == 0 => Ok(()),
                        // SIGBUS: there was no room to bring home what it was to have a copy of.
                        touch::TOLD => Err(Error::NoMemory { what: "fork", bytes: 0 }),
                        _ => panic!("the child ended with {status:#x}"),
                    }
                }
            }
        }
    }

    /// Sends parts, so that mappings are split.
    fn parts(&mut self) -> Result<(), Error> {
        for b in self.managed() {
            for from in (0..b.len).step_by(700_000) {
                let len = 40_000.min(b.len - from);
                raw::migrate(b.ptr.wrapping_add(from), len, 0)?;
            }
        }
        Ok(())
    }

    fn pin(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for b in self.managed() {
            match raw::pin(b.ptr, b.len) {
                Ok(()) => raw::unpin(b.ptr, b.len).unwrap(),
                failed => result = result.and(failed),
            }
            // Whatever became of it, nothing is pinned now.
            let mut pages = vec![hmmrt::Page::default(); b.len.div_ceil(4096)];
            raw::query(b.ptr, b.len, &mut pages).unwrap();
            assert!(pages.iter().all(|p| p.flags & hmmrt::Page::PINNED == 0));
        }
        result
    }

    fn grow(&mut self) -> Result<(), Error> {
        for b in &mut self.blocks {
            let len = b.len * 2;
            // SAFETY: on failure the block is what it was.
            let ptr = unsafe { raw::realloc(b.ptr, len)? };
            let more = (0..=b.unsure).find(|m| {
                // SAFETY: the new block has what the old one had.
                unsafe { *ptr == pattern(b.seed, 0).wrapping_add(b.added).wrapping_add(*m) }
            });
            (b.ptr, b.added, b.unsure) = (ptr, b.added.wrapping_add(more.unwrap()), 0);
            b.check("grown");
            let value = |i| pattern(b.seed, i).wrapping_add(b.added);
            // SAFETY: the block's new part.
            (b.len..len).for_each(|i| unsafe { ptr.add(i).write(value(i)) });
            b.len = len;
        }
        Ok(())
    }

    fn stream(&mut self) -> Result<(), Error> {
        let stream = raw::stream_create(0)?;
        let b = &self.blocks[0];
        let sent = raw::prefetch(b.ptr, b.len, 0, stream);
        let done = raw::stream_synchronize(stream);
        raw::stream_destroy(stream).unwrap();
        let home = raw::prefetch(b.ptr, b.len, HMM_HOST, StreamId::DEFAULT);
        sent.and(done).and(home).and(raw::stream_synchronize(StreamId::DEFAULT))
    }

    /// A block that is away becomes zero, and what it was again.
    fn discard(&mut self) -> Result<(), Error> {
        let b = &mut self.blocks[1];
        raw::migrate(b.ptr, b.len, 0)?;
        // SAFETY: written anew below.
        unsafe { raw::discard(b.ptr, b.len)? };
        assert!((0..b.len).step_by(500).all(|i| b.byte(i) == 0), "what is discarded is not zero");
        *b = Filled::fill(b.ptr, b.len, b.seed, b.adopted);
        Ok(())
    }

    /// The program's own memory, away, becomes longer, somewhere else, and as short as before.
    fn remap(&mut self) -> Result<(), Error> {
        self.adopt()?;
        raw::migrate(self.own.ptr, self.own.len, 0)?;
        self.cut()?;
        self.remapped(self.own.len + MIB)?;
        self.tail = MIB;
        self.cut()
    }

    fn cut(&mut self) -> Result<(), Error> {
        if self.tail > 0 {
            self.remapped(self.own.len)?;
            self.tail = 0;
        }
        Ok(())
    }

    fn remapped(&mut self, len: usize) -> Result<(), Error> {
        let (at, now) = (self.own.ptr.addr(), self.own.len + self.tail);
        // SAFETY: memory of the test's, that it uses at the new address.
        let at = unsafe { mapping::remap(at, now, len, libc::MREMAP_MAYMOVE, 0) };
        let at = at.map_err(|errno| Error::System { call: "mremap", errno })?;
        self.own.ptr = std::ptr::with_exposed_provenance_mut(at);
        Ok(())
    }

    /// Everything comes home, and the runtime begins again.
    fn restart(&mut self) -> Result<(), Error> {
        self.send_out()?;
        raw::shutdown()?;
        self.check("after shutdown");
        raw::init(Some(common::config()))?;
        self.add = kernels::kernel(0, "test_add_bytes");
        Ok(())
    }

    fn free_one(&mut self) -> Result<(), Error> {
        let _ = raw::migrate(self.blocks[0].ptr, self.blocks[0].len, 0);
        let gone = self.blocks.remove(0);
        gone.free()?; // the block is to go whatever is short
        Ok(())
    }
}
