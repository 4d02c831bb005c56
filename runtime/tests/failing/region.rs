//! Memory of which every byte is known, or known to be one of two values. Failed operations leave it as it was; what they may
//! change is said by the script.

use super::touch;
use hmmrt::{Page, raw};
use std::ops::Range;

pub const PAGE: usize = 4096;

/// How what is there may differ from `bytes`.
enum Other {
    /// It may be these, as a whole.
    Whole(Vec<u8>),
    /// Each page may be these.
    Paged(Vec<u8>),
}

/// A range of memory, page-aligned.
pub struct Region {
    pub name: &'static str,
    pub ptr: *mut u8,
    pub len: usize,
    bytes: Vec<u8>,
    other: Option<Other>,
    /// Pages with any bytes at all.
    undefined: Vec<bool>,
    /// Pages that the program has made read-only.
    pub read_only: Range<usize>,
    pattern: u64,
}

/// How strictly memory is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing fails: no signal.
    Strict,
    /// A driver fails: no signal where the runtime says that the host has the page.
    Host,
    /// Anything may be a signal.
    Loose,
}

impl Region {
    /// Fresh memory, zero.
    pub fn new(name: &'static str, ptr: *mut u8, len: usize) -> Region {
        assert!(ptr.addr().is_multiple_of(PAGE));
        let undefined = vec![false; len.div_ceil(PAGE)];
        let pattern = name.bytes().fold(7, |a, b| a * 131 + u64::from(b));
        Region { name, ptr, len, bytes: vec![0; len], other: None, undefined, read_only: 0..0, pattern }
    }

    pub fn pages(&self) -> usize {
        self.len.div_ceil(PAGE)
    }

    pub fn at(&self, page: usize) -> *mut u8 {
        // SAFETY: inside the region.
        unsafe { self.ptr.add(page * PAGE) }
    }

    /// The word that a page begins with.
    pub fn word(&self, page: usize) -> u64 {
        u64::from_le_bytes(self.bytes[page * PAGE..][..8].try_into().unwrap())
    }

    fn of_page(&self, page: usize) -> Range<usize> {
        page * PAGE..self.len.min((page + 1) * PAGE)
    }

    /// The CPU writes whole pages, no two words alike. A page whose touch is a signal stays what it was.
    pub fn write(&mut self, pages: Range<usize>, look: Look) {
        let mut refused = 0;
        for page in pages.start..pages.end.min(self.pages()) {
            if self.read_only.contains(&page) || refused > 8 && page % 61 != 0 {
                continue;
            }
            self.pattern = self.pattern.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let range = self.of_page(page);
            let mut new = vec![0; range.len()];
            for (i, w) in new.chunks_mut(8).enumerate() {
                let word = (self.pattern ^ i as u64).to_le_bytes();
                w.copy_from_slice(&word[..w.len()]);
            }
            let first = u64::from_le_bytes(new[..8].try_into().unwrap());
            if !touch::write(self.at(page), first) {
                assert!(look != Look::Strict, "{}: page {page} can't be written", self.name);
                refused += 1;
                continue;
            }
            // SAFETY: inside the region, and the page can be written.
            unsafe { self.at(page).copy_from_nonoverlapping(new.as_ptr(), new.len()) };
            match &mut self.other {
                Some(Other::Whole(other) | Other::Paged(other)) => {
                    other[range.clone()].copy_from_slice(&new);
                }
                None => {}
            }
            self.bytes[range].copy_from_slice(&new);
            self.undefined[page] = false;
        }
    }

    /// Another word for what is there from now on.
    pub fn becomes(&mut self, change: impl Fn(&mut [u8])) {
        change(&mut self.bytes);
        if let Some(Other::Whole(other) | Other::Paged(other)) = &mut self.other {
            change(other);
        }
    }

    /// It may be so from now on, all of it or nothing; with `paged` page by page.
    pub fn may_become(&mut self, paged: bool, change: impl Fn(&mut [u8])) {
        if let Some(other) = self.other.take() {
            // Two doubts at once: any page may be anything that it could have been.
            let (Other::Whole(other) | Other::Paged(other)) = other;
            let differ = |r: &Range<usize>| other[r.clone()] != self.bytes[r.clone()];
            let in_doubt: Vec<usize> = (0..self.pages()).filter(|p| differ(&self.of_page(*p))).collect();
            in_doubt.into_iter().for_each(|p| self.undefined[p] = true);
        }
        let mut other = self.bytes.clone();
        change(&mut other);
        self.other = Some(if paged { Other::Paged(other) } else { Other::Whole(other) });
    }

    /// Pages may have any bytes until they are written.
    pub fn forget(&mut self, pages: Range<usize>) {
        self.undefined[pages].fill(true);
    }

    /// There is no doubt any more.
    pub fn is_known(&mut self) {
        self.other = None;
        self.undefined.fill(false);
    }

    /// Another length: what is new has any bytes.
    pub fn resize(&mut self, ptr: *mut u8, len: usize) {
        let old = self.len;
        (self.ptr, self.len) = (ptr, len);
        self.bytes.resize(len, 0);
        if let Some(Other::Whole(other) | Other::Paged(other)) = &mut self.other {
            other.resize(len, 0);
        }
        self.undefined.truncate(old / PAGE);
        self.undefined.resize(len.div_ceil(PAGE), true);
    }

    /// What the runtime says of a page; nothing where it is not managed.
    fn flags(&self, page: usize) -> u32 {
        let mut out = [Page::default()];
        raw::query(self.at(page), 1, &mut out).map_or(0, |()| out[0].flags)
    }

    /// Reads some pages, of which each must be right or a signal. How many were that.
    pub fn check(&self, pages: Range<usize>, look: Look, when: &str) -> usize {
        let mut unreadable = 0_usize;
        let (mut is_first, mut is_other) = (true, true);
        for page in pages.start..pages.end.min(self.pages()) {
            // Each page that can't be had is tried several times, and takes long.
            if unreadable > 8 && page % 61 != 0 {
                continue;
            }
            if touch::read(self.at(page)).is_none() {
                let must = look == Look::Strict || look == Look::Host && self.flags(page) & Page::HOST != 0;
                assert!(!must, "{when}: {}: page {page} at {:p} can't be read", self.name, self.at(page));
                unreadable += 1;
                continue;
            }
            if self.undefined[page] {
                continue;
            }
            let range = self.of_page(page);
            // SAFETY: inside the region; nobody writes it, and it can be read.
            let got = unsafe { std::slice::from_raw_parts(self.at(page), range.len()) };
            let first = got == &self.bytes[range.clone()];
            match &self.other {
                None => self.assert_right(page, got, first, when),
                Some(Other::Whole(other)) => {
                    let other = got == &other[range];
                    self.assert_right(page, got, first || other, when);
                    (is_first, is_other) = (is_first && first, is_other && other);
                }
                Some(Other::Paged(other)) => {
                    let other = got == &other[range];
                    self.assert_right(page, got, first || other, when);
                }
            }
        }
        assert!(is_first || is_other, "{when}: {}: part of it is changed and part not", self.name);
        unreadable
    }

    fn assert_right(&self, page: usize, got: &[u8], right: bool, when: &str) {
        if right {
            return;
        }
        let want = &self.bytes[self.of_page(page)];
        let i = got.iter().zip(want).position(|(a, b)| a != b).unwrap();
        panic!(
            "{when}: {}: byte {i} of page {page} ({:p}) is {} and should be {}",
            self.name,
            self.at(page),
            got[i],
            want[i]
        );
    }
}
