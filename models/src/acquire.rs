//! Acquire against a change of residency, and against chunks that join and leave the block whose counts it looks at: the block's
//! summary (`summary.rs`) and the chunk's lock (`sys/lock.rs`) are the files themselves; the registry is a copy of `inflight.rs`,
//! cut down to one entry; `Guard` one of `chunk::Guard`, `ready_to` of `Chunk::ready_to`, `retire` and `summarize` of
//! `adopt/regions.rs`; `send_home` and `acquire` are the order of steps of `fault::resolve`, `access::is_ready`, `access::open`
//! and `access::settle`. A kernel that was let go finds its chunks there. `release` goes on from here.

use crate::atomic::{AtomicU32, AtomicUsize};
use crate::explore;
use crate::release::Releases;
use crate::summary::Summary;
use crate::sys::lock::{FutexLock, Locked};
use core::ops::Range;
use core::sync::atomic::Ordering::*;
use loom::sync::Arc;
use loom::thread;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Phase {
    None,
    Acquiring,
    Settling,
    Open,
    Released(u64),
}

pub(super) struct Entry {
    pub(super) phase: Phase,
    contested: bool,
}

/// `Blocker::Open` and `Blocker::Queued`.
#[derive(Clone, Copy)]
pub(super) enum Blocker {
    Open,
    Queued(u64),
}

struct Chunk {
    lock: FutexLock,
    /// Whether the device has it: changed with its lock held, and looked at by the kernel without.
    resident: AtomicU32,
    /// Whether it counts in the block: there is one.
    block: AtomicU32,
}

pub(super) struct World {
    pub(super) registry: Locked<Entry>,
    pub(super) releases: Releases,
    chunks: Vec<Chunk>,
    summary: Summary,
    /// The block's first chunk.
    start: AtomicUsize,
}

/// `chunk::Guard`.
struct Guard<'a> {
    world: &'a World,
    chunk: &'a Chunk,
    linked: bool,
    before: u32,
}

impl Guard<'_> {
    fn bits(&self) -> u32 {
        if self.chunk.resident.load(SeqCst) == 1 { 1 | 1 << 8 } else { 0 }
    }
    fn link(&mut self) {
        self.world.summary.begin_change();
        self.world.summary.add_chunk();
        (self.linked, self.before) = (true, 0);
        self.chunk.block.store(1, Release);
    }
    fn unlink(&mut self) {
        self.world.summary.count(self.before, 0);
        self.chunk.block.store(0, Release);
        self.world.summary.remove_chunk();
        self.world.summary.end_change();
        self.linked = false;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.linked {
            self.world.summary.count(self.before, self.bits());
            self.world.summary.end_change();
        }
        self.chunk.lock.unlock();
    }
}

impl World {
    /// Chunks that are on the device or not, and what is done with them first.
    pub(super) fn new(resident: &[u32], first: fn(&World)) -> World {
        let chunk = |r: &u32| Chunk {
            lock: FutexLock::new(),
            resident: AtomicU32::new(*r),
            block: AtomicU32::new(0),
        };
        let world = World {
            registry: Locked::new(Entry { phase: Phase::None, contested: false }),
            releases: Releases::default(),
            chunks: resident.iter().map(chunk).collect(),
            summary: Summary::default(),
            start: AtomicUsize::new(0),
        };
        first(&world);
        world
    }

