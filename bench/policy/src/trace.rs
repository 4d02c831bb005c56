//! What a program does, as the lab sees it: the CPU's touches and the launches, in the order of the program's one thread.
//! Made by `traces` or from a recording by `record`. Chunks are numbered from 0; an allocation is a row of whole chunks.

use hmmrt::AccessMode;
use hmmrt::policy::PageMask;

/// Pages of a chunk.
pub const PAGES: u64 = 512;
/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// What the CPU does with pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Reads them.
    Read,
    /// Changes them.
    Update,
    /// Writes all of them: what they had is not needed. Only the oracle can know.
    Overwrite,
}

/// Part of an allocation, as a launch names it.
#[derive(Clone, Debug)]
pub struct Use {
    /// First page.
    pub start: u64,
    /// How many.
    pub pages: u64,
    /// In which way.
    pub mode: AccessMode,
    /// What the kernel really touches of it, by chunk; `None`: all.
    pub touched: Option<Vec<(usize, PageMask)>>,
    /// What it really changes of it, by chunk, if its mode is `ReadWrite`; `None`: all that it touches.
    pub written: Option<Vec<(usize, PageMask)>>,
}

impl Use {
    /// All of `pages` pages from `start`.
    pub fn all(start: u64, pages: u64, mode: AccessMode) -> Use {
        Use { start, pages, mode, touched: None, written: None }
    }

    /// The named pages by chunk.
    pub fn named(&self) -> impl Iterator<Item = (usize, PageMask)> + use<> {
        let (start, end) = (self.start, self.start + self.pages);
        (start / PAGES..end.div_ceil(PAGES)).map(move |c| {
            let (first, last) = (start.max(c * PAGES) - c * PAGES, end.min(c * PAGES + PAGES) - c * PAGES);
            (c as usize, PageMask::span(first as usize, (last - first) as usize))
        })
    }

    /// The touched pages by chunk.
    pub fn touched(&self) -> Vec<(usize, PageMask)> {
        self.touched.clone().unwrap_or_else(|| self.named().collect())
    }

    /// Of these pages of a chunk, those that are really changed. What is only to be written is: it has no older bytes.
    pub fn changed(&self, chunk: usize, pages: PageMask) -> PageMask {
        match (&self.written, self.mode) {
            (_, AccessMode::Read) => PageMask::EMPTY,
            (Some(written), AccessMode::ReadWrite) => {
                let of = written.iter().filter(|(c, _)| *c == chunk);
                pages & of.fold(PageMask::EMPTY, |all, (_, mask)| all | *mask)
            }
            _ => pages,
        }
    }
}

/// One step of the program.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are named at each kind")]
pub enum Event {
    /// The CPU touches pages of one chunk, and computes for `ns`. Without pages it only computes.
    Cpu { chunk: usize, pages: PageMask, touch: Touch, ns: u64 },
    /// A kernel is queued that runs for `ns`.
    Launch { kernel: u64, uses: Vec<Use>, ns: u64 },
}

/// A program's run.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What it is.
    pub name: String,
    /// The device's memory, in chunks.
    pub device: usize,
    /// Allocations: first chunk and number of chunks, without gaps.
    pub allocations: Vec<(usize, usize)>,
    /// What happens. All data is on the host before.
    pub events: Vec<Event>,
}

impl Trace {
    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        self.allocations.last().map_or(0, |(first, count)| first + count)
    }

    /// The number of the allocation that each chunk is in.
    pub fn owners(&self) -> Vec<usize> {
        let of = |(i, (_, count)): (usize, &(usize, usize))| std::iter::repeat_n(i, *count);
        self.allocations.iter().enumerate().flat_map(of).collect()
    }
}
