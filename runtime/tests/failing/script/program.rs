//! The parts of the run that are about the program's own memory, and about protections of its own.

use super::super::region::PAGE;
use super::super::touch;
use super::{ADOPTED, BIG, World};
use hmmrt::raw::{self, HMM_HOST, mapping};
use hmmrt::{Protection, StreamId};

impl World {
    /// The program's own memory, and what it does to it.
    pub(super) fn own(&mut self) {
        if !self.adopted {
            return;
        }
        self.migrate(ADOPTED, 0);
        self.check_part(ADOPTED, 10..40, "adopted");
        self.launch(ADOPTED, 0, StreamId::DEFAULT, true);
        self.synchronize();
        self.write(ADOPTED, 20..30);
        self.migrate_as("migrate over", ADOPTED, 1);
        self.step("advise");
        let r = &mut self.regions[ADOPTED];
        // SAFETY: the memory is this process's own, and these are what it may do to it.
        let answer = unsafe { mapping::advise(r.at(100).addr(), 16 * PAGE, libc::MADV_DONTNEED) };
        let zero = |b: &mut [u8]| b[100 * PAGE..116 * PAGE].fill(0);
        if answer.is_ok() {
            r.becomes(zero)
        } else {
            r.may_become(true, zero)
        }
        self.note_errno("advise", answer);
        self.check_part(ADOPTED, 90..130, "given up");
        self.step("remap");
        let r = &self.regions[ADOPTED];
        let (old, old_len, len) = (r.ptr.addr(), r.len, r.len + (1 << 20));
        // SAFETY: as above.
        let answer = unsafe { mapping::remap(old, old_len, len, libc::MREMAP_MAYMOVE, 0) };
        if let Ok(new) = answer {
            self.regions[ADOPTED].resize(std::ptr::with_exposed_provenance_mut(new), len);
            self.check_part(ADOPTED, old_len / PAGE..usize::MAX, "longer");
            self.write(ADOPTED, old_len / PAGE..usize::MAX);
        }
        self.note_errno("remap", answer);
        self.migrate(ADOPTED, 0);
        self.step("unmap");
        let r = &mut self.regions[ADOPTED];
        let less = r.len - 64 * PAGE;
        // SAFETY: as above.
        let answer = unsafe { mapping::unmap(r.ptr.addr() + less, 64 * PAGE) };
        if answer.is_ok() {
            r.resize(r.ptr, less);
        }
        self.note_errno("unmap", answer);
        self.check(ADOPTED, "remapped");
        self.migrate(ADOPTED, 0);
        self.step("disown");
        let r = &self.regions[ADOPTED];
        // SAFETY: as above.
        let disowned = unsafe { raw::disown(r.at(64), 16 * PAGE) };
        self.note("disown", disowned);
        self.check_part(ADOPTED, 60..90, "disowned");
        self.migrate_part(ADOPTED, 0..64, 1);
        self.migrate_part(ADOPTED, 80..300, 1);
    }

    pub(super) fn migrate_part(&mut self, i: usize, pages: std::ops::Range<usize>, to: i32) {
        self.step("migrate a part");
        let r = &self.regions[i];
        let done = raw::migrate(r.at(pages.start), pages.len() * PAGE, to);
        self.note("migrate", done);
    }

    /// What the program has made read-only comes home so, whether the runtime was told or not.
    pub(super) fn protections(&mut self) {
        self.migrate(BIG, HMM_HOST);
        self.check(BIG, "home");
        let closed = 30..40;
        let r = &mut self.regions[BIG];
        let (at, len) = (r.at(closed.start), closed.len() * PAGE);
        let told = |p: Protection| {
            // SAFETY: nobody writes the pages meanwhile.
            unsafe { raw::protect(at, len, p) }
        };
        if self.note("protect", told(Protection::Read)).is_some() {
            self.regions[BIG].read_only = closed.clone();
            self.migrate(BIG, 0);
            self.check_part(BIG, 20..50, "read-only");
            let (inside, outside) = (self.regions[BIG].at(33), self.regions[BIG].at(41));
            let closed_now = touch::read(inside).is_none() || touch::is_read_only(inside);
            assert!(closed_now, "a read-only page can be written");
            assert!(self.fails || !touch::is_read_only(outside));
            if self.note("protect", told(Protection::ReadWrite)).is_some() {
                self.regions[BIG].read_only = 0..0;
            }
        }
        self.write(BIG, 30..32);
        let r = &self.regions[BIG];
        // Untold, of pages that are home.
        if r.read_only.is_empty() && self.note("migrate", raw::migrate(r.ptr, r.len, HMM_HOST)).is_some() {
            let r = &mut self.regions[BIG];
            let (at, len) = (r.at(60), 5 * PAGE);
            // SAFETY: the pages are home, and nobody writes them.
            if unsafe { libc::mprotect(at.cast(), len, libc::PROT_READ) } == 0 {
                r.read_only = 60..65;
                let inside = r.at(61);
                let closed_now = touch::read(inside).is_none() || touch::is_read_only(inside);
                assert!(closed_now, "the program's own segfault is none");
                self.migrate(BIG, 0);
                self.check_part(BIG, 55..70, "read-only, untold");
                self.step("protect");
                let inside = self.regions[BIG].at(62);
                let closed_now = touch::read(inside).is_none() || touch::is_read_only(inside);
                assert!(closed_now, "an untold read-only page can be written");
                // SAFETY: as above.
                if self.note("protect", unsafe { raw::protect(at, len, Protection::ReadWrite) }).is_some() {
                    self.regions[BIG].read_only = 0..0;
                }
            }
        }
    }
}
