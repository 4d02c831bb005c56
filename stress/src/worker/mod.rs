//! One thread: chooses what to do next, by its own random numbers alone, and does it. Errors that others cause (a full
//! device, a pinned page) change nothing of what it chooses later. What it does with blocks of its own is in `own`.

mod meanwhile;
mod own;

use crate::field::Field;
use crate::habit::Habit;
use crate::history::{fail, note, op};
use crate::kernels::{Device, allowed};
use crate::os;
use crate::private::Private;
use crate::random::Random;
use core::sync::atomic::{AtomicU64, Ordering::*};
use hmmrt::raw::{self, Advice, HMM_HOST};
use hmmrt::{Access, AccessMode, Page};
use own::fresh;

/// Words that were compared, by anybody.
pub static CHECKED: AtomicU64 = AtomicU64::new(0);
/// Operations that a full device or a neighbour's use refused.
pub static REFUSED: AtomicU64 = AtomicU64::new(0);
/// Children that found all in order.
pub static CHILDREN: AtomicU64 = AtomicU64::new(0);

const BLOCKS: usize = 10;

/// A thread.
pub struct Worker<'a> {
    me: usize,
    random: Random,
    fields: &'a [Field],
    devices: Vec<Device>,
    blocks: Vec<Private>,
    habit: Habit,
    /// A word that sums go to, and what it should be.
    sum: Private,
    forks: bool,
}

