//! Acquire against a change of residency: the block's summary (`summary.rs`) and the chunk's lock (`sys/lock.rs`) are the
//! files themselves; the registry is a copy of `inflight.rs`, cut down to one entry, and `send_home` and `acquire` are the
//! order of steps of `fault::resolve`, `access::open` and `access::settle`. A kernel that was let go finds its chunk there.

use crate::explore;
use crate::summary::Summary;
use crate::sys::lock::{FutexLock, Locked};
use core::sync::atomic::Ordering::SeqCst;
use loom::sync::Arc;
use loom::thread;

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    None,
    Acquiring,
    Settling,
    Open,
}

struct Entry {
    phase: Phase,
    contested: bool,
}

struct World {
    registry: Locked<Entry>,
    chunk: FutexLock,
    summary: Summary,
    /// Whether the device has the chunk: changed with its lock held, and looked at by the kernel without.
    resident: crate::atomic::AtomicU32,
}

impl World {
    fn new() -> World {
        let world = World {
            registry: Locked::new(Entry { phase: Phase::None, contested: false }),
            chunk: FutexLock::new(),
            summary: Summary::default(),
            resident: crate::atomic::AtomicU32::new(1),
        };
        world.summary.add_chunk();
        world.summary.count(0, 1 | 1 << 8);
        world
    }

    /// `Guard::lock`, what is done with it, and `Guard::drop`.
    fn locked<T>(&self, f: impl FnOnce() -> T) -> T {
        self.chunk.lock();
        self.summary.begin_change();
        let before = self.bits();
        let answer = f();
        self.summary.count(before, self.bits());
        self.summary.end_change();
        self.chunk.unlock();
        answer
    }

    fn bits(&self) -> u32 {
        if self.resident.load(SeqCst) == 1 { 1 | 1 << 8 } else { 0 }
    }

    /// The CPU takes the chunk, unless a kernel has it.
    fn send_home(&self) -> bool {
        self.locked(|| {
            let busy = {
                let mut entry = self.registry.lock();
                match entry.phase {
                    Phase::Acquiring => {
                        entry.contested = true;
                        false
                    }
                    Phase::Settling | Phase::Open => true,
                    Phase::None => false,
                }
            };
            if !busy {
                self.resident.store(0, SeqCst);
            }
            !busy
        })
    }

    fn open(&self) -> bool {
        let mut entry = self.registry.lock();
        if entry.contested {
            return false;
        }
        entry.phase = Phase::Open;
        true
    }

    fn acquire(&self) {
        self.registry.lock().phase = Phase::Acquiring;
        if self.summary.is_ready(0, true) && self.open() {
            return;
        }
        loop {
            {
                let mut entry = self.registry.lock();
                entry.phase = Phase::Settling;
                entry.contested = false;
            }
            self.locked(|| self.resident.store(1, SeqCst));
            if self.open() {
                return;
            }
        }
    }
}

fn meet(takers: usize) {
    explore(if takers == 1 { 3 } else { 2 }, move || {
        let world = Arc::new(World::new());
        let others: Vec<_> = (0..takers)
            .map(|_| {
                let world = world.clone();
                thread::spawn(move || world.send_home())
            })
            .collect();
        world.acquire();
        assert_eq!(world.resident.load(SeqCst), 1, "a kernel was let go, and its chunk is not there");
        others.into_iter().for_each(|t| {
            t.join().unwrap();
        });
        assert_eq!(world.resident.load(SeqCst), 1, "a chunk was taken from an open kernel");
    });
}

#[test]
fn one_takes() {
    meet(1);
}

#[test]
fn two_take() {
    meet(2);
}