    fn lock(&self, i: usize) -> Guard<'_> {
        let chunk = &self.chunks[i];
        chunk.lock.lock();
        let linked = chunk.block.load(Acquire) == 1;
        if linked {
            self.summary.begin_change();
        }
        let mut g = Guard { world: self, chunk, linked, before: 0 };
        g.before = g.bits();
        g
    }

    fn summarize(&self, chunks: Range<usize>) {
        self.start.store(chunks.start, Release);
        chunks.for_each(|i| self.lock(i).link());
        self.summary.join();
    }

    fn retire(&self, chunks: Range<usize>) {
        self.summary.part();
        chunks.for_each(|i| self.lock(i).unlink());
    }

    /// The CPU takes a chunk, unless a kernel has it; `copy` is what it copies home.
    pub(super) fn send_home(&self, i: usize, copy: impl FnOnce()) -> Result<(), Blocker> {
        let g = self.lock(i);
        if self.releases.count.load(SeqCst) != 0 {
            let mut entry = self.registry.lock();
            match entry.phase {
                Phase::Acquiring => entry.contested = true,
                Phase::Settling | Phase::Open => return Err(Blocker::Open),
                Phase::Released(t) if !self.releases.timeline.has_reached(t) => {
                    return Err(Blocker::Queued(t));
                }
                Phase::None | Phase::Released(_) => {}
            }
        }
        copy();
        g.chunk.resident.store(0, SeqCst);
        Ok(())
    }

    fn ready_to(&self, chunk: &Chunk) -> Option<usize> {
        let is_linked = || (chunk.block.load(Acquire) == 1).then_some(());
        is_linked()?;
        self.summary.if_ready(0, true, || {
            is_linked().map(|_| self.start.load(Acquire) + self.summary.chunks() as usize)
        })
    }

    fn is_ready(&self, wanted: Range<usize>) -> bool {
        let mut i = wanted.start;
        while i < wanted.end {
            let chunk = &self.chunks[i];
            i = match self.ready_to(chunk) {
                Some(end) => end,
                None if chunk.lock.is_held() || chunk.resident.load(SeqCst) == 0 => return false,
                None => i + 1,
            };
        }
        true
    }

    fn open(&self) -> bool {
        let mut entry = self.registry.lock();
        if entry.contested {
            return false;
        }
        entry.phase = Phase::Open;
        true
    }

    pub(super) fn acquire(&self, wanted: Range<usize>) {
        {
            let mut entry = self.registry.lock();
            entry.phase = Phase::Acquiring;
            self.releases.publish_count(entry.phase);
        }
        if self.is_ready(wanted.clone()) && self.open() {
            return;
        }
        loop {
            {
                let mut entry = self.registry.lock();
                entry.phase = Phase::Settling;
                entry.contested = false;
            }
            wanted.clone().for_each(|i| self.lock(i).chunk.resident.store(1, SeqCst));
            if self.open() {
                return;
            }
        }
    }

    fn has(&self, wanted: Range<usize>) -> bool {
        self.chunks[wanted].iter().all(|c| c.resident.load(SeqCst) == 1)
    }
}

/// `acquire` of the chunks `wanted` beside `others`.
fn meet<const N: usize>(world: fn() -> World, wanted: Range<usize>, others: [fn(&World); N]) {
    explore(if N == 1 { 3 } else { 2 }, move || {
        let world = Arc::new(world());
        let others: Vec<_> = others
            .into_iter()
            .map(|other| {
                let world = world.clone();
                thread::spawn(move || other(&world))
            })
            .collect();
        world.acquire(wanted.clone());
        assert!(world.has(wanted.clone()), "a kernel was let go, and what it asked for is not there");
        others.into_iter().for_each(|t| t.join().unwrap());
        assert!(world.has(wanted.clone()), "a chunk was taken from an open kernel");
    });
}

fn take(world: &World) {
    let _ = world.send_home(0, || ());
}

fn one(world: &World) {
    world.summarize(0..1);
}

fn both(world: &World) {
    world.summarize(0..2);
}

#[test]
fn one_takes() {
    meet(|| World::new(&[1], one), 0..1, [take]);
}

#[test]
fn two_take() {
    meet(|| World::new(&[1], one), 0..1, [take, take]);
}

#[test]
fn all_leave_the_block() {
    meet(|| World::new(&[0, 1], both), 0..2, [|w| w.retire(0..2)]);
}

/// Catches: one of two counted, then one chunk in all.
#[test]
fn a_neighbour_leaves_the_block() {
    meet(|| World::new(&[1, 0], both), 1..2, [|w| w.retire(0..2)]);
}

#[test]
fn a_chunk_is_taken_once_it_is_out_of_the_block() {
    let other = |w: &World| {
        w.retire(0..1);
        take(w);
    };
    meet(|| World::new(&[1], one), 0..1, [other]);
}

/// Catches: one of one counted, and two vouched for.
#[test]
fn a_block_is_half_made() {
    let rest = |w: &World| {
        w.lock(1).link();
        w.summary.join();
    };
    meet(|| World::new(&[1, 0], |w| w.lock(0).link()), 0..2, [rest]);
}

#[test]
fn the_block_serves_another_range() {
    let other = |w: &World| {
        w.retire(0..1);
        w.summarize(1..2);
    };
    meet(|| World::new(&[0, 1], one), 0..1, [other]);
}

#[test]
fn the_block_serves_another_range_and_the_same_again() {
    let other = |w: &World| {
        w.retire(0..1);
        w.summarize(1..2);
        w.retire(1..2);
        w.summarize(0..1);
    };
    meet(|| World::new(&[0, 1], one), 0..1, [other]);
}
