//! The replay: one CPU thread, one stream, a bus with a direction each way, a device with so many chunks. Moves follow the
//! runtime's own rules: a launch's ranges are there before it starts, reading leaves both sides valid, a touch waits for the
//! kernel that writes the page. What else moves, and when, is the contender's to decide.

mod bytes;
mod checksums;
mod cpu;
mod device;
mod early;
mod memory;
mod unified;

use crate::bus::Bus;
use crate::costs::Costs;
use crate::reasons::{Reason, Waits};
use crate::trace::{Event, Trace};
use bytes::Bytes;
pub use checksums::Checksums;
use hmmrt::policy::{History, Launches, PageMask, Policy, Recency, Regulars};
use std::collections::BTreeMap;

/// How launches get their pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What they name is brought before they start.
    Acquire,
    /// So are the allocations that it is in, as a whole, and whatever they do with it.
    Allocations,
    /// What they touch faults on the device.
    Faults,
}

/// Who takes part.
#[derive(Clone, Copy)]
pub struct Contender {
    /// For the table.
    pub name: &'static str,
    /// What it decides.
    pub policy: &'static dyn Policy,
    /// How launches get their pages.
    pub side: Side,
}

/// All: ours first.
pub fn contenders() -> Vec<Contender> {
    use hmmrt::policy::ALL;
    let of = |name: &str| *ALL.iter().find(|p| p.name() == name).expect("a policy of this name");
    let with = |name, side| Contender { name, policy: of(name), side };
    vec![
        with("auto", Side::Acquire),
        with("demand", Side::Acquire),
        with("chunk", Side::Acquire),
        with("mirror", Side::Allocations),
        with("uvm", Side::Faults),
    ]
}

/// What a replay comes to. Times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// From the start to the end.
    pub total: u64,
    /// Bytes to the device.
    pub bytes_out: u64,
    /// Bytes home.
    pub bytes_home: u64,
    /// Faults of the CPU and the device.
    pub faults: u64,
    /// Chunks that had to leave the device.
    pub evictions: u64,
    /// The device's time for checksums, and the most host memory that they held, in bytes.
    pub hashing: u64,
    /// See above.
    pub held: u64,
    /// Why the CPU waited: after launches that came for the first or second time, and after others.
    pub waits: [Waits; 2],
}

impl Outcome {
    /// Bytes both ways.
    pub fn bytes(&self) -> u64 {
        self.bytes_out + self.bytes_home
    }
}

/// One chunk.
#[derive(Clone)]
struct Chunk {
    host: PageMask,
    device: PageMask,
    /// Pages that are on their way home, and until when; others are on their way out until `device_at`.
    coming: PageMask,
    arrivals: Vec<(PageMask, u64)>,
    device_at: u64,
    /// What a kernel writes until `written_until`, and uses until `used_until`.
    written: PageMask,
    written_until: u64,
    used: PageMask,
    used_until: u64,
    committed: bool,
    /// It came home early, as a whole, and is closed until it is touched.
    closed: bool,
    /// It did so behind a launch.
    predicted: bool,
    moved: u64,
    thrash: unified::Thrash,
    check: checksums::Check,
}

impl Chunk {
    /// When the last of these pages that are on their way home is there; 0: all are.
    fn arrival(&self, pages: PageMask) -> u64 {
        let all = self.arrivals.iter().filter(|(coming, _)| (pages & self.coming).meets(*coming));
        all.map(|(_, at)| *at).max().unwrap_or(0)
    }

    /// Pages are on their way until `at`.
    fn comes(&mut self, pages: PageMask, at: u64) {
        self.coming = self.coming | pages;
        self.arrivals.push((pages, at));
    }

    /// Forgets what is there at `now`.
    fn arrived(&mut self, now: u64) {
        self.arrivals.retain(|(_, at)| *at > now);
        let still = self.arrivals.iter().fold(PageMask::EMPTY, |all, (pages, _)| all | *pages);
        self.coming = self.coming & still;
    }
}

/// How many threads move things early.
const THREADS: usize = 3;

struct Replay<'a> {
    trace: &'a Trace,
    costs: &'a Costs,
    who: Contender,
    owners: Vec<usize>,
    chunks: Vec<Chunk>,
    histories: Vec<History>,
    regulars: Box<Regulars>,
    launches: Launches,
    recency: Recency,
    bytes: Bytes,
    to_device: Bus,
    to_host: Bus,
    /// The threads that move things early: until when they are at work; and whose turn it is.
    helpers: [u64; THREADS],
    thread: usize,
    /// What they are to do: whoever faults comes first.
    early: Vec<early::Job>,
    cpu: u64,
    device: u64,
    committed: usize,
    /// Launches so far, and moves.
    number: u64,
    moves: u64,
    /// How often launches with the same ranges came, and whether the last has come before, twice.
    seen: BTreeMap<u64, u32>,
    known: usize,
    out: Outcome,
}

/// A launch alone needs more than the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Replays a trace.
///
/// # Panics
/// If a byte is used that is not the last that was written: a fault of the replay.
pub fn replay(trace: &Trace, costs: &Costs, who: Contender) -> Result<Outcome, TooLarge> {
    let new = Chunk {
        host: PageMask::FULL,
        device: PageMask::EMPTY,
        coming: PageMask::EMPTY,
        arrivals: Vec::new(),
        device_at: 0,
        written: PageMask::EMPTY,
        written_until: 0,
        used: PageMask::EMPTY,
        used_until: 0,
        committed: false,
        closed: false,
        predicted: false,
        moved: 0,
        thrash: unified::Thrash::default(),
        check: checksums::Check::default(),
    };
    let mut r = Replay {
        trace,
        costs,
        who,
        owners: trace.owners(),
        chunks: vec![new; trace.chunks()],
        histories: vec![History::default(); trace.allocations.len()],
        regulars: Box::default(),
        launches: Launches::new(),
        recency: Recency::new(),
        bytes: Bytes::new(trace.chunks()),
        to_device: Bus::default(),
        to_host: Bus::default(),
        helpers: [0; THREADS],
        thread: 0,
        early: Vec::new(),
        cpu: 0,
        device: 0,
        committed: 0,
        number: 0,
        moves: 0,
        seen: BTreeMap::new(),
        known: 0,
        out: Outcome::default(),
    };
    for event in &trace.events {
        match event {
            Event::Cpu { chunk, pages, touch, ns } => r.touch(*chunk, *pages, *touch, *ns),
            Event::Launch { kernel, uses, ns } => {
                let times = r.seen.entry(Launches::key(*kernel, device::ranges(uses))).or_default();
                *times += 1;
                r.known = usize::from(*times > 2);
                match who.side {
                    Side::Acquire | Side::Allocations => r.launch(*kernel, uses, *ns)?,
                    Side::Faults => r.launch_unified(uses, *ns)?,
                }
            }
        }
    }
    r.out.total = r.cpu.max(r.device);
    Ok(r.out)
}

impl Replay<'_> {
    /// The CPU waits until `at`.
    fn wait(&mut self, reason: Reason, at: u64) {
        self.out.waits[self.known].add(reason, at.saturating_sub(self.cpu));
        self.cpu = self.cpu.max(at);
    }
}

/// What the program takes if nothing has to move.
pub fn ideal(trace: &Trace) -> u64 {
    crate::oracle::oracle(trace, &Costs::free()).total
}