impl<'a> Worker<'a> {
    /// Thread `me`, with blocks of its own.
    pub fn new(me: usize, seed: u64, fields: &'a [Field], forks: bool) -> Worker<'a> {
        let mut random = Random::new(seed, me);
        let blocks = (0..BLOCKS).map(|_| fresh(&mut random)).collect();
        let (habit, sum) = (Habit::new(&mut random), Private::allocate(8));
        Worker { me, random, fields, devices: Vec::new(), blocks, habit, sum, forks }
    }

    /// Makes its streams: after each start of the runtime.
    pub fn open(&mut self) {
        let count = raw::device_count().unwrap_or_else(|e| fail(format_args!("devices: {e}"), 0));
        self.devices = (0..count as i32).map(Device::open).collect();
    }

    /// Ends its streams, with all work done.
    pub fn close(&mut self) {
        for d in self.devices.drain(..) {
            d.synchronize();
            d.close();
        }
    }

    /// Waits for its work.
    pub fn rest(&self) {
        self.devices.iter().for_each(Device::synchronize);
    }

    /// With everybody at rest: its share of the fields, and all of its blocks.
    pub fn sweep(&self, threads: usize) {
        for f in self.fields {
            let share = f.words().div_ceil(threads);
            let (first, end) = ((self.me * share).min(f.words()), ((self.me + 1) * share).min(f.words()));
            self.note("sweep", f.word(0).as_ptr().addr(), f.len, first as u64);
            f.sweep(first, end);
            CHECKED.fetch_add((end - first) as u64, Relaxed);
        }
        for b in self.blocks.iter().chain(self.habit.blocks()).chain([&self.sum]) {
            b.check(0, b.model.len(), 1);
            CHECKED.fetch_add(b.model.len() as u64, Relaxed);
        }
    }

    /// Gives its blocks back.
    pub fn end(self) {
        self.blocks.into_iter().chain([self.sum]).for_each(|b| b.free(true));
        self.habit.free();
    }

    fn note(&self, name: &str, addr: usize, len: usize, more: u64) {
        let index = crate::history::NAMES.iter().position(|n| *n == name).unwrap_or(0);
        note(self.me, index, addr, len, more);
    }

    /// A field and a part of it in words.
    fn choose(&mut self) -> (&'a Field, usize, usize) {
        let f = &self.fields[self.random.below(self.fields.len())];
        let (from, len) = self.random.part(f.len);
        (f, from / 8, (len / 8).max(1))
    }

    fn device(&mut self) -> usize {
        self.random.below(self.devices.len())
    }

    /// The host, or some device.
    fn place(&mut self) -> i32 {
        let n = self.random.below(self.devices.len() + 2);
        self.devices.get(n).map_or(HMM_HOST, |d| d.number)
    }

    fn refused(&self, done: bool) -> bool {
        if !done {
            REFUSED.fetch_add(1, Relaxed);
        }
        !done
    }

    /// One operation.
    pub fn step(&mut self) {
        match self.random.below(100) {
            0..=19 => self.read(),
            20..=37 => self.write(),
            38..=45 => self.add(),
            46..=57 => self.migrate(),
            58..=62 => self.prefetch(),
            63..=66 => self.launch_add(),
            67..=69 => self.launch_words(),
            70..=72 => self.acquire(),
            73 => self.pin(),
            74 => self.advise(),
            75 => self.ready(),
            76 => self.query(),
            77 if self.random.below(20) == 0 => self.fork(),
            78 if self.random.below(10) == 0 => self.evict(),
            78 if self.random.below(3) == 0 => self.rounds(),
            78 => self.read_in_order(),
            79 => {
                let d = self.device();
                note(self.me, const { op("synchronize") }, 0, 0, d as u64);
                self.devices[d].synchronize();
            }
            _ => self.own_block(),
        }
    }

    fn read(&mut self) {
        let (f, first, count) = self.choose();
        let (step, most) = (1 + self.random.below(600), 200);
        note(self.me, const { op("read words") }, f.word(first).as_ptr().addr(), count * 8, step as u64);
        let mut n = 0;
        for i in (first..first + count).step_by(step).take(most) {
            f.read(i);
            n += 1;
        }
        CHECKED.fetch_add(n, Relaxed);
    }

    /// A word of each page of a field, of all of it, as readers do that are read ahead of.
    fn read_in_order(&mut self) {
        let f = &self.fields[self.random.below(self.fields.len())];
        note(self.me, const { op("read a field in order") }, f.word(0).as_ptr().addr(), f.len, 0);
        if self.random.below(2) == 0 {
            let d = self.device();
            let done = raw::migrate(f.ptr, f.len, self.devices[d].number).map(|_| ());
            self.refused(allowed(done, f.ptr.addr()));
        }
        (0..f.words()).step_by(512).for_each(|i| f.read(i));
        CHECKED.fetch_add((f.words() / 512) as u64, Relaxed);
    }

    fn rounds(&mut self) {
        let d = self.me % self.devices.len(); // the same one each time
        note(self.me, const { op("rounds of a habit") }, self.habit.addr(), 0, d as u64);
        let (compared, refused) = self.habit.rounds(&self.devices[d], &mut self.random);
        CHECKED.fetch_add(compared, Relaxed);
        REFUSED.fetch_add(refused, Relaxed);
    }

    fn write(&mut self) {
        let (f, first, count) = self.choose();
        let (step, most) = (1 + self.random.below(600), 100);
        note(self.me, const { op("write words") }, f.word(first).as_ptr().addr(), count * 8, step as u64);
        let mut n = 0;
        for i in (first..first + count).step_by(step) {
            // The next word of ours from there.
            let mine = (i..f.words().min(i + 64)).find(|i| f.owner(*i) == Some(self.me));
            if let Some(i) = mine.filter(|_| n < most) {
                f.write(i, self.me);
                n += 1;
            }
        }
        CHECKED.fetch_add(n, Relaxed);
    }

    fn add(&mut self) {
        let (f, first, count) = self.choose();
        let step = 1 + self.random.below(600);
        note(self.me, const { op("atomic adds") }, f.word(first).as_ptr().addr(), count * 8, step as u64);
        for i in (first..first + count).step_by(step).take(40) {
            if let Some(i) = (i..f.words().min(i + 64)).find(|i| f.owner(*i).is_none()) {
                f.add(i);
                f.read(i);
            }
        }
        CHECKED.fetch_add(1, Relaxed);
    }

    fn migrate(&mut self) {
        let ((f, first, count), to) = (self.choose(), self.place());
        let ptr = f.word(first).as_ptr().cast::<u8>().cast_const();
        note(self.me, const { op("migrate") }, ptr.addr(), count * 8, to as u64);
        self.refused(allowed(raw::migrate(ptr, count * 8, to).map(|_| ()), ptr.addr()));
    }

    fn prefetch(&mut self) {
        let ((f, first, count), to, d) = (self.choose(), self.place(), self.device());
        let ptr = f.word(first).as_ptr().cast::<u8>().cast_const();
        note(self.me, const { op("prefetch") }, ptr.addr(), count * 8, to as u64);
        self.refused(allowed(raw::prefetch(ptr, count * 8, to, self.devices[d].stream), ptr.addr()));
    }

    fn launch_add(&mut self) {
        let ((f, first, _), d) = (self.choose(), self.device());
        let Some(i) = (first..f.words()).find(|i| f.owner(*i).is_none()) else { return };
        let word = f.word(i).as_ptr();
        note(self.me, const { op("launch: add word") }, word.addr(), 8, d as u64);
        f.add_with(i, || !self.refused(self.devices[d].add_word(word)));
    }

    fn launch_words(&mut self) {
        let ((f, first, count), d, writes) = (self.choose(), self.device(), self.random.below(2) == 0);
        let count = count.min(40_000);
        let at = f.word(first).as_ptr().addr();
        if !self.devices[d].has_own_kernels() {
            return;
        }
        match writes {
            true => note(self.me, const { op("launch: bump (reads and writes)") }, at, count * 8, d as u64),
            false => note(self.me, const { op("launch: verify (reads)") }, at, count * 8, d as u64),
        }
        let launched = self.devices[d].words(f, first, count, self.me, writes);
        if !self.refused(launched) && writes {
            f.bumped(first, first + count, self.me);
        }
        CHECKED.fetch_add(count as u64, Relaxed);
    }

    fn acquire(&mut self) {
        let ((f, first, count), (g, other, more)) = (self.choose(), self.choose());
        let (d, mode) = (self.device(), self.random.below(2));
        let mode = [AccessMode::Read, AccessMode::ReadWrite][mode];
        let (ptr, second) = (f.word(first).as_ptr().cast(), g.word(other).as_ptr().cast());
        let ranges = [
            Access { ptr, len: count * 8, mode },
            Access { ptr: second, len: more.min(512) * 8, mode: AccessMode::Read },
        ];
        note(self.me, const { op("acquire and release") }, ptr.addr(), count * 8, d as u64);
        let device = &self.devices[d];
        // SAFETY: no device writes anything.
        let done = unsafe { raw::acquire(device.number, device.stream, &ranges) };
        if !self.refused(allowed(done, ptr.addr())) {
            allowed(raw::release(device.number, device.stream), ptr.addr());
        }
    }

    fn pin(&mut self) {
        let (f, first, count) = self.choose();
        let ptr: *const u8 = f.word(first).as_ptr().cast();
        note(self.me, const { op("pin and unpin") }, ptr.addr(), count * 8, 0);
        if self.refused(allowed(raw::pin(ptr, count * 8), ptr.addr())) {
            return;
        }
        let mut page = [Page::default()];
        if let Err(e) = raw::query(ptr, 1, &mut page) {
            fail(format_args!("query: {e}"), ptr.addr());
        }
        if page[0].flags & Page::PINNED == 0
            || page[0].flags & Page::DEVICE != 0 && page[0].flags & Page::HOST == 0
        {
            fail(format_args!("pinned, and its page has flags {:#x}", page[0].flags), ptr.addr());
        }
        (first..first + count).step_by(512).take(64).for_each(|i| f.read(i));
        if let Err(e) = raw::unpin(ptr, count * 8) {
            fail(format_args!("unpin: {e}"), ptr.addr());
        }
    }

    fn advise(&mut self) {
        use Advice::*;
        let ((f, first, count), to) = (self.choose(), self.place());
        let all = [
            ReadMostly,
            UnsetReadMostly,
            PreferredLocation,
            UnsetPreferredLocation,
            AccessedBy,
            UnsetAccessedBy,
            Sequential,
            Random,
            UnsetPattern,
        ];
        let what = all[self.random.below(all.len())];
        let ptr = f.word(first).as_ptr().cast::<u8>().cast_const();
        note(self.me, const { op("advise") }, ptr.addr(), count * 8, what as u64);
        if let Err(e) = raw::advise(ptr, count * 8, what, to) {
            fail(format_args!("advise: {e}"), ptr.addr());
        }
    }

    fn ready(&mut self) {
        let (f, first, count) = self.choose();
        let mode = [AccessMode::Read, AccessMode::ReadWrite][self.random.below(2)];
        let ptr = f.word(first).as_ptr().cast::<u8>().cast_const();
        note(self.me, const { op("host_ready") }, ptr.addr(), count * 8, mode as u64);
        self.refused(allowed(raw::host_ready(ptr, count * 8, mode), ptr.addr()));
        f.read(first);
    }

    fn query(&mut self) {
        let (f, first, count) = self.choose();
        let count = count.min(512 * 600);
        let ptr = f.word(first).as_ptr().cast::<u8>().cast_const();
        note(self.me, const { op("query") }, ptr.addr(), count * 8, 0);
        let mut out = vec![Page::default(); count / 512 + 2];
        if let Err(e) = raw::query(ptr, count * 8, &mut out) {
            fail(format_args!("query: {e}"), ptr.addr());
        }
        let pages = (ptr.addr() % 4096 + count * 8).div_ceil(4096);
        let lost =
            out[..pages].iter().position(|p| p.flags & (Page::UNTOUCHED | Page::HOST | Page::DEVICE) == 0);
        if let Some(lost) = lost {
            fail(format_args!("a page is nowhere"), (ptr.addr() & !4095) + lost * 4096);
        }
    }

    /// Asks for much more of a device than it has.
    fn evict(&mut self) {
        let d = self.device();
        note(self.me, const { op("evict (fill the device)") }, 0, 0, d as u64);
        for f in self.fields {
            if self.refused(allowed(
                raw::migrate(f.ptr, f.len, self.devices[d].number).map(|_| ()),
                f.ptr.addr(),
            )) {
                return;
            }
        }
    }

    /// A child sees this thread's blocks as they are, writes them, and is gone; its parent sees nothing of it.
    fn fork(&mut self) {
        if !self.forks {
            return;
        }
        let (b, salt) = (self.random.below(BLOCKS), self.random.next() | 1);
        note(self.me, const { op("fork") }, self.blocks[b].ptr.addr(), self.blocks[b].len(), 0);
        self.rest(); // what this thread's kernels still write is not in the child
        let blocks = &mut self.blocks;
        let status = os::in_child(|| {
            let wrong = blocks.iter().position(|b| b.differs(0, b.model.len(), 5).is_some());
            if let Some(wrong) = wrong {
                return 10 + wrong as u8;
            }
            let words = blocks[b].model.len();
            blocks[b].write(0, words, 3, salt);
            if blocks[b].differs(0, words, 1).is_some() { 1 } else { 0 }
        });
        if status != 0 {
            let (code, signal) = (status >> 8, status & 127);
            let which = (code - 10).clamp(0, BLOCKS as i32 - 1) as usize;
            fail(
                format_args!(
                    "a forked child: code {code} (1: not what it wrote; 10 and up: that block was not as it should \
                     be; 99: a signal), signal {signal}"
                ),
                self.blocks[which].ptr.addr(),
            );
        }
        CHILDREN.fetch_add(1, Relaxed);
        self.blocks[b].check(0, self.blocks[b].model.len(), 3);
    }
}
