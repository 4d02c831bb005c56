//! Blocks of one thread, whose every word is known: what is destructive happens to these. They come and go, in sizes
//! that share chunks with other threads' blocks, from the heap or adopted.

use crate::history::fail;
use crate::os;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use hmmrt::{Error, raw};

/// A block and what it holds.
pub struct Private {
    /// Its first byte.
    pub ptr: *mut u8,
    /// Its words.
    pub model: Vec<u64>,
    /// Mapped by the program, adopted: whole pages.
    pub adopted: bool,
}

fn must<T>(done: hmmrt::Result<T>, addr: usize) -> T {
    done.unwrap_or_else(|e| fail(format_args!("{e}"), addr))
}

impl Private {
    /// A block of the heap, zeroed, of `len` bytes, a multiple of 8.
    pub fn allocate(len: usize) -> Private {
        Private { ptr: must(raw::calloc(len, 1), 0), model: vec![0; len / 8], adopted: false }
    }

    /// The same, if the runtime is there.
    pub fn try_allocate(len: usize) -> Option<Private> {
        match raw::calloc(len, 1) {
            Err(Error::Shutdown { .. }) => None,
            done => Some(Private { ptr: must(done, 0), model: vec![0; len / 8], adopted: false }),
        }
    }

    /// Adopted memory of `pages` pages.
    pub fn adopt(pages: usize) -> Private {
        let len = pages * 4096;
        let ptr = os::map(len);
        // SAFETY: fresh memory that stays mapped until `free`.
        must(unsafe { raw::adopt(ptr, len) }, ptr.addr());
        Private { ptr, model: vec![0; len / 8], adopted: true }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.model.len() * 8
    }

    /// Where word `i` is.
    pub fn word(&self, i: usize) -> *mut u64 {
        assert!(i < self.model.len());
        // SAFETY: inside the block.
        unsafe { self.ptr.cast::<u64>().add(i) }
    }

    /// Writes words, and remembers them.
    pub fn write(&mut self, first: usize, count: usize, step: usize, salt: u64) {
        for i in (first..first + count).step_by(step) {
            self.model[i] = salt.wrapping_mul(i as u64 | 1);
            // SAFETY: inside the block, which is this thread's.
            unsafe { self.word(i).write_volatile(self.model[i]) };
        }
    }

    /// Writes what the model has: after a launch that failed, whose range is undefined.
    pub fn restore(&mut self, first: usize, count: usize) {
        for i in first..first + count {
            // SAFETY: inside the block, which is this thread's.
            unsafe { self.word(i).write_volatile(self.model[i]) };
        }
    }

    /// The first of the words from `first` that is not as the model has it, and what it is.
    pub fn differs(&self, first: usize, count: usize, step: usize) -> Option<(usize, u64)> {
        (first..first + count).step_by(step).find_map(|i| {
            // SAFETY: inside the block, which is this thread's.
            let now = unsafe { self.word(i).read_volatile() };
            (now != self.model[i]).then_some((i, now))
        })
    }

    /// Reads words and compares them.
    pub fn check(&self, first: usize, count: usize, step: usize) {
        if let Some((i, now)) = self.differs(first, count, step) {
            fail(
                format_args!(
                    "word {i} of {} of a block of one thread at {:#x} is {now:#x} and should be {:#x}",
                    self.model.len(),
                    self.ptr.addr(),
                    self.model[i]
                ),
                self.word(i).addr(),
            );
        }
    }

    /// Gives the contents of some bytes up, and knows that whole pages are zeros then.
    pub fn discard(&mut self, from: usize, len: usize) -> bool {
        let at = self.ptr.addr() + from;
        // SAFETY: nobody relies on the bytes.
        let done = crate::kernels::allowed(unsafe { raw::discard(self.word(from / 8).cast(), len) }, at);
        if done {
            let (first, end) = (at.next_multiple_of(4096), (at + len) & !4095);
            for page in (first..end.max(first)).step_by(8) {
                self.model[(page - self.ptr.addr()) / 8] = 0;
            }
        }
        done
    }

    /// Changes its size: realloc, or mremap and munmap of adopted memory. What is new is written.
    pub fn resize(&mut self, len: usize, salt: u64) {
        let old = self.model.len();
        if self.adopted {
            let len = len.next_multiple_of(4096);
            let at = self.ptr.expose_provenance();
            // SAFETY: the block is this thread's; only the new place is used from here on.
            let moved = unsafe { raw::mapping::remap(at, self.len(), len, os::MAY_MOVE, 0) };
            match moved {
                Ok(new) => self.ptr = core::ptr::with_exposed_provenance_mut(new),
                Err(e) => fail(format_args!("mremap from {} to {len} bytes: errno {e}", self.len()), at),
            }
            self.model.resize(len / 8, 0);
            self.check(old.min(len / 8), (len / 8).saturating_sub(old), 1); // zeros
        } else {
            // SAFETY: as above.
            self.ptr = must(unsafe { raw::realloc(self.ptr, len) }, self.ptr.addr());
            self.model.resize(len / 8, 0);
        }
        let new = self.model.len();
        if new > old {
            self.write(old, new - old, 1, salt);
        }
    }

