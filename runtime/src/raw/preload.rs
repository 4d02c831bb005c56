//! What a malloc replacement needs beside the rest of `raw`: answers without a lock, and holding what the kernel is given
//! for the time of a system call. None of it is of use to a program that calls the library itself. API context, but for
//! what says "Signal-safe".

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::Guard;
use crate::device::{Devices, gpu};
use crate::error::Result;
pub use crate::holds::{Caller, Held, Want};
pub use crate::list::List;
use crate::mask::PageMask;
use crate::moves::{self, Patience};
use crate::span::Span;
use crate::stream::{Stream, StreamId};
use crate::sys::signal::Blocked;
use crate::sys::{clock, segv, sigaction, thread, trial};
use crate::trace::Why;
use crate::{adopt, arenas, block, heap, holds, inflight, migrate, runtime, table, window};
use core::ffi::c_void;
use core::sync::atomic::{AtomicU8, Ordering::*};

/// Whether the calling thread may use the heap: not in a forked child, where its locks may be held by threads that are
/// not there; not for the runtime's own threads, which must not wait for managed memory; not while it starts or ends the runtime; not inside of the locks that an
/// allocation takes, where a signal handler or a fork handler may be; not for a GPU driver, inside of a call of ours that may
/// hold a chunk's lock. Signal-safe.
pub fn may_use_heap() -> bool {
    !runtime::is_locked_by_me() && may_lock_chunks()
}

fn may_lock_chunks() -> bool {
    !thread::forked()
        && !heap::is_locked_by_me()
        && !block::is_locked_by_me()
        && !window::is_locked_by_me()
        && !thread::is_own()
        && !gpu::is_inside()
}

/// Whether this is a forked child of the process that started the runtime. Signal-safe.
pub fn in_child() -> bool {
    thread::forked()
}

/// Whether `ptr` may be the heap's, in use or not; `false` is certain, and quick. Signal-safe.
#[inline]
pub fn may_be_ours(ptr: *const u8) -> bool {
    arenas::may_be_in_arena(HostAddr(ptr.addr()))
}

/// Whether the kernel can read, or write, each page of `len` bytes from `ptr`, as far as it is not away. Signal-safe.
pub fn is_accessible(ptr: *const u8, len: usize, write: bool) -> bool {
    let can = |r: ByteRange| (r.start..r.end).step_by(PAGE).all(|page| trial::can(HostAddr(page), write));
    let range = ByteRange::new(ptr.addr(), len).filter(|r| r.end < usize::MAX - PAGE);
    range.is_some_and(|range| can(range.pages_out()))
}

/// Copies `len` bytes from one block to another, as the program would, but with an error where its touch would be SIGBUS; what is at
/// `to` is anything then. Where the heap may not be used it is a plain copy.
///
/// # Safety
/// Both are so long, nobody else uses these bytes, and they are apart.
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> Result<()> {
    if may_use_heap() {
        // SAFETY: the caller's promise.
        return unsafe { moves::copy(HostAddr::from(from), HostAddr::from(to.cast_const()), len, "ptr") };
    }
    // SAFETY: as above.
    unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
    Ok(())
}

/// The start and the length of the live block of the heap that `ptr` lies in. Signal-safe.
pub fn block(ptr: *const u8) -> Option<(usize, usize)> {
    let found = heap::find(HostAddr::from(ptr))?;
    Some((found.range.start, found.range.len()))
}

/// Undoes a pin of exactly this range. Allocates nothing; for signal handlers, too.
pub fn unpin(ptr: *const u8, len: usize) {
    if let Some(range) = ByteRange::new(ptr.addr(), len).filter(|_| !thread::forked()) {
        let _ = crate::pins::unpin(range); // gone already if it was freed
    }
}

/// Whether `ptr` is in memory of the heap that no live block has, as far as that is known. Signal-safe.
pub fn is_dead(ptr: *const u8) -> bool {
    let addr = HostAddr::from(ptr);
    arenas::is_in_arena(addr) && !table::get(addr).is_some_and(|c| c.managed.has(addr.page_in_chunk()))
}

/// Puts the runtime's signal handler in front of the program's, before anything needs it: a child of vfork that is there
/// when the first device is opened has the handlers of before, and would meet pages that are away.
pub fn watch_faults() {
    sigaction::set_marks();
    segv::ensure_installed(crate::fault::on_fault, false);
}

/// Asks for huge pages once a device is open, and not before: what is allocated may be any program's memory. Before the first block.
pub fn ask_for_huge_pages_later() {
    heap::ask_for_huge_pages_later();
}

pub use crate::device::OPEN;
pub use crate::sys::kernel::raw as system_call;
pub use crate::sys::sigaction::is_vforked;

/// Whether any page can be away from the host, or protected because a device has a copy: devices are open, in this process
/// or in the one that it was forked from. Signal-safe.
#[inline]
pub fn is_active() -> bool {
    Devices::get().is_some()
}

