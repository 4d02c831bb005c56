//! The calls that make blocks and end them, and the CPU's own accesses.

use super::block::{Block, Kind, PAGE};
use super::{MOST_BLOCKS, MOST_BYTES, OWN_PAGES, World, expect, kernels, own, refused};
use crate::os;
use hmmrt_interface::memory::{
    hmm_adopt, hmm_aligned_alloc, hmm_calloc, hmm_disown, hmm_free, hmm_malloc, hmm_owns, hmm_protect,
    hmm_realloc, hmm_usable_size,
};
use hmmrt_interface::movement::hmm_unpin;
use hmmrt_interface::status::hmm_status::*;

const SIZES: [usize; 16] = [
    0,
    1,
    8,
    100,
    4095,
    4096,
    4097,
    20_000,
    65_536,
    300_000,
    1 << 20,
    (2 << 20) - 1,
    2 << 20,
    (2 << 20) + 5000,
    3 << 20,
    5 << 20,
];

/// Makes a block readable and writable, and free of pins.
pub(super) fn open(block: &mut Block, is_up: bool) {
    if !is_up {
        // What the program has made of its protection, shutdown has made: nothing is away, mprotect would do.
        let pages = block.at / PAGE * PAGE;
        let len = (block.at - pages + block.len()).next_multiple_of(PAGE);
        let at = core::ptr::with_exposed_provenance_mut(pages);
        // SAFETY: pages of a block that nobody uses.
        unsafe { os::open(at, len.max(PAGE)) };
        return;
    }
    for (from, len) in core::mem::take(&mut block.pins) {
        assert_eq!(hmm_unpin(block.pointer(from).cast(), len), HMM_OK);
    }
    if block.len() > 0 && !block.allows(0, block.len(), 3) {
        // SAFETY: nobody relies on the protection.
        let status = unsafe { hmm_protect(block.pointer(0).cast(), block.len(), kernels::raw(3)) };
        assert_eq!(status, HMM_OK);
        block.protect(0, block.len(), 3);
    }
}

