//! fork: the child gets a snapshot of managed memory, what was on a device included. In two stages, each a pair of
//! pthread_atfork's handlers in the forking thread, which run before a fork in the reverse order of their registration:
//!
//! 1. [`copy_home`], registered when devices open, and so run while their drivers still work: all that is on a device only is
//!    copied home (the device keeps its copies), and a gate is closed, so that nothing leaves any more. No lock is held.
//! 2. [`lock_all`], registered as early as can be, and so run behind other libraries' handlers, which may wait for threads that
//!    touch, allocate and free managed memory: the heap, the adopted ranges and every chunk are locked, so that none is half
//!    moved in the child's picture.
//!
//! Afterwards parent and child unlock, and open the gate. The child has no device: pages that a kernel was still writing are not
//! there, and say so. Children of bare system calls have [`around`], where somebody calls it, or its halves.

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
use crate::sys::stderr::Line;
use crate::sys::{clock, sigaction, thread};
use crate::trace::Why;
use crate::{adopt, gate, inflight, table, uffd};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use std::sync::{Once, OnceLock};

/// What the forking thread holds between the handlers of the second stage.
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
/// The thread that is between the handlers of the second stage, or 0.
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

/// Registers the second stage: as early as possible. Handlers that were registered before run between its own, with
/// everything locked. Waits for nobody.
pub(crate) fn arrange() {
    static ARRANGED: AtomicBool = AtomicBool::new(false);
    if !ARRANGED.load(Acquire) {
        thread::at_fork(Some(lock_all), Some(let_go), Some(let_go)); // twice does no harm
        ARRANGED.store(true, Release);
    }
}

/// Devices of a backend were opened. A driver has handlers of its own, which hold its locks across the fork: those of the first
/// stage have to run before they take them, and so be registered after them.
pub(crate) fn devices_opened(devices: &Devices) {
    static ONCE: [Once; 3] = [const { Once::new() }; 3];
    let backend = devices.at(0).backend();
    let number = ["host", "cuda", "hip"].iter().position(|name| *name == backend).unwrap_or(0);
    ONCE[number].call_once(|| thread::at_fork(Some(copy_home), Some(open_gate), Some(open_gate)));
}

/// How long others wait at the gate while handlers run: what leaves then is copied home in the second stage, but where that
/// takes a driver.
const GATE_NS: u64 = 100_000_000;
const GATE_OF_DRIVERS_NS: u64 = 3_000_000_000;

fn is_direct() -> bool {
    Devices::get().is_some_and(|d| d.all().all(|d| d.serves_faults_directly()))
}

/// The first stage. The handlers of several backends all call this: the first does it.
extern "C" fn copy_home() {
    if gate::is_mine()
        || is_forking()
        || thread::forked()
        || Devices::get().is_none()
        || heap::is_locked_by_me()
    {
        return;
    }
    core::mem::forget(ahead::pause());
    if let Some([before, _]) = AROUND.get() {
        before();
    }
    let snapshot = SNAPSHOT.load(Relaxed);
    let copy = || moves::copy_all_home(Patience::Wait, usize::MAX, Why::Fork, "fork");
    if snapshot {
        copy(); // most of it: others need not wait for that at the gate
    }
    if !gate::close() {
        return end(); // more threads fork than there is room to remember
    }
    if snapshot {
        copy();
        // What was leaving when the gate was closed has left when its lock can be had.
        for at in all_chunks() {
            let _blocked = Blocked::new();
            bring_rest(&Guard::lock_as_it_is(table::known(at), at));
        }
    }
    gate::let_others_run(if is_direct() { GATE_NS } else { GATE_OF_DRIVERS_NS });
}

/// What of a chunk is on a device only, and can be had now.
fn bring_rest(g: &Guard) {
    let c = g.chunk;
    let missing = c.managed.get() & !c.host.get() & c.on_devices() & !inflight::written_by_kernels(g.at);
    if !missing.is_empty() {
        g.why.set(Why::Fork);
        let _ = migrate::to_host(g, missing, false); // else it says so in the child
    }
}

