//! The threads that move what the queue has. Each takes one chunk at a time, under the chunk's
//! lock; it waits for no kernel and no system call, and what fails is left to who needs it. Never in a forked child.

use super::awaited::is_awaited;
use super::queue::{Kind, Queue, Step, Way};
use super::{ASLEEP, POSTS, RUNNING};
use crate::addr::ByteRange;
use crate::chunk::{Chunk, Guard};
use crate::device::Devices;
use crate::error::Error;
use crate::evict;
use crate::holds;
use crate::inflight::{self, Intent};
use crate::mask::PageMask;
use crate::migrate::{self, Outward, Probe, Stop};
use crate::policy::{self, advised};
use crate::sys::futex;
use crate::sys::thread;
use crate::table;
use crate::trace::Why;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

/// How many chunks are being worked on.
static BUSY: AtomicU32 = AtomicU32::new(0);
/// How many want nothing to be worked on.
static PAUSES: AtomicU32 = AtomicU32::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// The running threads.
pub(crate) struct Ahead {
    threads: Vec<thread::Thread>,
}

impl Ahead {
    /// Starts them. Without them nothing is moved early. What is left of an earlier start is about devices that may be gone.
    pub(crate) fn start() -> Option<Ahead> {
        STOP.store(false, SeqCst);
        super::launches::forget();
        super::change(Queue::clear);
        let start = |way: Way| thread::spawn_helper("hmmrt-ahead", move || run(way)).ok();
        let ahead = Ahead { threads: Way::ALL.into_iter().map_while(start).collect() };
        // Without the third the second has no help.
        if ahead.threads.len() < Way::ALL.len() - 1 {
            ahead.end();
            return None;
        }
        RUNNING.store(true, SeqCst);
        Some(ahead)
    }

    /// Ends them, and forgets what they were to do.
    pub(crate) fn stop(self, paused: Paused) {
        RUNNING.store(false, SeqCst);
        STOP.store(true, SeqCst);
        drop(paused);
        self.end();
        super::change(Queue::clear);
    }

    fn end(self) {
        STOP.store(true, SeqCst);
        Way::ALL.into_iter().for_each(super::post);
        self.threads.into_iter().for_each(thread::Thread::join);
    }
}

/// Nothing is moved in the background until this is dropped.
pub(crate) struct Paused(());

impl Paused {
    /// One that was forgotten.
    ///
    /// # Safety
    /// There is one, and each is taken back once.
    pub(crate) unsafe fn again() -> Paused {
        Paused(())
    }
}

/// Waits until nothing is moved in the background, and has that stay so: around a fork, and at shutdown.
pub(crate) fn pause() -> Paused {
    PAUSES.fetch_add(1, SeqCst);
    loop {
        match BUSY.load(SeqCst) {
            0 => return Paused(()),
            busy => futex::wait(&BUSY, busy, None),
        };
    }
}

/// Waits until what is being moved at this moment has been. (Whoever takes something from the queue is busy before.)
pub(super) fn finish_step() {
    if BUSY.load(SeqCst) != 0 {
        drop(pause());
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        PAUSES.fetch_sub(1, SeqCst);
        futex::wake(&PAUSES, i32::MAX);
    }
}

/// Whether something is being moved at this moment.
pub(super) fn is_busy() -> bool {
    BUSY.load(SeqCst) != 0
}

/// Something is being worked on, until this is dropped.
struct Busy;

impl Busy {
    /// One of the two sees the other: this thread the pause, or who pauses that this is busy.
    fn begin() -> Busy {
        BUSY.fetch_add(1, SeqCst);
        Busy
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, SeqCst);
        if PAUSES.load(SeqCst) != 0 {
            futex::wake(&BUSY, i32::MAX);
        }
    }
}

/// One chunk, unless there is a pause or nothing to do. Whether there was.
fn work(way: Way) -> bool {
    let busy = Busy::begin();
    let pauses = PAUSES.load(SeqCst);
    let step = if pauses == 0 { super::change(|q| q.next(way)) } else { None };
    if way == Way::Out && step.is_some() && super::change(|q| q.has_out()) {
        super::tell(Way::More);
    }
    if let Some(step) = step
        && take(step, way) == Found::Other
    {
        super::change(|q| q.give_up(step));
    }
    drop(busy);
    if pauses != 0 {
        futex::wait(&PAUSES, pauses, None);
    }
    step.is_some() || pauses != 0
}

fn run(way: Way) {
    let (posts, asleep) = (&POSTS[way as usize], &ASLEEP[way as usize]);
    loop {
        let seen = posts.load(SeqCst);
        loop {
            if STOP.load(SeqCst) {
                return;
            }
            if !work(way) {
                break;
            }
        }
        asleep.store(true, SeqCst);
        futex::wait(posts, seen, None);
        asleep.store(false, SeqCst);
    }
}

/// What was at a step's place.
#[derive(PartialEq, Eq)]
enum Found {
    /// The memory that the step is for. What could be done now has been.
    It,
    /// Other memory, or none: what follows is not what was meant either.
    Other,
}

fn take(step: Step, way: Way) -> Found {
    let Some(chunk) = table::get(step.at) else { return Found::Other };
    match step.kind {
        Kind::Ahead { write } => home(step, chunk, write, Why::Ahead),
        Kind::Home { write } => home(step, chunk, write, Why::Predicted),
        Kind::Take => take_from_devices(step, chunk, way),
        Kind::Out { device, behind } => {
            out(step, chunk, device.into(), if behind { Why::Behind } else { Why::Predicted })
        }
    }
}

/// Whether the chunk still belongs to the allocation that the step is for.
fn is_meant(step: &Step, chunk: &Chunk) -> bool {
    !chunk.managed.get().is_empty() && (step.key == 0 || policy::allocation(chunk, step.at) == step.key)
}

