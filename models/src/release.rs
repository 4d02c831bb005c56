//! Release, and who waits for it: the CPU that takes what a kernel writes, and `hmm_free` of it. The stream's timeline is the file
//! itself (`timeline.rs`), the rest goes on from `acquire`: `release`, `changed`, `wait_for_release` and `meets` are copies of
//! `inflight.rs`, `touch` is the order of steps of `fault::on_fault`, `wait_until_unused` that of `access::wait_until_unused`. Here
//! nobody wakes by himself after a while. The bytes are a cell that loom watches: no two use them at once, and each sees what was
//! done before.

use crate::acquire::{Blocker, Phase, World};
use crate::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use crate::explore;
use crate::sys::futex;
use crate::timeline::Timeline;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// What `inflight.rs` and the stream have beside the registry.
#[derive(Default)]
pub(super) struct Releases {
    pub(super) timeline: Timeline,
    pub(super) count: AtomicUsize,
    releases: AtomicU32,
    waiting: AtomicU32,
}

impl Releases {
    pub(super) fn publish_count(&self, phase: Phase) {
        self.count.store(usize::from(phase != Phase::None), SeqCst);
    }
}

impl World {
    /// `inflight::release`. Another release, of what is over meanwhile, takes it out of the registry.
    fn release(&self, ticket: u64) {
        let mut entry = self.registry.lock();
        match entry.phase {
            Phase::Released(t) if self.releases.timeline.has_reached(t) => entry.phase = Phase::None,
            Phase::Open => entry.phase = Phase::Released(ticket),
            _ => {}
        }
        self.releases.publish_count(entry.phase);
        drop(entry);
        self.changed();
    }

    fn changed(&self) {
        self.releases.releases.fetch_add(1, SeqCst);
        if self.releases.waiting.load(SeqCst) > 0 {
            futex::wake(&self.releases.releases, i32::MAX);
        }
    }

    fn wait_for_release(&self) {
        let of = &self.releases;
        of.waiting.fetch_add(1, SeqCst);
        let seen = of.releases.load(SeqCst);
        let still_open =
            matches!(self.registry.lock().phase, Phase::Acquiring | Phase::Settling | Phase::Open);
        if still_open {
            futex::wait(&of.releases, seen, None);
        }
        of.waiting.fetch_sub(1, SeqCst);
    }

    /// `Blocker::wait`.
    fn wait(&self, blocker: Blocker) {
        match blocker {
            Blocker::Open => self.wait_for_release(),
            Blocker::Queued(ticket) => self.releases.timeline.wait(ticket),
        }
    }

    /// `fault::on_fault`.
    fn touch(&self, i: usize, copy: impl Fn()) {
        while let Err(blocker) = self.send_home(i, &copy) {
            self.wait(blocker);
        }
    }

    /// `access::wait_until_unused`, and `inflight::blocker` with `Intent::Forget`.
    fn wait_until_unused(&self) {
        while self.releases.count.load(SeqCst) != 0 {
            let phase = self.registry.lock().phase;
            match phase {
                Phase::Released(t) if self.releases.timeline.has_reached(t) => return,
                Phase::None => return,
                Phase::Released(t) => self.wait(Blocker::Queued(t)),
                _ => self.wait(Blocker::Open),
            }
        }
    }
}

/// A chunk of the device, and its bytes.
struct Case {
    world: World,
    bytes: UnsafeCell<u32>,
}

// SAFETY: whether the bytes are ever used by two is what the model looks at.
unsafe impl Sync for Case {}
// SAFETY: as above.
unsafe impl Send for Case {}

impl Case {
    fn new() -> Arc<Case> {
        Arc::new(Case { world: World::new(&[1], |_| ()), bytes: UnsafeCell::new(0) })
    }

    fn read(&self) -> u32 {
        // SAFETY: loom says if it is not.
        self.bytes.with(|b| unsafe { *b })
    }

    fn write(&self, value: u32) {
        // SAFETY: loom says if it is not.
        self.bytes.with_mut(|b| unsafe { *b = value });
    }

    /// Acquires, and gives the stream a kernel, which ends when it likes; its ticket is 1.
    fn launch(case: &Arc<Case>) -> thread::JoinHandle<()> {
        case.world.acquire(0..1);
        let device = case.clone();
        thread::spawn(move || {
            device.write(7);
            device.world.releases.timeline.reach(1);
        })
    }
}

/// The CPU gets the bytes from before the kernel or from behind it, and nothing in between.
#[test]
fn a_touch_waits_for_the_kernels_end() {
    explore(3, || {
        let case = Case::new();
        let toucher = {
            let case = case.clone();
            thread::spawn(move || case.world.touch(0, || assert!(matches!(case.read(), 0 | 7))))
        };
        let kernel = Case::launch(&case);
        case.world.release(1);
        toucher.join().unwrap();
        kernel.join().unwrap();
    });
}

/// Who touches what is open already gets what the kernel has written, however late the release comes.
#[test]
fn a_touch_waits_for_the_release() {
    explore(3, || {
        let case = Case::new();
        let kernel = Case::launch(&case);
        let toucher = {
            let case = case.clone();
            thread::spawn(move || case.world.touch(0, || assert_eq!(case.read(), 7)))
        };
        case.world.release(1);
        toucher.join().unwrap();
        kernel.join().unwrap();
    });
}

/// A block that a kernel uses is nobody else's before the kernel has ended, whoever frees it.
#[test]
fn a_free_waits_for_the_kernels_end() {
    explore(3, || {
        let case = Case::new();
        let kernel = Case::launch(&case);
        let freer = {
            let case = case.clone();
            thread::spawn(move || {
                case.world.wait_until_unused();
                assert_eq!(case.read(), 7);
                case.write(1); // somebody else's now
            })
        };
        case.world.release(1);
        case.world.release(2); // the stream's next, which clears away what is over
        freer.join().unwrap();
        kernel.join().unwrap();
    });
}
