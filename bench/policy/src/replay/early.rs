//! What moves before it is asked for: by three threads that do one chunk at a time each, copies and all, in the runtime's order
//! (`ahead` has the queue): for readers who go on, what is taken for a writer, home behind a launch, out; the second begins with
//! what goes out, and the third does only that. Faults and launches go first.

use super::{Replay, THREADS};
use crate::reasons::Reason;
use hmmrt::policy::PageMask;

/// What is to be done with pages. The order is the queue's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Home ahead of a reader.
    Ahead,
    /// The host's alone, no byte moves.
    Take,
    /// Home behind a launch.
    Home,
    /// A copy to the device, behind a writer or for the next launch.
    Out,
}

impl Kind {
    /// Whether the second thread begins with it.
    fn is_out(self) -> bool {
        self == Kind::Out
    }
}

/// Pages of a chunk that are to be moved, not before `release`.
pub(super) struct Job {
    kind: Kind,
    release: u64,
    posted: u64,
    chunk: usize,
    pages: PageMask,
    /// The CPU writes them.
    write: bool,
    /// What must not leave the device for it.
    keep: Vec<usize>,
}

impl Replay<'_> {
    /// Something is to be done early.
    pub(super) fn post(
        &mut self,
        kind: Kind,
        release: u64,
        chunk: usize,
        pages: PageMask,
        write: bool,
        keep: &[usize],
    ) {
        let keep = keep.to_vec();
        if !pages.is_empty() {
            self.early.push(Job { kind, release, posted: self.cpu, chunk, pages, write, keep });
        }
    }

    /// Whether a chunk is to come home ahead of its reader, and has not been begun.
    pub(super) fn is_awaited(&self, chunk: usize) -> bool {
        self.early.iter().any(|j| j.chunk == chunk && j.kind == Kind::Ahead)
    }

    /// The CPU touches a chunk that came early and is closed: it is opened, and with it those that came behind the same launch, if
    /// the CPU goes on from one to the next.
    pub(super) fn open(&mut self, chunk: usize, write: bool) {
        let owner = self.owners[chunk];
        let predicted = self.chunks[chunk].predicted;
        let with = if predicted { self.histories[owner].opens(chunk as u64) as usize } else { 0 };
        for next in chunk..=chunk + with {
            if next > chunk {
                let is_next =
                    |c: &super::Chunk| c.closed && c.predicted && c.arrival(PageMask::FULL) <= self.cpu;
                if self.owners.get(next) != Some(&owner) || !is_next(&self.chunks[next]) {
                    return;
                }
            }
            let cost = if next == chunk { self.costs.opening } else { self.costs.protect };
            self.wait(Reason::Opening, self.cpu + cost);
            self.chunks[next].closed = false;
            self.histories[owner].early_ended(true);
            self.reached(next, write);
        }
    }

    /// The CPU has come to a chunk that was read ahead for it: goes on.
    pub(super) fn reached(&mut self, chunk: usize, write: bool) {
        let owner = self.owners[chunk];
        if let Some((from, count)) = self.who.policy.reached(chunk as u64, &mut self.histories[owner]) {
            self.read_ahead(owner, from as usize, count, write);
        }
        self.learn(chunk, PageMask::FULL, true, write);
    }

    /// Chunks of an allocation are to come home ahead of a reader.
    pub(super) fn read_ahead(&mut self, owner: usize, from: usize, count: u32, write: bool) {
        let (first, chunks) = self.trace.allocations[owner];
        for chunk in (from..first + chunks).take(count as usize) {
            if !self.is_awaited(chunk) {
                self.post(Kind::Ahead, self.cpu, chunk, PageMask::FULL, write, &[]);
            }
        }
    }

    /// Pages are brought by a fault, or written by a kernel: they need not come any more.
    pub(super) fn forget_early(&mut self, chunk: usize, pages: PageMask) {
        let comes = |j: &&mut Job| j.chunk == chunk && matches!(j.kind, Kind::Ahead | Kind::Home);
        self.early.iter_mut().filter(comes).for_each(|j| j.pages = j.pages & !pages);
        self.early.retain(|j| !j.pages.is_empty());
    }

    /// The writer has left a chunk that was to be taken for it: it is on its way back.
    pub(super) fn was_written(&mut self, chunk: usize) {
        self.early.retain(|j| j.chunk != chunk || j.kind != Kind::Take);
    }

    /// A launch has pages on its device: what a writer was to be spared, or has left, is over, and what is to come home behind
    /// a launch that has not ended is not what the CPU waits for.
    pub(super) fn overtaken(&mut self, chunk: usize, pages: PageMask) {
        let now = self.cpu;
        let over = |j: &Job| match j.kind {
            Kind::Take | Kind::Out => true,
            Kind::Home => j.release > now,
            Kind::Ahead => false,
        };
        let mine = |j: &&mut Job| j.chunk == chunk && over(j);
        self.early.iter_mut().filter(mine).for_each(|j| j.pages = j.pages & !pages);
        self.early.retain(|j| !j.pages.is_empty());
    }

    /// Does what has begun by now.
    pub(super) fn catch_up(&mut self) {
        loop {
            // A thread is woken for what it begins with, and by the end of a launch; while it is at work it helps the other. The
            // third does nothing but what goes out, while the second is at work.
            let mut next = None;
            for (thread, (i, j)) in
                (0..THREADS).flat_map(|t| self.early.iter().enumerate().map(move |j| (t, j)))
            {
                let own = j.kind.is_out() == (thread > 0);
                let does = match thread {
                    2 => own,
                    _ => own || j.kind == Kind::Home || self.helpers[thread] > j.posted,
                };
                if does {
                    let at = self.helpers[thread].max(j.release);
                    let this = (at, thread, thread == 1 && !own, j.kind, i);
                    next = Some(next.map_or(this, |best| this.min(best)));
                }
            }
            let Some((at, thread, _, _, i)) = next.filter(|n| n.0 <= self.cpu) else { return };
            self.thread = thread;
            let mut job = self.early.remove(i);
            // With it what else behind launches is to be done so with the chunk.
            self.early.retain(|j| {
                let same = (j.chunk, j.kind, j.write) == (job.chunk, job.kind, job.write);
                let with = same && j.release <= at && matches!(j.kind, Kind::Home | Kind::Take);
                if with {
                    job.pages = job.pages | j.pages;
                }
                !with
            });
            let c = &self.chunks[job.chunk];
            match job.kind {
                Kind::Ahead | Kind::Home => {
                    let written = if at < c.written_until { c.written } else { PageMask::EMPTY };
                    let mut pages = job.pages & c.device & !c.host & !written;
                    if job.kind == Kind::Home {
                        pages = self.worth_moving(job.chunk, pages, true);
                    }
                    self.come_home(&job, pages, at);
                }
                Kind::Take => {
                    let both = job.pages & c.host & c.device;
                    let pages = self.worth_moving(job.chunk, both, false);
                    self.take_early(job.chunk, pages, at);
                }
                Kind::Out => {
                    let pages = job.pages & c.host & !c.device & !c.coming;
                    self.send_early(job.chunk, pages, at, &job.keep);
                }
            }
        }
    }

    fn worth_moving(&mut self, chunk: usize, pages: PageMask, fetch: bool) -> PageMask {
        if pages.is_empty() {
            return pages;
        }
        let history = &mut self.histories[self.owners[chunk]];
        self.regulars.moved_early(chunk as u64, pages, fetch, history)
    }

    fn come_home(&mut self, job: &Job, pages: PageMask, at: u64) {
        if pages.is_empty() {
            return;
        }
        let (chunk, write) = (job.chunk, job.write);
        self.chunks[chunk].closed = pages.is_full();
        self.chunks[chunk].predicted = job.kind == Kind::Home;
        if job.kind == Kind::Ahead && !pages.is_full() {
            self.learn(chunk, pages, true, write); // its touches will not be seen
        }
        let there = self.home(chunk, pages, write, at) + self.costs.latency;
        let end = there + self.costs.place + self.costs.pieces(pages);
        self.helpers[self.thread] = end;
        self.chunks[chunk].comes(pages, end);
    }

    /// Takes pages that both sides have from the device, before the CPU writes them.
    fn take_early(&mut self, chunk: usize, pages: PageMask, at: u64) {
        let c = &mut self.chunks[chunk];
        let both = pages & c.host & c.device;
        if !both.is_empty() && !c.closed {
            c.device = c.device & !both;
            let end = at + self.costs.protect + self.costs.pieces(both);
            self.helpers[self.thread] = end;
            self.chunks[chunk].comes(both, end);
        }
    }
}
