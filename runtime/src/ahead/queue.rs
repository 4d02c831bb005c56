//! What is to move in the background, as ranges that are done chunk by chunk: ahead of readers first, then what launches are
//! followed by. Fixed memory, plain values; the fault path writes here under a lock that it only tries: signal-safe.

use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::mask::PageMask;

/// What to do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Home, ahead of a reader; `write`: it writes, too.
    Ahead { write: bool },
    /// Home, behind a launch; `write`: the CPU will write it.
    Home { write: bool },
    /// The host's alone, for the CPU will write it: no byte moves.
    Take,
    /// A copy to a device: of what the next launch reads, or (`behind`) of what a writer has left.
    Out { device: u8, behind: bool },
}

/// What a thread looks for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// What comes home, and what is taken; then what goes out.
    Home,
    /// What goes out; then what comes home.
    Out,
    /// What goes out, and nothing else: more at a time that comes home would be in the way of faults.
    More,
}

/// How many threads there are.
pub(super) const THREADS: usize = 3;

impl Way {
    /// All.
    pub(super) const ALL: [Way; THREADS] = [Way::Home, Way::Out, Way::More];
}

/// A range that is being moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Job {
    /// The allocation, as `policy` knows it; of a range of a launch 0.
    key: u64,
    /// What is left of it.
    rest: ByteRange,
    kind: Kind,
    /// Not yet: the launch on this stream has to be released first, or to end; and which it is.
    behind: Option<(u16, u64)>,
}

/// One chunk's part of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) key: u64,
    pub(super) at: HostAddr,
    pub(super) part: ByteRange,
    /// Pages of the same chunk that other jobs have the same done with: they are one step.
    with: PageMask,
    pub(super) kind: Kind,
    /// Where the job ends.
    pub(super) end: usize,
}

impl Step {
    /// Its pages.
    pub(super) fn pages(&self) -> PageMask {
        PageMask::of(self.part) | self.with
    }

    fn overlaps(&self, range: ByteRange) -> bool {
        let whole = self.at.range(CHUNK);
        let here = ByteRange { start: range.start.max(whole.start), end: range.end.min(whole.end) };
        self.part.overlaps(range) || here.start < here.end && self.with.meets(PageMask::of(here))
    }
}

/// How many ranges there can be; what comes on top of that is not moved.
const MOST: usize = 96;

/// See the head of the file.
pub(super) struct Queue {
    jobs: [Option<Job>; MOST],
    /// Where each thread's search for the next step begins, so that every reader gets its turn.
    turn: [usize; THREADS],
    /// How many launches have been released.
    released: u64,
    /// What each thread is at, unless it has become pointless since.
    now: [Option<Step>; THREADS],
}

impl Queue {
    /// An empty one.
    pub(super) const fn new() -> Queue {
        Queue { jobs: [None; MOST], turn: [0; THREADS], released: 0, now: [None; THREADS] }
    }

    /// `count` chunks from `from` on are to come home ahead of the reader of the allocation `key`. They go on where its last
    /// ones end, or take their place: it has gone elsewhere.
    pub(super) fn read_ahead(&mut self, key: u64, from: HostAddr, count: usize, write: bool) {
        let end = from.0.saturating_add(count * CHUNK);
        let kind = Kind::Ahead { write };
        let mine =
            self.jobs.iter_mut().flatten().find(|j| j.key == key && matches!(j.kind, Kind::Ahead { .. }));
        match mine {
            Some(j) if j.rest.end == from.0 && j.kind == kind => j.rest.end = end,
            Some(j) => *j = Job { key, rest: ByteRange { start: from.0, end }, kind, behind: None },
            None => drop(self.push(key, ByteRange { start: from.0, end }, kind, None)),
        }
    }

    /// Another range; `behind`: of the launch that is acquired on this stream. Whether there was room.
    pub(super) fn push(&mut self, key: u64, rest: ByteRange, kind: Kind, behind: Option<u16>) -> bool {
        if matches!(kind, Kind::Out { behind: true, .. }) {
            // The writer has been there: what is taken from now on would be taken from the device that it is sent to.
            self.no_more_taking(rest);
            for job in self.jobs.iter_mut().flatten().filter(|j| j.kind == Kind::Take) {
                if job.rest.overlaps(rest) {
                    job.rest.start = rest.end.min(job.rest.end);
                }
            }
            self.retain(|j| j.rest.len() > 0);
        }
        let behind = behind.map(|stream| (stream, self.released));
        let job = Job { key, rest, kind, behind };
        if self.jobs.iter().flatten().any(|j| *j == job) {
            return true;
        }
        let free = self.jobs.iter_mut().find(|j| j.is_none());
        free.map(|slot| *slot = Some(job)).is_some()
    }

    /// Whether the chunk at `at` is to come home ahead of the reader of `key`, and has not been begun.
    pub(super) fn awaits(&self, key: u64, at: HostAddr) -> bool {
        let has = |j: &Job| j.key == key && (j.rest.start..j.rest.end).contains(&at.0);
        self.jobs.iter().flatten().any(|j| matches!(j.kind, Kind::Ahead { .. }) && has(j))
    }