fn all_chunks() -> Vec<HostAddr> {
    let mut chunks = heap::chunks_in_use();
    chunks.extend(adopt::all().into_iter().flat_map(|r| r.chunks().map(|(at, _)| at).collect::<Vec<_>>()));
    chunks.sort_unstable();
    chunks.dedup();
    chunks.retain(|at| table::get(*at).is_some());
    chunks
}

/// Undoes the first stage, in the parent and in the child.
extern "C" fn open_gate() {
    if !gate::is_mine() {
        return;
    }
    gate::open();
    end();
}

/// Of the first stage.
fn end() {
    if let Some([_, after]) = AROUND.get() {
        after();
    }
    // SAFETY: `copy_home` has forgotten one.
    drop(unsafe { Paused::again() });
}

/// How long locks are waited for in the second stage, all of them together. Who has one may be in a driver's call, and wait
/// for what the driver's own handler holds already.
const PATIENCE_NS: u64 = 10_000_000_000;

/// The second stage.
extern "C" fn lock_all() {
    if is_forking() || thread::forked() || Devices::get().is_none() || heap::is_locked_by_me() {
        return;
    }
    let blocked = Blocked::new();
    let deadline = clock::now_ns() + PATIENCE_NS;
    let late = || {
        Line::new()
            .text("a fork could not wait for memory that is in use: its child can't touch what is")
            .write();
    };
    let Some(heap) = until(deadline, heap::lock_within) else { return late() };
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
    let bring = is_direct() && SNAPSHOT.load(Relaxed); // no driver is called any more
    let wanted = chunks.len();
    chunks.retain(|&at| {
        let Some(g) = until(deadline, |ns| Guard::lock_within(table::known(at), at, ns)) else {
            return false;
        };
        if bring {
            bring_rest(&g);
        }
        core::mem::forget(g);
        true
    });
    if chunks.len() < wanted {
        late();
    }
    FORKING_NUMBER.store(thread::number(), Relaxed);
    FORKING.store(thread::id(), Relaxed);
    // SAFETY: this thread holds the heap's lock.
    unsafe { *HELD.0.get() = Some(Held { heap, regions, chunks, _blocked: blocked }) };
}

/// What `lock` can have, which may give up early where others want the same.
fn until<T>(deadline: u64, lock: impl Fn(u64) -> Option<T>) -> Option<T> {
    loop {
        let left = deadline.saturating_sub(clock::now_ns());
        let got = lock(left);
        if got.is_some() || left == 0 {
            return got;
        }
    }
}

/// Undoes the second stage, in the parent and in the child.
extern "C" fn let_go() {
    if !is_forking() {
        return;
    }
    // SAFETY: this thread holds the heap's lock, in the child as its parent did.
    let held = unsafe { (*HELD.0.get()).take() };
    let Some(Held { heap, regions, chunks, _blocked }) = held else { return };
    let in_child = !thread::is_owner();
    FORKING_NUMBER.store(0, Relaxed);
    FORKING.store(0, Relaxed);
    for at in chunks {
        if in_child {
            migrate::seal_in_child(table::known(at), at);
        }
        // SAFETY: locked in `lock_all`, by this thread.
        drop(unsafe { Guard::held(table::known(at), at) });
    }
    drop(regions);
    drop(heap);
}

/// Makes a system call that makes a process with a copy of this memory, and answers 0 in it, as fork would have it made: no
/// handler runs but the runtime's own. `shares_files`: the child's descriptors are the parent's.
pub(crate) fn around(shares_files: bool, call: impl FnOnce() -> isize) -> isize {
    if !before_call() {
        return call();
    }
    let answer = call();
    after_call((answer == 0).then_some(shares_files));
    answer
}

/// What is to be done before such a call. `false`: nothing, nor afterwards.
pub(crate) fn before_call() -> bool {
    if is_forking() || thread::forked() || sigaction::is_vforked() {
        return false;
    }
    copy_home();
    lock_all();
    true
}

/// What is to be done behind it, in the parent, and in the child with whether it shares files.
pub(crate) fn after_call(in_child: Option<bool>) {
    if let Some(shares_files) = in_child {
        thread::tell_child();
        sigaction::in_child();
        uffd::in_child(shares_files);
    }
    let_go();
    open_gate();
}