/// The managed pages of a step: what is for one allocation leaves others in the same chunk alone.
fn pages_of(step: &Step, chunk: &Chunk) -> PageMask {
    let managed = chunk.managed.get();
    step.pages()
        & match managed.first().filter(|_| step.key != 0) {
            Some(page) => policy::same_block(chunk, page),
            None => managed,
        }
}

/// What of a step's pages is on devices only.
fn missing(step: &Step, chunk: &Chunk) -> PageMask {
    pages_of(step, chunk) & !chunk.host.get()
}

/// Brings a step's pages home, but for those that anybody uses.
fn home(step: Step, chunk: &'static Chunk, write: bool, why: Why) -> Found {
    if !is_meant(&step, chunk) {
        return Found::Other;
    }
    if missing(&step, chunk).is_empty() || migrate::near_vma_limit() || is_awaited(step.at) {
        return Found::It;
    }
    let g = Guard::lock_as_it_is(chunk, step.at);
    if !is_meant(&step, chunk) {
        return Found::Other; // freed meanwhile
    }
    g.why.set(why);
    let kept = chunk.pinned.get() | chunk.user_none.get() | holds::pages_in(step.at);
    let mut pages =
        missing(&step, chunk) & chunk.on_devices() & !kept & !inflight::written_by_kernels(step.at);
    if write {
        pages = pages & !chunk.user_read_only.get();
    }
    if why == Why::Predicted {
        pages = policy::moved_early(&g, pages, true);
    }
    let many = g.is_watched() && pages.runs().any(|(_, count)| count > migrate::FEW);
    let take = write || many && !advised::keeps_copies(chunk.advice.load(Relaxed));
    // What would be taken from a device is left to the kernels that use it, also to those that only read.
    let used = take && inflight::blocker(g.range(), Intent::Forget).is_some();
    if !pages.is_empty() && !used {
        g.early.set(!g.is_watched());
        let came = migrate::to_host(&g, pages, take); // whoever touches it tries again, and gets the error
        if came.is_ok() && why == Why::Ahead && !chunk.is_early() {
            policy::came_open(&g, pages, write); // its touches will not be seen
        }
    }
    Found::It
}

/// What both sides have of a step's pages becomes the CPU's alone, as its write would make it; kernels go on reading the copy that
/// they were launched with.
fn take_from_devices(step: Step, chunk: &'static Chunk, way: Way) -> Found {
    let both = || step.pages() & chunk.managed.get() & chunk.host.get() & chunk.on_devices();
    if !is_meant(&step, chunk) {
        return Found::Other;
    }
    if both().is_empty() || migrate::near_vma_limit() || advised::keeps_copies(chunk.advice.load(Relaxed)) {
        return Found::It;
    }
    let g = Guard::lock_as_it_is(chunk, step.at);
    if !is_meant(&step, chunk) {
        return Found::Other;
    }
    if !super::change(|q| q.is_wanted(way)) {
        return Found::It; // its writer has come and gone, and it is on its way back
    }
    let closed = chunk.pinned.get() | chunk.user_none.get() | chunk.user_read_only.get();
    let kept = closed | holds::pages_in(step.at) | inflight::written_by_kernels(step.at);
    let pages = policy::moved_early(&g, both() & !kept, false);
    if !pages.is_empty() && !chunk.is_early() {
        g.why.set(Why::Predicted);
        let _ = migrate::to_host(&g, pages, true); // whoever writes tries again
    }
    Found::It
}

/// Sends a copy of a step's pages to a device, if nobody uses them and it has room, or what is not needed soon can go for it; the
/// host's stay valid.
fn out(step: Step, chunk: &'static Chunk, device: usize, why: Why) -> Found {
    match try_out(&step, chunk, device, why) {
        Ok(found) => found,
        Err(Stop::Fail(Error::DeviceMemory { .. })) => {
            let rest = ByteRange { start: step.part.start, end: step.end };
            let made = Devices::get().is_some_and(|d| evict::make_room_early(d, device, rest));
            let again = if made { try_out(&step, chunk, device, why).ok() } else { None };
            again.unwrap_or(Found::It)
        }
        Err(_) => Found::It, // left to who needs it
    }
}

fn try_out(step: &Step, chunk: &'static Chunk, device: usize, why: Why) -> core::result::Result<Found, Stop> {
    let lacks = || {
        let there = chunk.copies[device].valid.get();
        pages_of(step, chunk) & chunk.host.get() & !there
    };
    if !is_meant(step, chunk) {
        return Ok(Found::Other);
    }
    if lacks().is_empty() || migrate::near_vma_limit() {
        return Ok(Found::It);
    }
    let mut probe = Probe::new("ahead");
    let g = Guard::lock_as_it_is(chunk, step.at);
    if !is_meant(step, chunk) {
        return Ok(Found::Other);
    }
    let kept = chunk.pinned.get() | chunk.user_none.get() | holds::pages_in(step.at);
    // A copy there makes pages read-only here, for the kernel's own accesses, too.
    let pages = lacks() & !kept & !chunk.asked_for.get();
    let Some(around) = pages.first().and_then(|page| g.block_around(page)) else { return Ok(Found::It) };
    let used =
        inflight::blocker(g.range(), Intent::Overwrite { device, by: None, in_order: false }).is_some();
    if used || chunk.is_early() {
        return Ok(Found::It); // what came home early stays for who it came for
    }
    g.why.set(why);
    migrate::to_device(&g, pages, device, Outward::Share, None, around, &mut probe)?;
    chunk.prefetched.add(pages);
    Ok(Found::It)
}
