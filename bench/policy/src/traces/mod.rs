//! Generators: the shapes of programs, with sizes and speeds drawn from a seed. The same seed gives the same trace.

mod dense;
mod held;
mod partly;
mod rng;
mod sparse;

use crate::trace::{Event, PAGES, Touch, Trace, Use};
use hmmrt::AccessMode;
use hmmrt::policy::PageMask;
pub use partly::unnamed;
use partly::{Reads, partly};
use rng::Rng;

type Generator = fn(&mut Rng) -> Trace;

/// The shapes' names and what makes them.
const SHAPES: &[(&str, Generator)] = &[
    ("streaming", dense::streaming),
    ("stencil", dense::stencil),
    ("blocked", dense::blocked),
    ("solver", dense::solver),
    ("bfs", sparse::bfs),
    ("pointer-chase", sparse::pointer_chase),
    ("key-value", sparse::key_value),
    ("ping-pong", sparse::ping_pong),
    ("ping-pong-dense", dense::ping_pong),
    ("sweep-0.8", |r| dense::sweep(r, 0.8)),
    ("sweep-1.2", |r| dense::sweep(r, 1.2)),
    ("sweep-1.6", |r| dense::sweep(r, 1.6)),
    ("sweep-2.0", |r| dense::sweep(r, 2.0)),
];

/// Shapes that were kept aside.
const HELD_OUT: &[(&str, Generator)] = &[
    ("triple", held::triple),
    ("fields", held::fields),
    ("jacobi", held::jacobi),
    ("cyclic", held::cyclic),
    ("training", held::training),
    ("slices", held::slices),
    ("passes", held::passes),
];

/// Launches that change a share of what they name; how much of it the CPU reads.
const PARTLY: &[(&str, Generator)] = &[
    ("changed-0-all", |r| partly(r, 0.0, Reads::All)),
    ("changed-0.1-all", |r| partly(r, 0.1, Reads::All)),
    ("changed-0.5-all", |r| partly(r, 0.5, Reads::All)),
    ("changed-1-all", |r| partly(r, 1.0, Reads::All)),
    ("changed-0-some", |r| partly(r, 0.0, Reads::Some)),
    ("changed-0.1-some", |r| partly(r, 0.1, Reads::Some)),
    ("changed-0.5-some", |r| partly(r, 0.5, Reads::Some)),
    ("changed-1-some", |r| partly(r, 1.0, Reads::Some)),
    ("changed-0.1-none", |r| partly(r, 0.1, Reads::Nothing)),
    ("changed-1-none", |r| partly(r, 1.0, Reads::Nothing)),
];

/// The names of the usual shapes.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|(name, _)| *name)
}

/// The names of those that were kept aside.
pub fn held_out() -> impl Iterator<Item = &'static str> {
    HELD_OUT.iter().map(|(name, _)| *name)
}

/// The names of those whose launches change a share of what they name.
pub fn partly_changed() -> impl Iterator<Item = &'static str> {
    PARTLY.iter().map(|(name, _)| *name)
}

/// The trace of a shape; `None` if there is none of this name.
pub fn generate(name: &str, seed: u64) -> Option<Trace> {
    let (name, make) = SHAPES.iter().chain(HELD_OUT).chain(PARTLY).find(|(n, _)| *n == name)?;
    let mut trace =
        make(&mut Rng::new(seed ^ name.bytes().fold(0_u64, |h, b| h.wrapping_mul(31) + u64::from(b))));
    (*name).clone_into(&mut trace.name);
    Some(trace)
}

/// A trace in the making.
struct Maker(Trace);

impl Maker {
    fn new(device: usize) -> Maker {
        Maker(Trace { name: String::new(), device, allocations: Vec::new(), events: Vec::new() })
    }
    /// A new allocation: its first chunk.
    fn allocate(&mut self, chunks: usize) -> usize {
        let first = self.0.chunks();
        self.0.allocations.push((first, chunks));
        first
    }
    fn cpu(&mut self, chunk: usize, pages: PageMask, touch: Touch, ns: u64) {
        self.0.events.push(Event::Cpu { chunk, pages, touch, ns });
    }
    /// All of some chunks, one after the other.
    fn cpu_all(&mut self, first: usize, count: usize, touch: Touch, ns: u64) {
        (first..first + count).for_each(|c| self.cpu(c, PageMask::FULL, touch, ns));
    }
    fn launch(&mut self, kernel: u64, ns: u64, uses: Vec<Use>) {
        self.0.events.push(Event::Launch { kernel, uses, ns });
    }
}

/// Whole chunks, as a launch names them.
fn all(first: usize, count: usize, mode: AccessMode) -> Use {
    Use::all(first as u64 * PAGES, count as u64 * PAGES, mode)
}