impl World<'_> {
    /// A length for a new block.
    fn size(&mut self) -> usize {
        SIZES[self.bytes.below(SIZES.len())]
    }

    fn has_room(&self, size: usize) -> bool {
        self.blocks.len() < MOST_BLOCKS && self.alive() + size <= MOST_BYTES
    }

    pub(super) fn allocate(&mut self) {
        let which = self.bytes.below(4);
        let wild = self.bytes.once_in(8);
        let size = if wild { self.bytes.wild() } else { self.size() };
        if !wild && !self.has_room(size) {
            return;
        }
        let mut alignment = 16;
        let at = match which {
            0 => hmm_malloc(size),
            1 => {
                let n = if size % 8 == 0 && !wild { 8 } else { 1 };
                hmm_calloc(size / n, n)
            }
            2 if wild => {
                let n = self.bytes.wild();
                hmm_calloc(n, size)
            }
            _ => {
                alignment = 1 << self.bytes.below(26);
                hmm_aligned_alloc(alignment, size)
            }
        };
        if at.is_null() {
            assert!(
                wild || !self.is_up || size + alignment > MOST_BYTES,
                "no block of {size} at {alignment}"
            );
            return;
        }
        assert!(self.is_up && !wild, "a block of {size:#x}");
        assert!(at.addr() % alignment == 0, "{at:p} is no multiple of {alignment:#x}");
        assert!(hmm_usable_size(at) >= size && hmm_owns(at));
        let at = at.expose_provenance();
        let is_elsewhere = |block: &Block| at + size <= block.at || block.at + block.len() <= at;
        assert!(self.blocks.iter().all(is_elsewhere), "two blocks at {at:#x}");
        let zeros = which == 1;
        self.blocks.push(if zeros {
            Block::zeros(at, size, Kind::Heap)
        } else {
            Block::unknown(at, size, Kind::Heap)
        });
    }

    pub(super) fn reallocate(&mut self) {
        let wild = self.bytes.once_in(8);
        let size = if wild { self.bytes.wild() } else { self.size() };
        let Some(number) = self.any_block() else { return };
        let block = &self.blocks[number];
        if block.kind != Kind::Heap {
            // SAFETY: refused.
            assert!(unsafe { hmm_realloc(block.pointer(0).cast(), size) }.is_null());
            return;
        }
        // What is protected or acquired can't be moved by a copy.
        if !block.is_plain() || (!wild && self.alive() + size > MOST_BYTES) || size == 0 {
            return;
        }
        let old = block.pointer(0);
        // SAFETY: nobody uses the block meanwhile.
        let new = unsafe { hmm_realloc(old.cast(), size) };
        if new.is_null() {
            assert!(wild || !self.is_up, "no block of {size}");
            return;
        }
        assert!(self.is_up && !wild && hmm_usable_size(new) >= size);
        self.blocks[number].resized(new.expose_provenance(), size);
    }

    pub(super) fn free(&mut self) {
        if self.bytes.once_in(4) {
            return self.free_wild();
        }
        let Some(number) = self.any_block() else { return };
        let block = &self.blocks[number];
        if block.kind != Kind::Heap {
            return;
        }
        let at = block.pointer(0).cast();
        // SAFETY: nobody uses the block any more.
        unsafe { hmm_free(at) };
        if hmm_usable_size(at) == 0 {
            self.blocks.swap_remove(number);
        } else {
            assert!(!block.is_unused(), "a block that could be freed was not");
        }
    }

    /// What is no block's start is not freed.
    fn free_wild(&mut self) {
        let at = match self.any_block() {
            Some(number) if self.bytes.once_in(2) => self.blocks[number].at + 1 + self.bytes.below(64),
            _ => self.bytes.wild(),
        };
        let is_block = |block: &Block| block.at == at && block.kind == Kind::Heap;
        if !self.blocks.iter().any(is_block) {
            // SAFETY: refused.
            unsafe { hmm_free(core::ptr::with_exposed_provenance_mut(at)) };
        }
    }

    pub(super) fn sizes(&mut self) {
        let at = match self.any_block() {
            Some(number) => {
                let block = &self.blocks[number];
                let from = [0, 1, block.len().saturating_sub(1)][self.bytes.below(3)];
                let is_start = from == 0 && block.kind == Kind::Heap;
                let usable = hmm_usable_size(block.pointer(from).cast());
                assert!(hmm_owns(block.pointer(from).cast()) || from >= block.len());
                assert!(if is_start { usable >= block.len() } else { usable == 0 || from == 0 });
                return;
            }
            None => self.bytes.wild(),
        };
        let at = core::ptr::without_provenance(at);
        assert!(hmm_usable_size(at) == 0 && !hmm_owns(at));
    }

    pub(super) fn adopt(&mut self) {
        let number = self.bytes.below(2);
        let base = own()[number];
        let first = self.bytes.below(OWN_PAGES);
        let pages = 1 + self.bytes.byte() as usize * 3 % (OWN_PAGES - first);
        let (at, len) = (base + first * PAGE, pages * PAGE);
        if self.blocks.iter().any(|block| block.kind == Kind::Own(number)) {
            return;
        }
        match self.bytes.below(12) {
            0 => return refused(World::adopt_range(at + 1, len)),
            1 => return refused(World::adopt_range(at, 0)),
            2 => return refused(World::adopt_range(at, self.bytes.wild())),
            3 => return refused(World::adopt_range(self.bytes.wild(), len)),
            4 => return refused(World::adopt_range(0, len)),
            5 if !self.blocks.is_empty() => {
                let at = self.blocks[0].at / PAGE * PAGE;
                return refused(World::adopt_range(at, PAGE));
            }
            _ => {}
        }
        let byte = self.bytes.byte();
        let mut block = Block::unknown(at, len, Kind::Own(number));
        block.write(0, len, byte);
        // A length that is rounded up.
        // SAFETY: private anonymous memory that stays.
        let status = unsafe { hmm_adopt(block.pointer(0).cast(), len - self.bytes.below(2)) };
        if !self.is_up {
            return refused(status);
        }
        assert_eq!(status, HMM_OK);
        self.blocks.push(block);
    }

    pub(super) fn disown(&mut self) {
        let Some(number) = self.blocks.iter().position(|block| matches!(block.kind, Kind::Own(_))) else {
            // SAFETY: refused.
            return refused(unsafe { hmm_disown(core::ptr::with_exposed_provenance_mut(own()[0]), PAGE) });
        };
        let block = &mut self.blocks[number];
        let pages = block.len() / PAGE;
        if !block.pins.is_empty() {
            return; // where its parts would have to be told apart
        }
        // All of it, or pages at one of its ends.
        let gone = if self.bytes.once_in(2) { pages } else { 1 + self.bytes.byte() as usize % pages };
        let from = if self.bytes.once_in(2) { 0 } else { (pages - gone) * PAGE };
        if self.bytes.once_in(8) {
            let wild = self.bytes.wild();
            // SAFETY: refused.
            return refused(unsafe { hmm_disown(block.pointer(from).cast(), wild) });
        }
        let len = gone * PAGE;
        // SAFETY: what a device uses is refused.
        let status = unsafe { hmm_disown(block.pointer(from).cast(), len) };
        let is_free = block.is_unused();
        if !expect(status, if is_free { &[] } else { &[HMM_ERR_BUSY] }) {
            return;
        }
        // The kernel's protection is the program's.
        let mut part = Block::unknown(block.at, 0, block.kind);
        core::mem::swap(&mut part, block);
        if gone < pages {
            let (left, end) = if from == 0 { (len, part.len() - len) } else { (0, part.len() - len) };
            let mut rest = Block::unknown(part.at, 0, part.kind);
            core::mem::swap(&mut rest, &mut part);
            let mut away = rest.part(from, len);
            open(&mut away, false);
            away.check(0, len);
            rest.keep(left, end);
            self.blocks[number] = rest;
        } else {
            open(&mut part, false);
            part.check(0, part.len());
            self.blocks.swap_remove(number);
        }
    }

    pub(super) fn cpu_writes(&mut self) {
        let Some(part) = self.good_part() else { return };
        let value = self.bytes.byte();
        let block = &mut self.blocks[part.block];
        if block.is_open(part.from, part.len, true) {
            block.write(part.from, part.len, value);
        }
    }

    pub(super) fn cpu_reads(&mut self) {
        let Some(part) = self.good_part() else { return };
        let block = &self.blocks[part.block];
        if block.is_open(part.from, part.len, false) {
            block.check(part.from, part.len);
        }
    }
}