    /// What comes next for a thread: a part of one chunk, which is done with.
    pub(super) fn next(&mut self, way: Way) -> Option<Step> {
        let ready = |j: &Option<Job>| j.filter(|j| j.behind.is_none()).map(|j| j.kind);
        let order = || (0..MOST).map(|i| (self.turn[way as usize] + i) % MOST);
        let class = |kind| match kind {
            Kind::Ahead { .. } => 0,
            Kind::Take => 1,
            Kind::Home { .. } => 2,
            Kind::Out { .. } if way == Way::Home => 3,
            Kind::Out { .. } => -1,
        };
        let is_for = |kind| way != Way::More || matches!(kind, Kind::Out { .. });
        let i = order()
            .filter(|&i| ready(&self.jobs[i]).is_some_and(is_for))
            .min_by_key(|&i| self.jobs[i].map(|j| class(j.kind)))?;
        self.turn[way as usize] = i + 1;
        let job = self.jobs[i].as_mut()?;
        let (at, part) = job.rest.chunks().next()?;
        let (key, kind, end) = (job.key, job.kind, job.rest.end);
        job.rest.start = part.end;
        let with = if matches!(kind, Kind::Home { .. } | Kind::Take) {
            self.others(key, kind, at)
        } else {
            PageMask::EMPTY
        };
        let step = Step { key, at, part, with, kind, end };
        self.retain(|j| j.rest.len() > 0);
        self.now[way as usize] = Some(step);
        Some(step)
    }

    /// What other jobs of the kind have next in the chunk at `at`: it costs hardly more to do all of that at once. They are done with it.
    fn others(&mut self, key: u64, kind: Kind, at: HostAddr) -> PageMask {
        let mut pages = PageMask::EMPTY;
        let same = |j: &&mut Job| j.behind.is_none() && (j.key, j.kind) == (key, kind);
        for job in self.jobs.iter_mut().flatten().filter(same) {
            if let Some((_, part)) = job.rest.chunks().next().filter(|(chunk, _)| *chunk == at) {
                pages = pages | PageMask::of(part);
                job.rest.start = part.end;
            }
        }
        pages
    }

    /// Whether something is to go out now.
    pub(super) fn has_out(&self) -> bool {
        self.jobs.iter().flatten().any(|j| j.behind.is_none() && matches!(j.kind, Kind::Out { .. }))
    }

    /// Whether what `next` gave last is still to be done. To be asked with the chunk locked.
    pub(super) fn is_wanted(&self, way: Way) -> bool {
        self.now[way as usize].is_some()
    }

    fn no_more_taking(&mut self, range: ByteRange) {
        let over = |s: &&mut Option<Step>| s.is_some_and(|s| s.kind == Kind::Take && s.overlaps(range));
        self.now.iter_mut().filter(over).for_each(|s| *s = None);
    }

    /// Nothing more of a job one step of which has found other memory than it was for.
    pub(super) fn give_up(&mut self, step: Step) {
        // Another thread may be ahead in it.
        let is_its = |j: &Job| {
            let rest = step.part.end..step.end;
            j.key == step.key && j.kind == step.kind && j.rest.end == step.end && rest.contains(&j.rest.start)
        };
        self.retain(|j| !is_its(j));
    }

    /// A device is to use the allocation `key`: its reader is through.
    pub(super) fn end_of_reader(&mut self, key: u64) {
        self.retain(|j| j.key != key || !matches!(j.kind, Kind::Ahead { .. }));
    }

    /// A launch is released: its number, for [`Queue::arm`].
    pub(super) fn release(&mut self) -> u64 {
        self.released += 1;
        self.released - 1
    }

    /// The launch of that number on `stream` has ended, and with it those before.
    pub(super) fn arm(&mut self, stream: u16, number: u64) {
        let ended = |j: &&mut Job| j.behind.is_some_and(|(s, n)| s == stream && n <= number);
        self.jobs.iter_mut().flatten().filter(ended).for_each(|j| j.behind = None);
    }

    /// Whether ranges wait for a launch on `stream`.
    pub(super) fn has_behind(&self, stream: u16) -> bool {
        self.jobs.iter().flatten().any(|j| j.behind.is_some_and(|(s, _)| s == stream))
    }

    /// A launch has `range` on its device: what a writer was to be spared or has left there is over, and what another launch uses
    /// before the first has ended is not what the CPU waits for.
    pub(super) fn overtaken(&mut self, range: ByteRange) {
        let over = |j: &Job| match j.kind {
            Kind::Take | Kind::Out { behind: true, .. } => true,
            _ => j.behind.is_some(),
        };
        self.no_more_taking(range);
        self.retain(|j| !over(j) || !j.rest.overlaps(range));
    }

    /// Ranges that wait for a launch on `stream` are not wanted any more.
    pub(super) fn drop_behind(&mut self, stream: u16) {
        self.retain(|j| j.behind.is_none_or(|(s, _)| s != stream));
    }

    /// Somebody says where `range` is to be: no guess holds against that.
    pub(super) fn withdraw(&mut self, range: ByteRange) {
        self.retain(|j| !j.rest.overlaps(range));
    }

    /// Nothing is to be done any more.
    pub(super) fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.jobs.iter().flatten().count()
    }

    fn retain(&mut self, keep: impl Fn(&Job) -> bool) {
        self.jobs.iter_mut().filter(|slot| slot.is_some_and(|j| !keep(&j))).for_each(|slot| *slot = None);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
