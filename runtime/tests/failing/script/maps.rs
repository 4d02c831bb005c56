//! The parts of the run that do to mappings what programs do: protections, locks, advice, other places, and mappings over blocks of
//! the heap. On memory of their own, which is gone in the end.

use super::super::region::{PAGE, Region};
use super::super::touch;
use super::{World, map_new};
use hmmrt::raw::{self, mapping};

const CHUNK: usize = 2 << 20;
/// Of the piece of memory.
const PAGES: usize = 32;
const OPEN: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANONYMOUS: i32 = libc::MAP_ANONYMOUS | libc::MAP_FIXED;

/// What is the program's own, and is to be unmapped.
pub(super) const PIECE: &str = "piece";

/// Whether this process may lock memory.
fn may_lock() -> bool {
    let at = map_new(PAGE).cast();
    // SAFETY: a mapping of this function's.
    unsafe { libc::mlock(at, PAGE) == 0 && libc::munmap(at, PAGE) == 0 }
}

impl World {
    /// A piece of the program's own memory.
    pub(super) fn piece(&mut self) {
        let room = map_new(3 * CHUNK);
        // What is next to it in its chunk, and the next chunk, is not managed.
        let at = room.wrapping_add(room.align_offset(CHUNK)).wrapping_add(CHUNK / 2);
        self.step("adopt");
        // SAFETY: the mapping is this process's own.
        if self.note("adopt", unsafe { raw::adopt(at, PAGES * PAGE) }).is_none() {
            return;
        }
        self.regions.push(Region::new(PIECE, at, PAGES * PAGE));
        let i = self.regions.len() - 1;
        self.write(i, 0..PAGES);
        self.migrate_part(i, 8..24, 0);
        self.check_part(i, 20..22, "partly away");
        self.close_and_open(i);
        self.give_up_some(i);
        self.move_about(i);
        self.step("protect");
        let r = &mut self.regions[i];
        // SAFETY: the memory is this process's own.
        let code =
            unsafe { mapping::protect(r.at(0).addr(), r.len, libc::PROT_READ | libc::PROT_EXEC, None) };
        r.read_only = 0..r.pages();
        self.note_errno("protect", code);
        self.check(i, "code");
        self.step("unmap");
        let r = &self.regions[i];
        // SAFETY: not used any more.
        let gone = unsafe { mapping::unmap(r.ptr.addr(), r.len) };
        if gone.is_ok() {
            self.regions.remove(i);
        }
        self.note_errno("unmap", gone);
    }

    /// Pages that are away, others at home, and what is not managed.
    fn close_and_open(&mut self, i: usize) {
        const BEHIND: usize = CHUNK / PAGE;
        for (part, prot) in [(4..12, libc::PROT_READ), (4..12, OPEN), (0..BEHIND, OPEN)] {
            self.step("protect");
            let r = &mut self.regions[i];
            let was = core::mem::replace(&mut r.read_only, part.start..part.end.min(PAGES));
            // SAFETY: the memory is this process's own, and this is what it may do to it.
            let done = unsafe { mapping::protect(r.at(part.start).addr(), part.len() * PAGE, prot, None) };
            if prot == OPEN {
                // What failed may have opened some of it.
                r.read_only = if done.is_ok() { 0..0 } else { was };
            }
            self.note_errno("protect", done);
            self.check(i, "protected");
        }
        self.write(i, 0..PAGES);
        if may_lock() {
            self.migrate_part(i, 8..12, 0);
            self.step("lock");
            let r = &self.regions[i];
            let (at, len) = (r.at(10).addr(), 4 * PAGE);
            let locked = mapping::lock(at, len, 0);
            let is_locked = locked.is_ok();
            self.note_errno("lock", locked);
            self.check_part(i, 8..16, "locked");
            if is_locked {
                self.note_errno("unlock", mapping::unlock(at, len));
            }
        }
    }

    fn give_up_some(&mut self, i: usize) {
        self.migrate_part(i, 0..24, 0);
        self.step("advise");
        let advise = |r: &Region, pages: std::ops::Range<usize>, advice| {
            // SAFETY: as above.
            unsafe { mapping::advise(r.at(pages.start).addr(), pages.len() * PAGE, advice) }
        };
        let wanted = advise(&self.regions[i], 0..4, libc::MADV_WILLNEED);
        self.note_errno("advise", wanted);
        let given_up = advise(&self.regions[i], 6..10, libc::MADV_FREE);
        self.regions[i].forget(6..10); // what they had, or zeros
        self.note_errno("advise", given_up);
        self.check(i, "given up");
        self.write(i, 6..10);
        self.step("map");
        let r = &mut self.regions[i];
        let private = ANONYMOUS | libc::MAP_PRIVATE;
        // SAFETY: as above.
        let new = unsafe { mapping::map_fixed(r.at(12).addr(), 4 * PAGE, OPEN, private, -1, 0, true) };
        let zero = |b: &mut [u8]| b[12 * PAGE..16 * PAGE].fill(0);
        if new.is_ok() {
            r.becomes(zero)
        } else {
            r.may_become(true, zero)
        }
        self.note_errno("map", new);
        self.check(i, "mapped anew");
        self.write(i, 12..16);
    }

