//! Traces (`HMMRT_TRACE`): what happened to managed memory, in a file for `hmmrt report` and for replay. Anybody records,
//! the signal handler included: without an allocation or a lock, into a shared mapping of the file, so that what a program
//! did before it crashed is there. Without a trace, recording is one load.
//!
//! The file is made when the runtime starts, with addresses for all of it and disk space for none; whoever needs more gets
//! some (`sys::tracefile`), and if there is none the rest is counted and not recorded. Forked children record nothing. At
//! exit the file is cut to what was used.

mod file;
pub(crate) mod format;
mod read;

pub use file::{CheckError, check};
pub(crate) use file::{devices_opened, start};
pub use format::{Event, Name, Sent, VERSION, What, Why};
pub use read::{ReadError, Trace};

use crate::addr::ByteRange;
use crate::sys::{clock, thread, tracefile};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use format::{HEAD, RECORD, WORDS, head};

static ON: AtomicBool = AtomicBool::new(false);
/// Where the file is mapped, and for how many records there may be room: less once the disk is full. Written before `ON`.
static AT: AtomicUsize = AtomicUsize::new(0);
static ROOM: AtomicU64 = AtomicU64::new(0);
/// When it began.
static START: AtomicU64 = AtomicU64::new(0);

/// Disk space is asked for in steps of this many bytes: 4,096 events, some 100 us.
const STEP: usize = 256 << 10;

/// Whether a trace is recorded. Signal-safe.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Relaxed)
}

/// Records what happened now. Signal-safe, if `what` is.
#[inline]
pub(crate) fn record(what: impl FnOnce() -> What) {
    if is_on() {
        write(&what());
    }
}

/// The time, for [`since`]; 0 if nothing is recorded. Signal-safe.
#[inline]
pub(crate) fn now() -> u64 {
    if is_on() { clock::now_ns() } else { 0 }
}

/// Nanoseconds since `begun`, of [`now`]. Signal-safe.
pub(crate) fn since(begun: u64) -> u64 {
    if begun == 0 { 0 } else { clock::now_ns().saturating_sub(begun) }
}

/// The start and the length of a range, as events have them. Signal-safe.
pub(crate) fn place(range: ByteRange) -> (u64, u64) {
    (range.start as u64, range.len() as u64)
}

/// A word of the mapped file.
///
/// # Safety
/// `byte` is inside of the mapping, and a multiple of 8.
unsafe fn word(byte: usize) -> &'static AtomicU64 {
    // SAFETY: the mapping is aligned, is never unmapped, and everybody who shares it uses atomics.
    unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(AT.load(Relaxed) + byte)) }
}

/// A word of the head.
fn in_head(number: usize) -> &'static AtomicU64 {
    // SAFETY: the head is a page, and the first to have disk space.
    unsafe { word(number * 8) }
}

#[cold]
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn write(what: &What) {
    if !ON.load(Acquire) || !thread::is_owner() {
        return;
    }
    let number = in_head(head::BEGUN).fetch_add(1, Relaxed);
    if number >= ROOM.load(Relaxed) || !is_backed((number as usize + 1) * RECORD) {
        in_head(head::DROPPED).fetch_add(1, Relaxed);
        return;
    }
    let time = clock::now_ns().saturating_sub(START.load(Relaxed));
    let event = Event { time, thread: tracefile::thread_number(), what: *what };
    let at = HEAD + number as usize * RECORD;
    // SAFETY: the number is this thread's alone, and less than there is room for.
    let word = |i: usize| unsafe { word(at + i * 8) };
    for (i, value) in event.pack().into_iter().enumerate() {
        word(i).store(value, Relaxed);
    }
    word(WORDS - 1).store(number + 1, Release);
}

/// Whether the disk has room for the first `bytes` of records. Threads that find that it has not do the same work at once,
/// which does no harm.
fn is_backed(bytes: usize) -> bool {
    let ready = in_head(head::READY);
    loop {
        let now = ready.load(Acquire) as usize;
        if bytes <= now {
            return true;
        }
        let most = ROOM.load(Relaxed) as usize * RECORD;
        let next = (now + STEP).min(most);
        if next <= now {
            return false;
        }
        if let Err(errno) = tracefile::back(AT.load(Relaxed) + HEAD + now, next - now) {
            in_head(head::ERRNO).store(errno as u64, Relaxed);
            ROOM.fetch_min((now / RECORD) as u64, Relaxed);
            return false;
        }
        ready.fetch_max(next as u64, AcqRel);
    }
}