/// The first run of managed bytes among `len` from `ptr`: what has to be held for a system call that uses them; `write`: that
/// writes them. Signal-safe.
pub fn want(ptr: *const u8, len: usize, write: bool) -> Option<Want> {
    let whole = ByteRange::new(HostAddr::from(ptr).0, len).filter(|r| r.len() > 0)?;
    let mut found: Option<ByteRange> = None;
    for (at, part) in whole.chunks() {
        let managed = table::get(at).map_or(PageMask::EMPTY, |c| c.managed.get() & PageMask::of(part));
        let Some((first, count)) = managed.runs().next() else {
            if found.is_some() {
                break;
            }
            continue;
        };
        let start = part.start.max(at.0 + first * PAGE);
        if found.is_some() && start > part.start {
            break;
        }
        let end = part.end.min(at.0 + (first + count) * PAGE);
        found = Some(ByteRange { start: found.map_or(start, |r| r.start), end });
        if end < part.end {
            break;
        }
    }
    Some(Want { range: found?, write })
}

/// Brings what is wanted home, waiting for kernels that write it, and holds it there: [`release`] ends that. `held` has a
/// place for each of `wants`; those that are [`Held::NONE`] so far are last. Whether it could be had: if not, the system
/// call says what there is to say. Signal-safe.
pub fn hold(wants: &[Want], caller: Caller, held: &mut [Held]) -> bool {
    if thread::is_own() {
        return false;
    }
    if thread::forked() {
        wants.iter().filter(|w| w.write).for_each(|w| open_in_child(w.range));
        return true;
    }
    holds::take(wants, caller, held).is_ok()
}

/// Makes pages of a forked child writable that were so for the program, and protected because its parent's device had a
/// copy: by touching them.
fn open_in_child(range: ByteRange) {
    for (at, part) in range.chunks() {
        let Some(chunk) = table::get(at) else { return };
        let closed = chunk.host.get()
            & chunk.on_devices()
            & PageMask::of(part)
            & !chunk.user_read_only.get()
            & !chunk.user_none.get();
        for (first, count) in closed.runs() {
            for page in first..first + count {
                let byte = at.add(page * PAGE).ptr();
                // SAFETY: a page of the program's that it may write; the byte stays as it is, whoever else writes it.
                let byte = unsafe { AtomicU8::from_ptr(byte) };
                // Not `fetch_or(0)`: the compiler makes a load of it.
                let mut now = byte.load(SeqCst);
                while let Err(other) = byte.compare_exchange(now, now, SeqCst, SeqCst) {
                    now = other;
                }
            }
        }
    }
}

/// Ends what children of vfork held, which share this process's memory and leave without a word when they start their
/// program. Called by the thread that they came from, which stood still meanwhile. Signal-safe.
#[inline]
pub fn tidy_up(is_own_process: impl FnOnce() -> bool) {
    if holds::any_vforked() && !thread::forked() && is_own_process() {
        holds::tidy_vforked();
    }
}

/// Ends what [`hold`] has begun. Signal-safe.
pub fn release(held: &mut [Held]) {
    if !thread::forked() {
        holds::end(held);
    }
}

/// Whether a system call of another thread uses any of `len` bytes from `ptr` in a way that keeps a device from having
/// them, for longer than `patience_ns`.
pub fn is_held(ptr: *const u8, len: usize, patience_ns: u64) -> bool {
    let start = HostAddr::from(ptr);
    let Some(range) = ByteRange::new(start.0, len) else { return false };
    let deadline = clock::now_ns() + patience_ns;
    loop {
        let _blocked = Blocked::new();
        match holds::blocker(range, false) {
            None => return false,
            Some(_) if clock::now_ns() >= deadline => return true,
            Some(call) => call.wait(),
        }
    }
}

/// Gives the memory of a block back in a forked child; its address stays taken.
///
/// # Safety
/// Nobody uses its contents again.
pub unsafe fn drop_in_child(ptr: *const u8) {
    if thread::forked()
        && let Some(found) = heap::find(HostAddr::from(ptr))
    {
        let _ = crate::sys::map::give_back(HostAddr(found.range.start), found.range.len());
    }
}

/// Gives up the contents of whole pages of a live block, with what devices have of them: they read as zeros then. Waits for
/// nobody; `false`: they may be as they were, because a kernel or a system call uses some of them, or a pin keeps them.
///
/// # Safety
/// Nobody relies on the contents.
pub unsafe fn give_up(ptr: *const u8, len: usize) -> bool {
    let start = HostAddr::from(ptr);
    let Some(range) = ByteRange::new(start.0, len).filter(|r| *r == r.pages_in()) else { return false };
    range.chunks().all(|(at, part)| {
        let Some(chunk) = table::get(at) else { return false };
        let _blocked = Blocked::new();
        let g = Guard::lock(chunk, at);
        let pages = PageMask::of(part);
        (pages & !chunk.managed.get()).is_empty()
            && !pages.meets(chunk.pinned.get())
            && inflight::blocker(part, inflight::Intent::Forget).is_none()
            && holds::blocker(part, false).is_none()
            && migrate::discard(&g, pages).is_ok()
    })
}

