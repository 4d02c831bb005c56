//! What has to be asked of the kernel before pages leave: which of them were touched, and what the program itself allows with them.
//! API context with signals blocked.

use crate::addr::{HostAddr, PAGE};
use crate::chunk::Guard;
use crate::error::{Error, Result};
use crate::mask::PageMask;
use crate::sys::pagemap::Pagemap;
use crate::sys::trial;
use crate::sys::vma::{Maps, Vma};

/// What one operation knows of the process's memory: opened once, used for every chunk of it.
pub(crate) struct Probe {
    maps: Maps,
    pagemap: Pagemap,
    /// The last answer, if it can be read and written (what we have closed in another chunk is opened at any moment), and how
    /// often protections had been changed by then.
    last: Option<(Vma, u32)>,
    /// The argument's name for errors.
    pub(crate) arg: &'static str,
}

impl Probe {
    /// Opens what can be opened.
    pub(crate) fn new(arg: &'static str) -> Probe {
        Probe { maps: Maps::open(), pagemap: Pagemap::open(), last: None, arg }
    }

    /// A chunk has been locked: what was learnt before may not hold any more. The program can change protections between
    /// two chunks; where asking costs much, only changes made through `hmm_protect` are seen at once.
    pub(super) fn next_chunk(&mut self) {
        if self.maps.is_quick() {
            self.last = None;
        }
    }

    /// The pages of a chunk that have ever been touched.
    pub(super) fn touched(&self, g: &Guard) -> PageMask {
        self.pagemap.touched(g.at)
    }

    fn vma(&mut self, addr: HostAddr) -> Result<Vma> {
        let changes = super::protection_changes();
        let known = self.last.filter(|(v, then)| v.start <= addr.0 && addr.0 < v.end && *then == changes);
        if let Some((v, _)) = known {
            return Ok(v);
        }
        let v = self.maps.at(addr).ok_or(Error::Hole { arg: self.arg, addr: addr.0 })?;
        self.last = (v.read && v.write).then_some((v, changes));
        Ok(v)
    }

    /// Checks that a device may use pages in this way, as far as the program's own protection goes.
    pub(crate) fn check(&mut self, g: &Guard, pages: PageMask, write: bool) -> Result<()> {
        let c = g.chunk;
        self.next_chunk();
        self.learn(g, pages & c.host.get() & !c.on_devices())?;
        if let Some(page) = (pages & c.user_none.get()).first() {
            return Err(Error::AccessDenied { arg: self.arg, addr: g.page(page).0 });
        }
        match (pages & c.user_read_only.get()).first() {
            Some(page) if write => Err(Error::ReadOnly { arg: self.arg, addr: g.page(page).0 }),
            _ => Ok(()),
        }
    }

    /// Checks that plain pages are what we may move and learns the program's own protection of them.
    pub(super) fn learn(&mut self, g: &Guard, plain: PageMask) -> Result<()> {
        if plain.is_empty() || !self.maps.is_open() && g.is_watched() {
            return Ok(()); // the mapping's protection is the program's, and stays
        }
        super::settle_again(g)?; // what could not be set before is not the program's
        let (mut none, mut read_only) = (PageMask::EMPTY, PageMask::EMPTY);
        if !self.maps.is_open() {
            for page in plain.runs().flat_map(|(first, count)| first..first + count) {
                let one = PageMask::span(page, 1);
                match (trial::can_write(g.page(page)), trial::can_read(g.page(page))) {
                    (true, _) => {}
                    (false, true) => read_only = read_only | one,
                    (false, false) => none = none | one,
                }
            }
            self.note(g, plain, none, read_only);
            return Ok(());
        }
        for (first, count) in plain.runs() {
            let mut page = first;
            while page < first + count {
                let v = self.vma(g.page(page))?;
                if !v.private_anonymous || v.exec {
                    return Err(Error::NotMigratable { arg: self.arg, addr: g.page(page).0 });
                }
                let end = (first + count).min((v.end.saturating_sub(g.at.0)) / PAGE);
                let run = PageMask::span(page, end - page);
                if !v.read {
                    none = none | run;
                } else if !v.write {
                    read_only = read_only | run;
                }
                page = end;
            }
        }
        self.note(g, plain, none, read_only);
        Ok(())
    }

    /// Remembers the program's own protection of `plain`.
    fn note(&self, g: &Guard, plain: PageMask, none: PageMask, read_only: PageMask) {
        let c = g.chunk;
        if c.user_none.get() & plain != none {
            c.user_none.set(c.user_none.get() & !plain | none);
        }
        if c.user_read_only.get() & plain != read_only {
            c.user_read_only.set(c.user_read_only.get() & !plain | read_only);
        }
    }
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself says
mod tests {
    use super::*;
    use crate::addr::CHUNK;
    use crate::sys::map::{self, Prot};

    /// Catches: what a chunk before was closed by is taken for what this one is closed by, as nobody asks anew.
    #[test]
    fn only_what_is_open_is_believed_again() {
        let (at, mut probe) = (map::map(2 * CHUNK, CHUNK, Prot::Read, "test").unwrap(), Probe::new("addr"));
        for closed in [Prot::Read, Prot::None] {
            map::protect(at, 2 * CHUNK, closed).unwrap();
            assert!(probe.vma(at).is_ok_and(|v| !v.write && v.end > at.0 + CHUNK));
            map::protect(at.add(CHUNK), CHUNK, Prot::ReadWrite).unwrap(); // somebody has written there
            assert!(probe.vma(at.add(CHUNK)).unwrap().write, "{closed:?}");
            probe.last = None;
        }
        map::protect(at, 2 * CHUNK, Prot::ReadWrite).unwrap();
        assert!(
            probe.vma(at).is_ok() && probe.last.is_some_and(|(v, _)| v.end > at.0 + CHUNK),
            "one question"
        );
        map::unmap(at, 2 * CHUNK);
    }
}
