//! Blocks that all threads share, word by word. Word i belongs to thread `i % (threads + 1)`; the last kind are counters
//! that everybody adds to. An owned word holds its version and a hash of (block, index, version), so that a torn, zero or
//! foreign value is none that it can have; which versions it may have at this moment is known from unmanaged memory.

use crate::history::fail;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use hmmrt::raw;

/// A shared block and its model.
pub struct Field {
    /// Its first byte.
    pub ptr: *mut u8,
    /// Its length in bytes.
    pub len: usize,
    /// Its number, which is part of every value.
    pub number: usize,
    threads: usize,
    /// The program's own memory, adopted.
    adopted: bool,
    /// Of owned words: the version that the owner has finished writing. Of counters: adds that are done.
    done: Vec<AtomicU32>,
    /// Of counters: adds that have begun.
    begun: Vec<AtomicU32>,
}

// SAFETY: managed memory that is used through atomics only.
unsafe impl Send for Field {}
// SAFETY: as above.
unsafe impl Sync for Field {}

/// What an owned word holds at a version, which is never 0.
pub fn value(field: usize, index: usize, version: u32) -> u64 {
    let mut h = (field as u64) << 48 ^ (index as u64) << 20 ^ u64::from(version);
    h = (h ^ h >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ h >> 32).wrapping_mul(0x94d0_49bb_1331_11eb);
    h >> 32 << 32 | u64::from(version)
}

impl Field {
    /// A block in its first state.
    pub fn new(number: usize, len: usize, threads: usize, adopted: bool) -> Field {
        let ptr = if adopted {
            let p = crate::os::map(len);
            // SAFETY: the mapping stays until `Drop`, which disowns it.
            unsafe { raw::adopt(p, len) }.unwrap_or_else(|e| fail(format_args!("adopt: {e}"), p.addr()));
            p
        } else {
            raw::malloc(len).unwrap_or_else(|e| fail(format_args!("malloc: {e}"), 0))
        };
        let words = || (0..len / 8).map(|_| AtomicU32::new(0)).collect();
        let f = Field { ptr, len, number, threads, adopted, done: words(), begun: words() };
        for i in 0..len / 8 {
            let first = if f.owner(i).is_some() { 1 } else { 0 };
            f.done[i].store(first, Relaxed);
            f.word(i).store(if first == 1 { value(number, i, 1) } else { 0 }, Relaxed);
        }
        f
    }

    /// Words in it.
    pub fn words(&self) -> usize {
        self.len / 8
    }

    /// Word `i`.
    pub fn word(&self, i: usize) -> &AtomicU64 {
        assert!(i < self.words());
        // SAFETY: inside the block, aligned.
        unsafe { &*self.ptr.cast::<AtomicU64>().add(i) }
    }

    /// Whose word it is; `None`: a counter.
    pub fn owner(&self, i: usize) -> Option<usize> {
        let who = i % (self.threads + 1);
        (who < self.threads).then_some(who)
    }

    /// The least that word `i` may be from now on: its version, or a count.
    pub fn least(&self, i: usize) -> u32 {
        self.done[i].load(SeqCst)
    }

    /// Whether `now`, read of word `i` after `least` was asked, is a value that it may have.
    pub fn check(&self, i: usize, now: u64, least: u32, who: &str) {
        match self.owner(i) {
            Some(owner) => {
                let version = now as u32;
                let most = self.done[i].load(SeqCst).wrapping_add(1);
                if now != value(self.number, i, version) || version < least || version > most {
                    fail(
                        format_args!(
                            "{who}: word {i} of field {} (thread {owner}'s) is {now:#x}: version {version}, \
                             expected {least} to {most}, {}",
                            self.number,
                            if now == value(self.number, i, version) {
                                "whole"
                            } else {
                                "no value it ever had"
                            }
                        ),
                        self.word(i).as_ptr().addr(),
                    );
                }
            }
            None => {
                let most = self.begun[i].load(SeqCst);
                if now < u64::from(least) || now > u64::from(most) {
                    fail(
                        format_args!(
                            "{who}: counter {i} of field {} is {now:#x}, expected {least} to {most}",
                            self.number
                        ),
                        self.word(i).as_ptr().addr(),
                    );
                }
            }
        }
    }

    /// Reads word `i` and checks it.
    pub fn read(&self, i: usize) {
        let least = self.least(i);
        self.check(i, self.word(i).load(Relaxed), least, "a read");
    }

    /// The owner `me` writes the next version of word `i`, having checked that the last one is there.
    pub fn write(&self, i: usize, me: usize) {
        debug_assert_eq!(self.owner(i), Some(me));
        let version = self.done[i].load(Relaxed);
        let (old, new) =
            (value(self.number, i, version), value(self.number, i, version.wrapping_add(1).max(1)));
        let found = if i & 8 == 0 { self.word(i).swap(new, Relaxed) } else { self.word(i).load(Relaxed) };
        if found != old {
            fail(
                format_args!(
                    "own word {i} of field {} is {found:#x} (version {}), and was written as version {version}",
                    self.number, found as u32
                ),
                self.word(i).as_ptr().addr(),
            );
        }
        if i & 8 != 0 {
            self.word(i).store(new, Relaxed);
        }
        self.done[i].store(version.wrapping_add(1).max(1), SeqCst);
    }

    /// Adds one to counter `i`.
    pub fn add(&self, i: usize) {
        debug_assert_eq!(self.owner(i), None);
        self.add_with(i, || {
            self.word(i).fetch_add(1, Relaxed);
            true
        });
    }

    /// Adds one to counter `i` by `add`, which says whether it did.
    pub fn add_with(&self, i: usize, add: impl FnOnce() -> bool) {
        self.begun[i].fetch_add(1, SeqCst);
        if add() {
            self.done[i].fetch_add(1, SeqCst);
        } else {
            self.begun[i].fetch_sub(1, SeqCst);
        }
    }

    /// The owner's kernel has been queued that writes the next versions of its words from `first` to `end`.
    pub fn bumped(&self, first: usize, end: usize, me: usize) {
        for i in (first..end).filter(|i| self.owner(*i) == Some(me)) {
            self.done[i].fetch_add(1, SeqCst);
        }
    }

    /// With everybody at rest: every word from `first` to `end` is exactly what it was left as.
    pub fn sweep(&self, first: usize, end: usize) {
        for i in first..end {
            let (now, done) = (self.word(i).load(Relaxed), self.done[i].load(SeqCst));
            let expected =
                if self.owner(i).is_some() { value(self.number, i, done) } else { u64::from(done) };
            if now != expected {
                fail(
                    format_args!(
                        "at rest: word {i} of field {} is {now:#x} and was left as {expected:#x}",
                        self.number
                    ),
                    self.word(i).as_ptr().addr(),
                );
            }
        }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more.
        let done = unsafe {
            if self.adopted {
                raw::mapping::unmap(self.ptr.expose_provenance(), self.len).map(|_| ()).is_ok()
            } else {
                raw::free(self.ptr).is_ok()
            }
        };
        if !done {
            fail(format_args!("field {} can't be given back", self.number), self.ptr.addr());
        }
    }
}
