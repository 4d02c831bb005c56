//! A thread's own blocks, of which it alone knows what must be in them: everything that can be done with memory that nobody
//! else touches.

use super::{BLOCKS, CHECKED, REFUSED, Worker};
use crate::history::{fail, note, op};
use crate::kernels::allowed;
use crate::private::Private;
use crate::random::Random;
use core::sync::atomic::Ordering::*;
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{AccessMode, Page};

impl Worker<'_> {
    /// One operation on a block of its own.
    pub(super) fn own_block(&mut self) {
        let n = self.random.below(BLOCKS);
        let (from, len) = self.random.part(self.blocks[n].len());
        let (first, count, salt) = (from / 8, len / 8, self.random.next() | 1);
        let (d, to, step) = (self.device(), self.place(), 1 + self.random.below(9));
        let (me, at) = (self.me, self.blocks[n].word(first).addr());
        let (block, device) = (&mut self.blocks[n], &self.devices[d]);
        match self.random.below(20) {
            0..=2 => {
                note(me, const { op("check a block") }, at, len, 0);
                block.check(first, count, step);
                CHECKED.fetch_add((count / step) as u64, Relaxed);
            }
            3..=5 => {
                note(me, const { op("write a block") }, at, len, 0);
                block.write(first, count, step, salt);
            }
            6..=8 => {
                note(me, const { op("migrate") }, at, len, to as u64);
                let done = raw::migrate(block.word(first).cast(), len, to).map(|_| ());
                self.refused(allowed(done, at));
            }
            9..=10 => {
                note(me, const { op("launch: fill (writes)") }, at, len, d as u64);
                let with = salt as u32;
                if device.fill(block.word(first).cast(), count as u64 * 2, with) {
                    block.model[first..first + count].fill(u64::from(with) << 32 | u64::from(with));
                } else {
                    block.restore(first, count);
                    REFUSED.fetch_add(1, Relaxed);
                }
            }
            11 => self.launch_copy(n, first, count, d),
            12 => self.launch_sum(n, first, count, d),
            13 if salt & 2 == 0 => {
                note(me, const { op("discard") }, at, len, 0);
                block.discard(from, len);
            }
            13 => {
                note(me, const { op("host_ready") }, at, len, 0);
                let done = raw::host_ready(block.word(first).cast(), len, AccessMode::ReadWrite);
                self.refused(allowed(done, at));
            }
            14 => self.protect(n, first, to),
            15..=16 if block.adopted && salt & 6 != 0 => self.move_about(n, first, to),
            15..=16 => self.resize(n, salt),
            17 if block.adopted => {
                note(me, const { op("disown and adopt again") }, block.ptr.addr(), block.len(), 0);
                self.rest();
                self.blocks[n].readopt();
            }
            _ => {
                note(me, const { op("free") }, block.ptr.addr(), block.len(), u64::from(block.adopted));
                let look = self.random.below(2) == 0;
                let new = fresh(&mut self.random);
                note(me, const { op("malloc") }, new.ptr.addr(), new.len(), u64::from(new.adopted));
                core::mem::replace(&mut self.blocks[n], new).free(look);
                let words = self.blocks[n].model.len();
                self.blocks[n].check(0, words, 11); // zeros
                self.blocks[n].write(0, words, 4, salt);
            }
        }
    }

    fn launch_copy(&mut self, to: usize, first: usize, count: usize, d: usize) {
        let from = (to + 1 + self.random.below(BLOCKS - 1)) % BLOCKS;
        let count = count.min(self.blocks[from].model.len());
        let (target, source) = (self.blocks[to].word(first), self.blocks[from].word(0));
        note(self.me, const { op("launch: copy") }, target.addr(), count * 8, d as u64);
        if self.devices[d].copy(target.cast(), source.cast_const().cast(), count as u64 * 8) {
            let copied = self.blocks[from].model[..count].to_vec();
            self.blocks[to].model[first..first + count].copy_from_slice(&copied);
        } else {
            self.blocks[to].restore(first, count);
            REFUSED.fetch_add(1, Relaxed);
        }
    }

    fn launch_sum(&mut self, of: usize, first: usize, count: usize, d: usize) {
        let block = &self.blocks[of];
        let from = block.word(first);
        note(self.me, const { op("launch: sum") }, from.addr(), count * 8, d as u64);
        if self.devices[d].sum(self.sum.ptr, from.cast(), count as u64 * 2) {
            let words = &block.model[first..first + count];
            let sum = words.iter().fold(0u64, |s, w| s.wrapping_add(w & 0xffff_ffff).wrapping_add(w >> 32));
            self.sum.model[0] = self.sum.model[0].wrapping_add(sum);
        } else {
            REFUSED.fetch_add(1, Relaxed);
        }
        if first.is_multiple_of(2) {
            self.sum.check(0, 1, 1);
        }
    }

    /// Read-only for a while, and moved meanwhile: whole pages of the heap's and of adopted memory.
    fn protect(&mut self, n: usize, first: usize, to: i32) {
        let block = &self.blocks[n];
        let all = block.len() / 4096;
        if all == 0 {
            return;
        }
        let page = (first / 512).min(all - 1);
        let pages = 1 + self.random.below(all - page);
        let at = block.word(page * 512);
        let by_mprotect = block.adopted;
        match by_mprotect {
            true => note(self.me, const { op("mprotect") }, at.addr(), pages * 4096, to as u64),
            false => note(self.me, const { op("hmm_protect") }, at.addr(), pages * 4096, to as u64),
        }
        self.rest();
        block.protect(page, pages, false, by_mprotect);
        // Home, too, with a page that is not writable.
        for place in [to, HMM_HOST] {
            let done = raw::migrate(at.cast(), pages * 4096, place).map(|_| ());
            self.refused(allowed(done, at.addr()));
            block.check(page * 512, pages * 512, 37);
        }
        let mut out = [Page::default()];
        if raw::query(at.cast(), 1, &mut out).is_err()
            || out[0].flags & (Page::READ | Page::WRITE) != Page::READ
        {
            fail(format_args!("read-only, and its flags are {:#x}", out[0].flags), at.addr());
        }
        block.protect(page, pages, true, by_mprotect);
    }

    /// Adopted memory: some pages of the block go elsewhere and come back, while others are on a device.
    fn move_about(&mut self, n: usize, first: usize, to: i32) {
        let block = &self.blocks[n];
        let all = block.len() / 4096;
        let page = first / 512;
        let pages = 1 + self.random.below(all - page);
        let device = self.devices[self.random.below(self.devices.len())].number;
        let at = block.word(page * 512).addr();
        note(self.me, const { op("mremap there and back") }, at, pages * 4096, to as u64);
        if self.random.below(2) == 0 {
            self.refused(allowed(raw::migrate(block.ptr, block.len(), device).map(|_| ()), at));
        }
        let block = &self.blocks[n];
        block.there_and_back(page, pages, to);
        block.check(0, block.model.len(), 3);
        CHECKED.fetch_add(block.model.len() as u64 / 3, Relaxed);
    }

    fn resize(&mut self, n: usize, salt: u64) {
        let len = size(&mut self.random);
        let (cut, pages) = (self.random.below(2) == 0, self.random.next());
        let block = &mut self.blocks[n];
        let has = block.len() / 4096;
        if block.adopted && cut && has > 1 {
            note(self.me, const { op("munmap of the tail") }, block.ptr.addr(), block.len(), 0);
            block.cut(1 + pages as usize % (has - 1));
        } else {
            match block.adopted {
                true => note(self.me, const { op("mremap") }, block.ptr.addr(), block.len(), len as u64),
                false => note(self.me, const { op("realloc") }, block.ptr.addr(), block.len(), len as u64),
            }
            block.resize(len, salt);
        }
        let words = self.blocks[n].model.len();
        self.blocks[n].check(0, words, 5);
        CHECKED.fetch_add(words as u64 / 5, Relaxed);
    }
}

/// A size in bytes, a multiple of 8: mostly small.
fn size(random: &mut Random) -> usize {
    let most = [4096, 16_384, 65_536, 300_000, 1 << 20, 2 << 20, 5 << 20][random.below(7)];
    (1 + random.below(most / 8)) * 8
}

/// A block of zeros.
pub(super) fn fresh(random: &mut Random) -> Private {
    let len = size(random);
    match random.below(3) {
        0 => Private::adopt(len.div_ceil(4096)),
        _ => Private::allocate(len),
    }
}