    /// Moves whole pages of adopted memory elsewhere and back, over what has stayed there. Meanwhile they are as they were, and one of
    /// them may leave for device `to`. Other pages of the block stay where they are, some of them on devices.
    pub fn there_and_back(&self, page: usize, pages: usize, to: i32) {
        static IS_UNKNOWN: AtomicBool = AtomicBool::new(false);
        if IS_UNKNOWN.load(Relaxed) {
            return;
        }
        let (at, len) = (self.word(page * 512), pages * 4096);
        let other = os::map(len);
        let remap = |from: *mut u64, to: *mut u64, flags| {
            let (from, to) = (from.expose_provenance(), to.expose_provenance());
            // SAFETY: the pages are this thread's, and so is what is mapped at both places.
            unsafe { raw::mapping::remap(from, len, len, flags, to) }
        };
        match remap(at, other.cast(), os::BUT_STAYS) {
            Ok(new) if new == other.addr() => {}
            Err(os::UNKNOWN) => return IS_UNKNOWN.store(true, Relaxed),
            e => fail(format_args!("mremap of {len} bytes to {other:?}: {e:?}"), at.addr()),
        }
        let moved = Private {
            ptr: other,
            model: self.model[page * 512..(page + pages) * 512].to_vec(),
            adopted: true,
        };
        if let Some((i, now)) = (0..len / 8).step_by(64).find_map(|i| {
            // SAFETY: as above.
            let now = unsafe { at.add(i).read_volatile() };
            (now != 0).then_some((i, now))
        }) {
            fail(format_args!("word {i} of what has moved away is {now:#x} where it was"), at.addr() + i * 8);
        }
        let leaves = moved.word(pages / 2 * 512);
        crate::kernels::allowed(raw::migrate(leaves.cast(), 4096, to).map(|_| ()), leaves.addr());
        moved.check(0, pages * 512, 29);
        match remap(other.cast(), at, os::OVER) {
            Ok(new) if new == at.addr() => {}
            e => fail(format_args!("mremap of {len} bytes back to {at:?}: {e:?}"), other.addr()),
        }
    }

    /// Unmaps the last pages of adopted memory.
    pub fn cut(&mut self, pages: usize) {
        let keep = self.len() - pages * 4096;
        // SAFETY: pages of this thread's block, which it forgets.
        let done = unsafe { raw::mapping::unmap(self.ptr.expose_provenance() + keep, pages * 4096) };
        if let Err(e) = done {
            fail(format_args!("munmap: errno {e}"), self.ptr.addr() + keep);
        }
        self.model.truncate(keep / 8);
    }

    /// Makes whole pages of it read-only or writable again, by `hmm_protect` or as mprotect(2).
    pub fn protect(&self, page: usize, pages: usize, writable: bool, by_mprotect: bool) {
        let at = self.word(page * 512);
        // SAFETY: this thread does not write meanwhile.
        unsafe {
            if by_mprotect {
                let prot = if writable { os::READ_WRITE } else { os::READ };
                let done = raw::mapping::protect(at.expose_provenance(), pages * 4096, prot, None);
                if let Err(e) = done {
                    fail(format_args!("mprotect: errno {e}"), at.addr());
                }
            } else {
                let p = if writable { raw::Protection::ReadWrite } else { raw::Protection::Read };
                must(raw::protect(at.cast(), pages * 4096, p), at.addr());
            }
        }
    }

    /// Ends the management of adopted memory, looks, and begins it again.
    pub fn readopt(&self) {
        // SAFETY: no kernel of this thread uses it: they are waited for.
        must(unsafe { raw::disown(self.ptr, self.len()) }, self.ptr.addr());
        if raw::owns(self.ptr) {
            fail(format_args!("disowned memory is still managed"), self.ptr.addr());
        }
        self.check(0, self.model.len(), 7);
        // SAFETY: it stays mapped.
        must(unsafe { raw::adopt(self.ptr, self.len()) }, self.ptr.addr());
    }

    /// Gives it back, having looked at all of it if `look`.
    pub fn free(self, look: bool) {
        if look {
            self.check(0, self.model.len(), 1);
        }
        if self.adopted {
            // SAFETY: nobody uses it any more.
            if let Err(e) = unsafe { raw::mapping::unmap(self.ptr.expose_provenance(), self.len()) } {
                fail(format_args!("munmap: errno {e}"), self.ptr.addr());
            }
        } else {
            // SAFETY: as above.
            must(unsafe { raw::free(self.ptr) }, self.ptr.addr());
        }
    }
}
