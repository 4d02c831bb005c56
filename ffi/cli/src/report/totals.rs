//! Sums over a trace: bytes by reason, faults, waits, and bytes by time.

use super::median;
use hmmrt::trace::{Event, What, Why};
use serde::Serialize;

/// What went one way.
#[derive(Default, Serialize)]
pub struct Totals {
    /// Bytes that were copied.
    pub copied: u64,
    /// Bytes that need not be copied: untouched, valid there already, or not needed.
    pub spared: u64,
    /// Moves, each within a chunk of 2 MiB.
    pub moves: u64,
    /// The same by reason, the most bytes first.
    pub by_reason: Vec<Reason>,
}

/// What one reason moved.
#[derive(Serialize)]
pub struct Reason {
    pub reason: &'static str,
    pub copied: u64,
    pub spared: u64,
    pub moves: u64,
}

impl Totals {
    pub fn to_device(events: &[Event]) -> Totals {
        Totals::of(events.iter().filter_map(|e| match e.what {
            What::Out { why, copied, spared, .. } => Some((why, copied, spared)),
            _ => None,
        }))
    }
    pub fn to_host(events: &[Event]) -> Totals {
        Totals::of(events.iter().filter_map(|e| match e.what {
            What::Home { why, copied, spared, .. } => Some((why, copied, spared)),
            _ => None,
        }))
    }
    fn of(moves: impl Iterator<Item = (Why, u64, u64)>) -> Totals {
        let mut totals = Totals::default();
        for (why, copied, spared) in moves {
            let reason = why.name();
            let at = totals.by_reason.iter().position(|r| r.reason == reason).unwrap_or_else(|| {
                totals.by_reason.push(Reason { reason, copied: 0, spared: 0, moves: 0 });
                totals.by_reason.len() - 1
            });
            let r = &mut totals.by_reason[at];
            for (sum, n) in [
                (&mut r.copied, copied),
                (&mut r.spared, spared),
                (&mut r.moves, 1),
                (&mut totals.copied, copied),
                (&mut totals.spared, spared),
                (&mut totals.moves, 1),
            ] {
                *sum = sum.saturating_add(n);
            }
        }
        totals.by_reason.sort_by_key(|r| std::cmp::Reverse((r.copied, r.spared)));
        totals
    }
}

/// CPU touches of pages that were not there.
#[derive(Serialize)]
pub struct Faults {
    pub read: u64,
    pub write: u64,
    /// Those that ended in SIGBUS.
    pub not_answered: u64,
    pub total: u64,
    pub median: u64,
    pub longest: u64,
    /// Part of `total` that was waiting for kernels or system calls.
    pub waited: u64,
}

impl Faults {
    pub fn new(events: &[Event]) -> Faults {
        let mut f = Faults { read: 0, write: 0, not_answered: 0, total: 0, median: 0, longest: 0, waited: 0 };
        let mut times = Vec::new();
        for event in events {
            let What::Fault { write, answered, took, waited, .. } = event.what else { continue };
            match (answered, write) {
                (false, _) => f.not_answered += 1,
                (true, false) => f.read += 1,
                (true, true) => f.write += 1,
            }
            times.push(took);
            f.total = f.total.saturating_add(took);
            f.waited = f.waited.saturating_add(waited);
        }
        f.longest = times.iter().copied().max().unwrap_or(0);
        f.median = median(&mut times);
        f
    }
}

/// Times that a thread waited for a kernel, a release or a system call; faults' included.
#[derive(Serialize)]
pub struct Waits {
    pub count: u64,
    pub total: u64,
    pub longest: u64,
}

impl Waits {
    pub fn new(events: &[Event]) -> Waits {
        let mut waits = Waits { count: 0, total: 0, longest: 0 };
        for event in events {
            if let What::Wait { took, .. } = event.what {
                waits.count += 1;
                waits.total = waits.total.saturating_add(took);
                waits.longest = waits.longest.max(took);
            }
        }
        waits
    }
}

/// What happened when.
#[derive(Serialize)]
pub struct TimeLine {
    /// How long each slice is.
    pub slice: u64,
    pub slices: Vec<Slice>,
}

/// A part of the run.
#[derive(Clone, Default, Serialize)]
pub struct Slice {
    pub to_device: u64,
    pub to_host: u64,
    pub faults: u64,
    pub launches: u64,
}

/// Slices: as many as fit a line of text.
const SLICES: u64 = 60;

impl TimeLine {
    pub fn new(events: &[Event], duration: u64) -> TimeLine {
        let slice = (duration / SLICES).saturating_add(1);
        let mut slices = vec![Slice::default(); SLICES as usize];
        for event in events {
            // The last event's time is the duration.
            let s = &mut slices[(event.time / slice).min(SLICES - 1) as usize];
            match event.what {
                What::Out { copied, .. } => s.to_device = s.to_device.saturating_add(copied),
                What::Home { copied, .. } => s.to_host = s.to_host.saturating_add(copied),
                What::Fault { .. } => s.faults += 1,
                What::Acquired { why: Why::Launch, .. } => s.launches += 1,
                _ => {}
            }
        }
        TimeLine { slice, slices }
    }
}
