//! What a malloc replacement needs beside the rest of `raw`: answers without a lock, and holding what the kernel is given
//! for the time of a system call. None of it is of use to a program that calls the library itself. API context, but for
//! what says "Signal-safe".

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::Kind;
use crate::device::{Devices, gpu};
use crate::mask::PageMask;
use crate::moves::{self, Patience};
use crate::span::Span;
use crate::sys::signal::Blocked;
use crate::sys::thread;
use crate::{block, heap, pins, runtime, table, window};
use core::sync::atomic::{AtomicU8, Ordering::*};

/// Whether the calling thread may use the heap: not in a forked child, where its locks may be held by threads that are
/// not there; not for the runtime's own threads, which must not wait for managed memory; not inside of the locks that an
/// allocation takes, where a signal handler or a fork handler may be; not for a GPU driver, inside of a call of ours that may
/// hold a chunk's lock. Signal-safe.
pub fn may_use_heap() -> bool {
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

/// The start and the length of the live block of the heap that `ptr` lies in. Signal-safe.
pub fn block(ptr: *const u8) -> Option<(usize, usize)> {
    let found = heap::find(HostAddr::from(ptr))?;
    Some((found.range.start, found.range.len()))
}

/// Whether `ptr` is in memory of the heap that no live block has, as far as that is known. Signal-safe.
pub fn is_dead(ptr: *const u8) -> bool {
    let addr = HostAddr::from(ptr);
    table::get(addr)
        .is_some_and(|c| matches!(c.kind(), Kind::Slab | Kind::Large) && !c.managed.has(addr.page_in_chunk()))
}

/// Whether any page can be away from the host, or protected because a device has a copy: devices are open, in this process
/// or in the one that it was forked from. Signal-safe.
#[inline]
pub fn is_active() -> bool {
    Devices::get().is_some()
}

/// Memory that is held on the host while the kernel uses it; [`release`] ends that.
#[derive(Debug)]
pub struct Held {
    range: ByteRange,
    pinned: bool,
}

/// The first bytes of `len` from `ptr` that are managed, if the first is.
fn managed(ptr: *const u8, len: usize) -> Option<ByteRange> {
    let start = HostAddr::from(ptr);
    let whole = ByteRange::new(start.0, len).filter(|r| r.len() > 0)?;
    let mut end = start.0;
    for (at, part) in whole.chunks() {
        let Some(chunk) = table::get(at) else { break };
        let managed = chunk.managed.get();
        let pages = HostAddr(part.start).page_in_chunk()..=HostAddr(part.end - 1).page_in_chunk();
        match pages.clone().find(|p| !managed.has(*p)) {
            None => end = part.end,
            Some(p) if p == *pages.start() => break,
            Some(p) => {
                end = at.0 + p * PAGE;
                break;
            }
        }
    }
    (end > start.0).then_some(ByteRange { start: start.0, end })
}

/// Brings what is managed of `len` bytes from `ptr` home, waiting for kernels that write it, and holds it there; `write`:
/// the kernel will write to it. `None`: none of it is managed, or it can't be had; then the system call says what there is
/// to say.
pub fn hold(ptr: *const u8, len: usize, write: bool) -> Option<Held> {
    let range = managed(ptr, len)?;
    if thread::is_own() {
        return None;
    }
    if thread::forked() {
        if write {
            open_in_child(range);
        }
        return Some(Held { range, pinned: false });
    }
    // A signal handler that does the same must not interrupt the list's lock.
    let _blocked = Blocked::new();
    pins::pin(range).ok()?;
    Some(Held { range, pinned: true })
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

/// Ends a [`hold`].
pub fn release(held: Held) {
    if held.pinned {
        let _blocked = Blocked::new();
        // Nothing is found if the block was freed meanwhile.
        let _ = pins::unpin(held.range);
    }
}

/// Gives the memory of a block back in a forked child; its address stays taken.
pub fn drop_in_child(ptr: *const u8) {
    if thread::forked()
        && let Some(found) = heap::find(HostAddr::from(ptr))
    {
        let _ = crate::sys::map::give_back(HostAddr(found.range.start), found.range.len());
    }
}

/// A step of `HMMRT_CHAOS`: opens the devices, picks a chunk of live blocks and some pages of it by `random`, and sends
/// them to the first device, or home again. Whether there was anything.
pub fn stir(random: u64) -> bool {
    let Ok(devices) = runtime::devices("HMMRT_CHAOS") else { return false };
    // With the heap locked no block goes meanwhile, and what is said to be around the pages stays true.
    let _blocked = Blocked::new();
    let heap = heap::lock();
    let chunks = heap.chunks_in_use();
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
        let _ = moves::to_host(range, random >> 5 & 1 == 0, Patience::Skip, "ptr");
    } else if let Some(found) = heap::find(HostAddr(range.start)) {
        // A whole slab's run lies in more than one block: what is said to be around it is the chunk then.
        let around = if found.large { found.range } else { at.range(CHUNK) };
        let _ = moves::to_device(Span { range, around }, devices.count() - 1, Patience::Skip, "ptr");
    }
    true
}

/// Makes the calling thread one of the runtime's own, for as long as it lives: it asks for no managed memory, and
/// signals of the program do not come to it.
pub fn own_this_thread() {
    core::mem::forget(Blocked::new());
    core::mem::forget(thread::OwnThread::register());
}
