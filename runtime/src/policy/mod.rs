//! What moves when. Pure and deterministic decisions over plain values in fixed memory: the runtime asks them (`ask` for the
//! fault path, `evict` when a device is full), and the lab (`bench/policy`) replays traces with the same code. One policy a
//! file, behind one trait; `HMMRT_POLICY` chooses. Signal-safe: all of it.

pub(crate) mod advised;
mod ask;
mod auto;
mod chunk;
mod demand;
mod expect;
mod histories;
mod history;
mod launches;
mod mirror;
mod places;
mod recency;
mod regular;
mod uvm;

pub(crate) use ask::{
    advice, allocation, came_open, choose, device_uses, early_ended, moved_early, opens, pages_to_bring,
    reached, same_block, the,
};
pub use auto::Auto;
pub use chunk::WholeChunk;
pub use demand::Demand;
pub use history::{History, Pattern};
pub use launches::{Launches, Range};
pub use mirror::Mirror;
pub use recency::{Recency, Used, Uses};
pub use regular::{Regular, Regulars};
pub use uvm::Uvm;

pub use crate::mask::PageMask;

/// A CPU touch of a page that is not there for it.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// The number of its chunk: the address by 2 MiB.
    pub chunk: u64,
    /// The page in its chunk.
    pub page: usize,
    /// Whether it is to be written.
    pub write: bool,
    /// Whether bytes have to come home. If not, the page is valid on both sides, and a write takes it from the device.
    pub fetch: bool,
    /// The pages of the same block and chunk that are in the same state: one move can serve them all. Has `page`.
    pub alike: PageMask,
    /// Of the same block and chunk, the pages for which that has been done.
    pub done: PageMask,
    /// All of the chunk is one block's: what is remembered by chunk is that block's.
    pub whole: bool,
    /// What the program said about the order of its touches.
    pub order: Order,
}

/// The order of the CPU's touches, as advice has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// Nothing was said.
    #[default]
    Unknown,
    /// One after the other.
    Sequential,
    /// Here and there.
    Random,
}

/// What to do about a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bring {
    /// The pages to serve before the touch goes on; has the touched one.
    pub pages: PageMask,
    /// How many chunks after this one to serve in the background: the reader is expected there.
    pub ahead: u32,
    /// The chunk before this one has been written to its end: if the next launch reads it, it can go now.
    pub behind: bool,
    /// What is learnt of the touch, for launches that it follows.
    pub learn: Learn,
    /// All of the allocation is to be served before the touch goes on. The lab does so; the runtime follows no policy that asks for it.
    pub everything: bool,
}

impl Bring {
    /// These pages and nothing else.
    pub fn only(pages: PageMask) -> Bring {
        Bring { pages, ahead: 0, behind: false, learn: Learn::Pages, everything: false }
    }
}

/// What the history of launches is told of a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// The pages that come with it.
    Pages,
    /// All of the block's part of the chunk: which pages of it are worth moving is known ([`Regulars::moved_early`]).
    Chunk,
    /// Nothing: it has been told.
    Nothing,
}

/// A chunk that could leave a device that is full. Times are in launches.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// When a launch last used it, and how regularly.
    pub used: Used,
    /// When bytes of it were last moved there.
    pub moved: u64,
    /// Whether the host has all of its bytes: giving it up copies nothing.
    pub clean: bool,
    /// Whether nothing of it is valid on the device any more.
    pub empty: bool,
}

/// What moves when.
pub trait Policy: Sync {
    /// Its name in `HMMRT_POLICY`.
    fn name(&self) -> &'static str;
    /// The CPU touched a page that is not there for it. `regular` is [`Regulars::of`] the touch.
    fn bring(&self, touch: &Touch, history: &mut History, regular: &mut Regular) -> Bring;
    /// The CPU has come to a chunk that was served in the background: the first of those to serve next, and how many.
    fn reached(&self, chunk: u64, history: &mut History) -> Option<(u64, u32)> {
        let _ = (chunk, history);
        None
    }
    /// How gladly a chunk is given up when a device is full: the highest goes first. `now` is the number of launches so far.
    fn give_up(&self, candidate: &Candidate, now: u64) -> u64 {
        // Least recently used.
        if candidate.empty { u64::MAX } else { now.saturating_sub(candidate.used.last) }
    }
    /// Whether launches are learnt, and what they will need is moved early.
    fn predicts(&self) -> bool {
        false
    }
}

/// All policies; the lab has them all, the runtime those of [`PolicyChoice`](crate::PolicyChoice).
pub static ALL: &[&dyn Policy] = &[&Auto, &Demand, &WholeChunk, &Mirror, &Uvm];
