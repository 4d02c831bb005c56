//! fork: the child gets a snapshot of managed memory, what was on a device included. Before the fork, all that is on a device
//! only is copied home (the device keeps its copies), and every chunk is locked, so that none is half moved in the child's
//! picture; afterwards parent and child unlock them. The child has no device: pages that a kernel was still writing are not
//! there, and say so. Runs as pthread_atfork's handlers, in the forking thread.

use crate::addr::{ByteRange, HostAddr};
use crate::ahead::{self, Paused};
use crate::chunk::Guard;
use crate::config::ForkMode;
use crate::device::Devices;
use crate::heap::{self, Heap};
use crate::migrate;
use crate::moves::{self, Patience};
use crate::sys::futex::LockedGuard;
use crate::sys::signal::Blocked;
use crate::sys::thread;
use crate::trace::Why;
use crate::{adopt, inflight, table};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use std::sync::{Once, OnceLock};

/// What the forking thread holds between the handlers.
struct Held {
    heap: LockedGuard<'static, Heap>,
    regions: adopt::Locked,
    chunks: Vec<HostAddr>,
    _blocked: Blocked,
    _paused: Paused,
}

struct Slot(UnsafeCell<Option<Held>>);

// SAFETY: only the thread that holds the heap's lock uses it.
unsafe impl Sync for Slot {}

static HELD: Slot = Slot(UnsafeCell::new(None));
/// The thread that is between the handlers, or 0.
static FORKING: AtomicUsize = AtomicUsize::new(0);
/// Its number.
static FORKING_NUMBER: AtomicU32 = AtomicU32::new(0);
/// Whether children get a snapshot.
static SNAPSHOT: AtomicBool = AtomicBool::new(true);

/// What a malloc replacement has to do around a fork: it may have locks of its own, under which it asks for blocks.
static AROUND: OnceLock<[fn(); 2]> = OnceLock::new();

/// Has `before` called ahead of all that a fork locks, and `after` behind.
pub(crate) fn call_around(before: fn(), after: fn()) {
    let _ = AROUND.set([before, after]);
}

/// Sets what children get.
pub(crate) fn set_mode(mode: ForkMode) {
    SNAPSHOT.store(mode == ForkMode::Snapshot, Relaxed);
}

/// Whether the calling thread is forking, and so holds every chunk's lock. Signal-safe.
pub(crate) fn is_forking() -> bool {
    FORKING.load(Relaxed) == thread::id()
}

/// Whether the thread with the kernel's number `number` is. Signal-safe.
pub(crate) fn is_by(number: u32) -> bool {
    number != 0 && FORKING_NUMBER.load(Relaxed) == number
}

/// Devices of a backend were opened. A driver has handlers of its own, which hold its locks across the fork: ours have to
/// run before they take them, and so be registered after them.
pub(crate) fn devices_opened(devices: &Devices) {
    static ONCE: [Once; 3] = [const { Once::new() }; 3];
    let backend = devices.at(0).backend();
    let number = ["host", "cuda", "hip"].iter().position(|name| *name == backend).unwrap_or(0);
    ONCE[number].call_once(|| thread::at_fork(Some(prepare), Some(let_go), Some(let_go)));
}

/// Before the fork. The handlers of several backends all call this: the first does it.
extern "C" fn prepare() {
    if is_forking() || thread::forked() || Devices::get().is_none() || heap::is_locked_by_me() {
        return;
    }
    let paused = ahead::pause();
    if let Some([before, _]) = AROUND.get() {
        before();
    }
    if SNAPSHOT.load(Relaxed) {
        moves::copy_all_home(Patience::Wait, usize::MAX, Why::Fork, "fork");
    }
    let blocked = Blocked::new();
    let heap = heap::lock();
    let count = |r: ByteRange| r.chunks().count();
    let (regions, mut chunks) = loop {
        // Room first: nothing is allocated with the regions locked.
        let mut chunks = heap.chunks_in_use();
        chunks.reserve(adopt::all().into_iter().map(count).sum::<usize>() + 64);
        let regions = adopt::lock();
        if chunks.len() + regions.ranges().map(count).sum::<usize>() <= chunks.capacity() {
            regions.ranges().for_each(|r| chunks.extend(r.chunks().map(|(at, _)| at)));
            break (regions, chunks);
        }
    };
    // In the order of addresses, as whoever takes two.
    chunks.sort_unstable();
    chunks.dedup();
    for &at in &chunks {
        let g = Guard::lock(table::known(at), at);
        if SNAPSHOT.load(Relaxed) {
            // What left since the copying.
            let c = g.chunk;
            let missing =
                c.managed.get() & !c.host.get() & c.on_devices() & !inflight::written_by_kernels(at);
            if !missing.is_empty() {
                g.why.set(Why::Fork);
                let _ = migrate::to_host(&g, missing, false); // else it says so in the child
            }
        }
        core::mem::forget(g);
    }
    FORKING_NUMBER.store(thread::number(), Relaxed);
    FORKING.store(thread::id(), Relaxed);
    // SAFETY: this thread holds the heap's lock.
    unsafe { *HELD.0.get() = Some(Held { heap, regions, chunks, _blocked: blocked, _paused: paused }) };
}

/// After the fork, in the parent and in the child.
extern "C" fn let_go() {
    if !is_forking() {
        return;
    }
    // SAFETY: this thread holds the heap's lock, in the child as its parent did.
    let held = unsafe { (*HELD.0.get()).take() };
    let Some(Held { heap, regions, chunks, _blocked, _paused }) = held else { return };
    let in_child = !thread::is_owner();
    FORKING_NUMBER.store(0, Relaxed);
    FORKING.store(0, Relaxed);
    for at in chunks {
        if in_child {
            migrate::seal_in_child(table::known(at), at);
        }
        // SAFETY: locked in `prepare`, by this thread.
        drop(unsafe { Guard::held(table::known(at), at) });
    }
    drop(regions);
    drop(heap);
    if let Some([_, after]) = AROUND.get() {
        after();
    }
}
