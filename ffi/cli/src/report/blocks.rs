//! Which block each move and fault is about, and chunks that go to and fro.

use hmmrt::trace::{Event, What, Why};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Bytes of a chunk: what moves as one.
const CHUNK: u64 = 2 << 20;
/// Round trips of one chunk within [`WINDOW`] that are worth a line.
pub const TRIPS: usize = 3;
/// Nanoseconds.
pub const WINDOW: u64 = 1_000_000_000;

/// Managed memory of the run.
#[derive(Serialize)]
pub struct Blocks {
    /// How many blocks and ranges there were.
    pub count: usize,
    /// The most bytes that were managed at one time.
    pub most_bytes: u64,
    /// Those about which most was copied, as many as were asked for.
    pub list: Vec<Block>,
    /// How many chunks went to and fro.
    pub to_and_fro_count: usize,
    /// Chunks that came home and went away again at least [`TRIPS`] times within [`WINDOW`]; likewise.
    pub to_and_fro: Vec<ToAndFro>,
}

/// A block, or a range of the program's own.
#[derive(Clone, Serialize)]
pub struct Block {
    /// Its place among all, from 1.
    pub number: usize,
    pub addr: u64,
    pub len: u64,
    /// `heap` or `adopted`.
    pub kind: &'static str,
    pub begin: u64,
    /// `None`: it was there to the end.
    pub end: Option<u64>,
    pub to_device: u64,
    pub to_host: u64,
    pub faults: u64,
    /// The most round trips of any of its chunks.
    pub round_trips: usize,
}

/// A chunk, of the block `block`.
#[derive(Clone, Serialize)]
pub struct ToAndFro {
    pub block: usize,
    pub addr: u64,
    /// The most round trips within the window, and in all.
    pub in_window: usize,
    pub round_trips: usize,
}

/// What is known of a chunk of a block.
#[derive(Default)]
struct Trips {
    away: bool,
    /// When it came home.
    times: Vec<u64>,
}

#[derive(Default)]
struct Collector {
    all: Vec<Block>,
    /// Start of what is managed: its end, and the block's index.
    live: BTreeMap<u64, (u64, usize)>,
    trips: BTreeMap<(usize, u64), Trips>,
    bytes: u64,
    most_bytes: u64,
}

impl Collector {
    fn begin(&mut self, time: u64, addr: u64, len: u64, why: Why) {
        let kind = if why == Why::Adopted { "adopted" } else { "heap" };
        let number = self.all.len() + 1;
        let (to_device, to_host, faults, round_trips) = (0, 0, 0, 0);
        let end = None;
        let block =
            Block { number, addr, len, kind, begin: time, end, to_device, to_host, faults, round_trips };
        self.all.push(block);
        self.end(time, addr, len); // a trace that lost an end
        self.live.insert(addr, (addr.saturating_add(len), number - 1));
        self.bytes = self.bytes.saturating_add(len);
        self.most_bytes = self.most_bytes.max(self.bytes);
    }

    /// What is in the range ends; of what is longer a part is left, as the program's own memory can be given up in parts.
    fn end(&mut self, time: u64, addr: u64, len: u64) {
        let end = addr.saturating_add(len);
        while let Some((&start, &(stop, index))) =
            self.live.range(..end).next_back().filter(|(_, v)| v.0 > addr)
        {
            self.live.remove(&start);
            self.bytes = self.bytes.saturating_sub(stop.min(end) - start.max(addr));
            let rest = [(start, addr.min(stop)), (end.max(start), stop)];
            let mut left = false;
            for (start, stop) in rest.into_iter().filter(|(a, b)| a < b) {
                self.live.insert(start, (stop, index));
                left = true;
            }
            if !left {
                self.all[index].end = Some(time);
            }
        }
    }

    fn find(&self, addr: u64) -> Option<usize> {
        self.live.range(..=addr).next_back().filter(|(_, v)| addr < v.0).map(|(_, v)| v.1)
    }

    fn moved(&mut self, time: u64, addr: u64, copied: u64, home: bool) {
        let Some(index) = self.find(addr) else { return };
        let block = &mut self.all[index];
        let sum = if home { &mut block.to_host } else { &mut block.to_device };
        *sum = sum.saturating_add(copied);
        let trips = self.trips.entry((index, addr / CHUNK)).or_default();
        if home && trips.away && copied > 0 {
            trips.times.push(time);
        }
        trips.away = !home;
    }
}

impl Blocks {
    pub fn new(events: &[Event], top: usize) -> Blocks {
        let mut c = Collector::default();
        for event in events {
            match event.what {
                What::Begin { addr, len, why } => c.begin(event.time, addr, len.max(1), why),
                What::End { addr, len, .. } => c.end(event.time, addr, len),
                What::Out { addr, copied, .. } => c.moved(event.time, addr, copied, false),
                What::Home { addr, copied, .. } => c.moved(event.time, addr, copied, true),
                What::Fault { addr, .. } => {
                    if let Some(index) = c.find(addr) {
                        c.all[index].faults += 1;
                    }
                }
                _ => {}
            }
        }
        let mut to_and_fro = Vec::new();
        for (&(index, chunk), trips) in &c.trips {
            let round_trips = trips.times.len();
            let block = &mut c.all[index];
            block.round_trips = block.round_trips.max(round_trips);
            let in_window = most_within(&trips.times);
            if in_window >= TRIPS {
                let addr = (chunk * CHUNK).max(block.addr);
                to_and_fro.push(ToAndFro { block: block.number, addr, in_window, round_trips });
            }
        }
        to_and_fro.sort_by_key(|t| (Reverse(t.in_window), t.addr));
        let to_and_fro_count = to_and_fro.len();
        to_and_fro.truncate(top);
        let count = c.all.len();
        c.all.sort_by_key(|b| (Reverse(b.to_device.saturating_add(b.to_host)), Reverse(b.faults), b.number));
        c.all.truncate(top);
        Blocks { count, most_bytes: c.most_bytes, list: c.all, to_and_fro_count, to_and_fro }
    }
}

/// The most of the times, which are in order, that lie within the window.
fn most_within(times: &[u64]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (i, &time) in times.iter().enumerate() {
        while time - times[first] > WINDOW {
            first += 1;
        }
        most = most.max(i + 1 - first);
    }
    most
}