/// The calling thread's signals wait until this is dropped.
pub struct SignalsBlocked(#[expect(dead_code, reason = "for its drop")] Blocked);

impl SignalsBlocked {
    /// From here on.
    #[expect(clippy::new_without_default, reason = "it does something")]
    pub fn new() -> SignalsBlocked {
        SignalsBlocked(Blocked::new())
    }
}

/// Makes the runtime's handlers at fork those that run last before it, if no others were registered yet: ahead of devices, which
/// come with more of them. Waits for nobody.
pub fn watch_forks() {
    crate::fork::arrange();
}

/// Makes a system call that makes a process with a copy of this memory, and answers 0 in it: with fork's handlers of the
/// runtime's, so that the child's memory is a snapshot. `shares_files`: the child's descriptors are the parent's (CLONE_FILES). In
/// the child of a process that uses no device it costs nothing.
pub fn forking(shares_files: bool, call: impl FnOnce() -> isize) -> isize {
    // A signal handler inside of one of the heap's locks has no snapshot.
    if may_lock_chunks() { crate::fork::around(shares_files, call) } else { call() }
}

/// The first half of [`forking`], for a child that goes on elsewhere than its parent: the second, [`forked`], is for both to call
/// as soon as they can, if this says so. Till then the thread may do nothing else but make the call.
pub fn before_fork() -> bool {
    may_lock_chunks() && crate::fork::before_call()
}

/// Behind [`before_fork`], in the parent, and in the child with whether it shares its parent's descriptors.
pub fn forked(in_child: Option<bool>) {
    crate::fork::after_call(in_child);
}

/// Has `before` called when a fork begins that keeps the heap's locks until the child is there, ahead of all that it locks,
/// and `after` when it has let go of them, in the parent and in the child. At most one pair.
pub fn around_fork(before: fn(), after: fn()) {
    crate::fork::call_around(before, after);
}

/// A step of `HMMRT_CHAOS`: opens the devices, picks a chunk of live blocks or of adopted memory and some pages of it by
/// `random`, and sends them to the first device, or home again. Whether there was anything.
pub fn stir(random: u64) -> bool {
    let Ok(devices) = runtime::devices("HMMRT_CHAOS") else { return false };
    // With both locked no block and no mapping goes meanwhile, and what is said to be around the pages stays true.
    let _blocked = Blocked::new();
    let ranges = adopt::all();
    let heap = heap::lock();
    let mut chunks = heap.chunks_in_use();
    ranges.into_iter().for_each(|range| chunks.extend(range.chunks().map(|(at, _)| at)));
    let adopted = adopt::lock(); // last: who waits for it may have interrupted malloc
    let Some(&at) = chunks.get((random >> 32) as usize % chunks.len().max(1)) else { return false };
    let managed = table::known(at).managed.get();
    let runs = managed.runs().count();
    let Some((first, count)) = managed.runs().nth((random >> 8) as usize % runs.max(1)) else { return false };
    let (first, count) = match random & 3 {
        // All of the run, or one of its pages.
        0 | 1 => (first, count),
        _ => (first + (random >> 16) as usize % count, 1),
    };
    let range = at.add(first * PAGE).range(count * PAGE);
    if random >> 2 & 7 == 0 {
        let _ = moves::to_host(range, random >> 5 & 1 == 0, Patience::Skip, Why::Chaos, "ptr");
    } else {
        // A whole slab's run lies in more than one block: what is said to be around it is the chunk then.
        let around = match heap::find(HostAddr(range.start)) {
            Some(found) if found.large => Some(found.range),
            Some(_) => Some(at.range(CHUNK)),
            None => adopted.around(range),
        };
        let Some(around) = around else { return false };
        let _ =
            moves::to_device(Span { range, around }, devices.count() - 1, Patience::Skip, Why::Chaos, "ptr");
    }
    true
}

/// Makes the calling thread one of the runtime's own, for as long as it lives: it asks for no managed memory, signals of
/// the program do not come to it, and it has no descriptors of the program's.
pub fn own_this_thread() {
    core::mem::forget(Blocked::new());
    core::mem::forget(thread::OwnThread::register());
    thread::leave_files();
}

/// [`raw::stream_from_native`](super::stream_from_native), also of the calling thread's own stream, which no other thread then
/// gives anything by this number.
///
/// # Safety
/// As there.
pub unsafe fn stream_of_driver(device: i32, native: *mut c_void) -> Result<StreamId> {
    let devices = runtime::devices_quietly("hmm_stream_from_native")?;
    let device = devices.index(device)?;
    // SAFETY: the caller's promise.
    super::counted(unsafe { Stream::adopt(&devices, device, native) })
}