    /// Shorter; over other managed memory; and away from a place that stays.
    fn move_about(&mut self, i: usize) {
        let remap = |r: &Region, len: usize, flags, to| {
            // SAFETY: as above; what is replaced is nobody's.
            unsafe { mapping::remap(r.ptr.addr(), r.len, len, flags, to) }
        };
        self.migrate_part(i, 16..24, 0);
        self.step("remap");
        let len = (PAGES - 4) * PAGE;
        let shorter = remap(&self.regions[i], len, 0, 0);
        if shorter.is_ok() {
            let r = &mut self.regions[i];
            r.resize(r.ptr, len);
        }
        self.note_errno("remap", shorter);
        self.check(i, "shorter");
        let len = self.regions[i].len;
        let target = map_new(len);
        // SAFETY: a mapping of this function's.
        let adopted = unsafe { raw::adopt(target, len) };
        self.note("adopt", adopted);
        let there = remap(&self.regions[i], len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, target.addr());
        self.goes_to(i, there);
        self.migrate_part(i, 0..8, 0);
        self.step("remap");
        let old = self.regions[i].ptr.addr();
        let there = remap(&self.regions[i], len, libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP, 0);
        let has_moved = there.is_ok();
        self.goes_to(i, there);
        if has_moved {
            // SAFETY: nothing is there any more.
            let gone = unsafe { mapping::unmap(old, len) };
            self.note_errno("unmap", gone);
        }
    }

    fn goes_to(&mut self, i: usize, there: Result<usize, i32>) {
        if let Ok(at) = there {
            let r = &mut self.regions[i];
            r.ptr = std::ptr::with_exposed_provenance_mut(at);
        }
        self.note_errno("remap", there);
        self.check(i, "at another place");
        self.write(i, 4..6);
    }

    /// Mappings of the program's over blocks of the heap, which the blocks outlive, and a part of one elsewhere.
    pub(super) fn laid(&mut self) {
        for kind in [libc::MAP_PRIVATE, libc::MAP_SHARED] {
            self.laid_over(kind);
        }
    }

    fn laid_over(&mut self, kind: i32) {
        const PAGES: usize = 64;
        let Some(ptr) = self.note("calloc", raw::calloc(PAGES * PAGE, 1)) else { return };
        self.regions.push(Region::new("laid", ptr, PAGES * PAGE));
        let i = self.regions.len() - 1;
        self.write(i, 0..PAGES);
        if kind == libc::MAP_PRIVATE {
            self.copy_away(i);
        }
        self.migrate_part(i, 0..16, 0);
        self.step("map");
        let r = &mut self.regions[i];
        let (flags, len) = (ANONYMOUS | kind, 2 * PAGE);
        // SAFETY: the memory is this process's own, and this is what it may do to it.
        let new = unsafe { mapping::map_fixed(r.at(10).addr(), len, OPEN, flags, -1, 0, true) };
        let zero = |b: &mut [u8]| b[10 * PAGE..12 * PAGE].fill(0);
        if new.is_ok() {
            r.becomes(zero)
        } else {
            r.may_become(true, zero)
        }
        self.note_errno("map", new);
        self.check(i, "laid over");
        self.write(i, 10..11);
        self.step("free");
        // SAFETY: not used any more.
        if self.note("free", unsafe { raw::free(ptr) }).is_some() {
            self.regions.remove(i);
        }
    }

    /// A block's pages, at home, to another place: they are zeros then.
    fn copy_away(&mut self, i: usize) {
        self.step("remap");
        let r = &mut self.regions[i];
        let (flags, len) = (libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP, 2 * PAGE);
        // SAFETY: the memory is this process's own, and this is what it may do to it.
        let copy = unsafe { mapping::remap(r.at(6).addr(), len, len, flags, 0) };
        let word = r.word(6);
        let zero = |b: &mut [u8]| b[6 * PAGE..8 * PAGE].fill(0);
        if copy.is_ok() {
            r.becomes(zero)
        } else {
            r.may_become(true, zero)
        }
        self.note_errno("remap", copy);
        if let Ok(at) = copy {
            assert_eq!(touch::read(std::ptr::with_exposed_provenance(at)), Some(word), "a copy");
            // SAFETY: as above.
            let gone = unsafe { mapping::unmap(at, len) };
            self.note_errno("unmap", gone);
        }
        self.check(i, "copied away");
    }

    /// Before any device is open: a block that grows where it is, and what is allocated where it was.
    pub(super) fn early(&mut self) {
        const LEN: usize = 5 << 20;
        for (len, longer) in [(LEN, LEN + 8 * PAGE), (LEN, LEN)] {
            let Some(ptr) = self.note("calloc", raw::calloc(len, 1)) else { continue };
            let mut r = Region::new("early", ptr, len);
            self.unreadable += r.check(0..usize::MAX, self.look, "zero");
            r.write(0..usize::MAX, self.look);
            // SAFETY: after success only the new pointer is used.
            if let Some(new) = self.note("realloc", unsafe { raw::realloc(ptr, longer) }) {
                r.resize(new, longer);
            }
            self.unreadable += r.check(0..usize::MAX, self.look, "early");
            // SAFETY: not used any more.
            self.note("free", unsafe { raw::free(r.ptr) });
        }
    }
}
