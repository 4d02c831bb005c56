//! fork: the child gets a snapshot of managed memory, what was on a device included. Before the fork, all that is on a device
//! only is copied home (the device keeps its copies), and every chunk is locked, so that none is half moved in the child's
//! picture; afterwards parent and child unlock them. The child has no device: pages that a kernel was still writing are not
//! there, and say so. Runs as pthread_atfork's handlers, in the forking thread.

use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::chunk::Guard;
use crate::config::ForkMode;
use crate::device::Devices;
use crate::heap::{self, Heap};
use crate::migrate;
use crate::moves::{self, Patience};
use crate::sys::futex::LockedGuard;
use crate::sys::signal::Blocked;
use crate::sys::thread;
use crate::{adopt, inflight, table};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

/// What the forking thread holds between the handlers.
struct Held {
    heap: LockedGuard<'static, Heap>,
    regions: adopt::Locked,
    chunks: Vec<HostAddr>,
    _blocked: Blocked,
}

struct Slot(UnsafeCell<Option<Held>>);

// SAFETY: only the thread that holds the heap's lock uses it.
unsafe impl Sync for Slot {}

static HELD: Slot = Slot(UnsafeCell::new(None));
/// The thread that is between the handlers, or 0.
static FORKING: AtomicUsize = AtomicUsize::new(0);
/// Whether children get a snapshot.
static SNAPSHOT: AtomicBool = AtomicBool::new(true);

/// Sets what children get.
pub(crate) fn set_mode(mode: ForkMode) {
    SNAPSHOT.store(mode == ForkMode::Snapshot, Relaxed);
}

/// Whether the calling thread is forking, and so holds every chunk's lock. Signal-safe.
pub(crate) fn is_forking() -> bool {
    FORKING.load(Relaxed) == thread::id()
}

/// Before the fork.
pub(crate) extern "C" fn prepare() {
    if thread::forked() || Devices::get().is_none() || heap::is_locked_by_me() {
        return;
    }
    if SNAPSHOT.load(Relaxed) {
        bring_home();
    }
    let blocked = Blocked::new();
    let (heap, regions) = (heap::lock(), adopt::lock());
    // In the order of addresses, as whoever takes two.
    let mut chunks = heap.chunks_in_use();
    chunks.extend(regions.ranges().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>()));
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
                let _ = migrate::to_host(&g, missing, false); // else it says so in the child
            }
        }
        core::mem::forget(g);
    }
    FORKING.store(thread::id(), Relaxed);
    // SAFETY: this thread holds the heap's lock.
    unsafe { *HELD.0.get() = Some(Held { heap, regions, chunks, _blocked: blocked }) };
}

/// Copies home what is on a device only, waiting for kernels that write it.
fn bring_home() {
    let mut chunks = heap::chunks_in_use();
    chunks.extend(adopt::all().into_iter().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>()));
    chunks.retain(|at| table::get(*at).is_some_and(|c| !c.managed.get().within(c.host.get())));
    chunks.sort_unstable();
    chunks.dedup();
    let mut rest = &chunks[..];
    while let Some(&first) = rest.first() {
        let count = rest.iter().enumerate().take_while(|(i, at)| at.0 == first.0 + i * CHUNK).count();
        let run = ByteRange { start: first.0, end: first.0 + count * CHUNK };
        // An error leaves pages where they are, and they say so in the child.
        let _ = moves::to_host(run, false, Patience::Wait, "fork");
        rest = &rest[count..];
    }
}

/// After the fork, in the parent and in the child.
fn let_go() {
    if !is_forking() {
        return;
    }
    // SAFETY: this thread holds the heap's lock, in the child as its parent did.
    let held = unsafe { (*HELD.0.get()).take() };
    let Some(Held { heap, regions, chunks, _blocked }) = held else { return };
    FORKING.store(0, Relaxed);
    for at in chunks {
        // SAFETY: locked in `prepare`, by this thread.
        drop(unsafe { Guard::held(table::known(at), at) });
    }
    drop(regions);
    drop(heap);
}

/// After the fork, in the parent.
pub(crate) extern "C" fn parent() {
    let_go();
}

/// After the fork, in the child.
pub(crate) extern "C" fn child() {
    thread::disclaim_process();
    let_go();
}
