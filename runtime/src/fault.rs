//! The fault path: what happens when the CPU touches a page that is not there for it. `on_fault` runs in the signal
//! handler of the faulting thread; with a device whose driver must not be called there, it hands the work to the service
//! thread and waits. Where userfaultfd has messages sent instead, `uffd::handler` asks `look`. Signal-safe: all of it.

use crate::addr::{CHUNK, HostAddr, PAGE};
use crate::adopt::strays;
use crate::ahead::Awaited;
use crate::chunk::{Chunk, Guard, PREDICTED};
use crate::device::Devices;
use crate::error::Error;
use crate::fork;
use crate::inflight::{self, Intent};
use crate::mask::PageMask;
use crate::migrate::{self, Stop};
use crate::policy;
use crate::stats::STATS;
use crate::sys::segv::{Cause, Touch, Verdict};
use crate::sys::stderr::Line;
use crate::sys::vma::Maps;
use crate::sys::{thread, trial};
use crate::trace::{self, What, Why};
use crate::uffd::Delivery;
use crate::{service, table, uffd};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// How often a move that failed is tried before the access gets SIGBUS.
const TRIES: usize = 3;

/// Answers a fault at `addr`.
pub(crate) fn on_fault(addr: HostAddr, touch: Touch, cause: Cause) -> Verdict {
    let Some(chunk) = table::get(addr) else { return Verdict::NotOurs };
    let managed = chunk.managed.has(addr.page_in_chunk());
    // Freed memory that is still watched is touched as any freed memory: there are zeros.
    let ours = managed || cause == Cause::Absence && chunk.is_watched();
    if touch == Touch::Execute {
        return Verdict::NotOurs;
    }
    if !ours {
        let again = strays::may_be(addr) || cause == Cause::Absence && fill_unmanaged(chunk, addr);
        return if again { Verdict::Resolved } else { Verdict::NotOurs };
    }
    if thread::forked() || fork::is_forking() && !thread::is_owner() {
        return in_child(chunk, addr, touch);
    }
    if cause == Cause::Absence && chunk.is_locked_by_me() && !fork::is_forking() {
        return uffd::fill_hole(addr); // this thread copies the chunk's pages, and one of them is gone
    }
    if cause == Cause::Protection && chunk.is_locked_by_me() && !fork::is_forking() {
        return migrate::open_to_read(chunk, addr); // or closed
    }
    let write = touch == Touch::Write;
    let (begun, mut waited) = (trace::now(), 0);
    let mut awaited = None;
    let verdict = loop {
        match look(chunk, addr, write, cause) {
            Step::Done(verdict) => break verdict,
            Step::Wait(blocker) if blocker.is_own() => break OWN,
            Step::Wait(_) if thread::is_own() => {
                Line::new()
                    .text("a host kernel touched managed memory by its host address ")
                    .hex(addr.0)
                    .write();
                break Verdict::NotOurs; // it would wait for itself
            }
            Step::Wait(blocker) => {
                awaited = awaited.or_else(|| Some(Awaited::new(addr.chunk_start())));
                let since = trace::now();
                blocker.wait();
                waited += trace::since(since);
            }
        }
    };
    drop(awaited);
    note(addr, write, verdict, trace::since(begun), waited);
    verdict
}

/// A page that is not managed, and missing, in a chunk that is not watched: it may be all the same. Then there are zeros. Whether to touch
/// it again.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn fill_unmanaged(chunk: &'static Chunk, addr: HostAddr) -> bool {
    if thread::forked() || chunk.is_locked_by_me() {
        return false;
    }
    let Some(g) = Guard::lock_within(chunk, addr.chunk_start(), 1_000_000) else { return true };
    let page = addr.page_in_chunk();
    chunk.managed.has(page) || matches!(uffd::zero_if_watched(g.page(page), PAGE), Some(Ok(())))
}

/// What waiting for oneself comes to.
pub(crate) const OWN: Verdict =
    Verdict::Bus("this thread acquired the memory for a device to write and has not released it");

/// One look at the page, by whoever may call the devices' drivers.
pub(crate) fn look(chunk: &'static Chunk, addr: HostAddr, write: bool, cause: Cause) -> Step {
    // While it forks, this thread holds every chunk's lock: no other can do it.
    let direct = fork::is_forking()
        || Devices::get().is_none_or(|d| (0..d.count()).all(|i| d.at(i).serves_faults_directly()));
    if direct {
        return resolve(chunk, addr, write, cause);
    }
    if chunk.is_early() && open_early(chunk, addr, write) {
        return Step::Done(Verdict::Resolved);
    }
    service::ask(chunk, addr, write, cause)
}

/// Opens a chunk that came home early, for which no driver is needed. Whether that is all that the touch needs. Waits for nobody:
/// the touch may be in a driver's call, and whoever has the chunk wait for that; the service thread has an end to it.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn open_early(chunk: &'static Chunk, addr: HostAddr, write: bool) -> bool {
    let Some(g) = Guard::try_lock(chunk, addr.chunk_start()) else { return false };
    let page = addr.page_in_chunk();
    let special = chunk.user_none.has(page) || write && chunk.user_read_only.has(page);
    let taken = write && chunk.on_devices().has(page);
    reached_early(&g, write) && chunk.host.has(page) && !special && !taken && chunk.unsettled.is_empty()
}

/// Notes that a chunk which came home early was touched; whether it is one. Who goes on from one to the next finds more of them open.
fn reached_early(g: &Guard, write: bool) -> bool {
    let opened = g.opened.get();
    if opened != 0 {
        migrate::account_early(g, true);
        policy::reached(g, write);
        if opened & PREDICTED != 0 {
            open_next(g, write);
        }
    }
    opened != 0
}

/// Opens chunks behind one that was closed, if they came for the same reason. Only tries their locks: this thread has one.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn open_next(g: &Guard, write: bool) {
    let key = policy::allocation(g.chunk, g.at);
    for n in 1..=policy::opens(g) as usize {
        let at = g.at.add(n * CHUNK);
        let Some(chunk) = table::get(at).filter(|c| c.is_predicted()) else { return };
        let Some(next) = Guard::try_lock(chunk, at) else { return };
        // Another reason, or freed and made anew: open, as any that was locked, and that is all.
        if next.opened.get() & PREDICTED == 0 || policy::allocation(chunk, at) != key {
            return;
        }
        migrate::account_early(&next, true);
        policy::reached(&next, write);
    }
}

/// Counts and records an answer.
pub(crate) fn note(addr: HostAddr, write: bool, verdict: Verdict, took: u64, waited: u64) {
    if verdict == Verdict::NotOurs {
        return;
    }
    let answered = verdict == Verdict::Resolved;
    trace::record(|| What::Fault { addr: addr.0 as u64, write, answered, took, waited });
    if answered {
        STATS.faults.add(1);
        if write { STATS.write_faults.add(1) } else { STATS.read_faults.add(1) }
    }
}

/// What one look at the page came to.
pub(crate) enum Step {
    /// The answer.
    Done(Verdict),
    /// A kernel may be writing the page.
    Wait(inflight::Blocker),
}

/// Brings the page home if that is what it takes.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn resolve(chunk: &'static Chunk, addr: HostAddr, write: bool, cause: Cause) -> Step {
    resolve_locked(Guard::lock(chunk, addr.chunk_start()), addr, write, cause)
}

/// [`resolve`], with the chunk locked.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn resolve_locked(g: Guard, addr: HostAddr, write: bool, cause: Cause) -> Step {
    let (chunk, page) = (g.chunk, addr.page_in_chunk());
    g.why.set(Why::Fault);
    let was_closed = reached_early(&g, write);
    if cause == Cause::Absence {
        if let Some(verdict) = migrate::absent(&g, page, write) {
            return Step::Done(verdict);
        }
    } else if !chunk.managed.has(page) {
        return Step::Done(Verdict::Resolved); // it was, when `on_fault` looked: the next touch is another one
    } else if chunk.user_none.has(page) || write && chunk.user_read_only.has(page) {
        return Step::Done(Verdict::NotOurs);
    }
    let one = PageMask::span(page, 1);
    if chunk.host.has(page) && !(write && one.meets(chunk.on_devices())) {
        if was_closed && chunk.unsettled.is_empty() {
            return Step::Done(Verdict::Resolved);
        }
        return Step::Done(already_there(g, addr, write));
    }
    if let Some(b) = inflight::blocker(g.span_of(one), Intent::Take { to: None }) {
        return Step::Wait(b);
    }
    let mut pages = policy::pages_to_bring(&g, page, write) & !inflight::written_by_kernels(g.at);
    let mut last = None;
    for _ in 0..TRIES {
        let many = g.is_watched() && pages.count() > migrate::FEW;
        let take = write || many && !policy::advised::keeps_copies(chunk.advice.load(Relaxed));
        match migrate::to_host(&g, pages, take) {
            Ok(_) => {
                let _ = migrate::settle_again(&g); // what can't be set now is a fault again
                return Step::Done(Verdict::Resolved);
            }
            Err(Stop::Wait(b)) => return Step::Wait(b),
            Err(Stop::Fail(Error::Lost { .. })) if pages == one => {
                return Step::Done(Verdict::Bus("the page's contents were lost with their device"));
            }
            Err(Stop::Fail(e)) => {
                last = Some(e);
                pages = one;
            }
        }
    }
    STATS.errors.add(1);
    if let Some(e) = last {
        explain(addr, &e);
    }
    Step::Done(Verdict::Bus("the page is on a device and could not be brought home"))
}

/// Says what stood in the way, ahead of the line that says what came of it.
#[cold]
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn explain(addr: HostAddr, error: &Error) {
    let line = Line::new().hex(addr.0).text(" can't come home: ");
    match *error {
        Error::System { call, errno } => line.text(call).text(" failed, error ").number(errno),
        Error::Device { call, code, name, .. } => {
            line.text(call).text(" failed: ").text(name).text(", ").number(code)
        }
        Error::NoMemory { what, .. } => line.text("no host memory for ").text(what),
        Error::Lost { .. } => line.text("its contents were lost with their device"),
        ref other => line.text("status ").number(other.code()),
    }
    .write();
}

/// The table says that the access is allowed: either another thread brought the page home meanwhile, or the program
/// protected it behind our back and this is its segfault.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn already_there(g: Guard, addr: HostAddr, write: bool) -> Verdict {
    match migrate::settle_again(&g) {
        Ok(false) => {}
        // A touch that could not be answered: it would be the same message again, and again.
        Ok(true) if uffd::delivery() == Delivery::Message => {
            return migrate::absent(&g, addr.page_in_chunk(), write).unwrap_or(Verdict::Resolved);
        }
        Ok(true) => return Verdict::Resolved,
        Err(_) => return Verdict::Bus("the page's protection could not be set"),
    }
    // Asked with the lock held: otherwise the page could leave again and its protection be taken for the program's.
    let maps = Maps::open();
    match maps.at(addr) {
        Some(v) if v.write || v.read && !write => Verdict::Resolved,
        None if !maps.is_open() && g.is_watched() && !is_again(addr) => Verdict::Resolved,
        None if !g.is_watched() && trial::can(addr, write) => Verdict::Resolved,
        _ => Verdict::NotOurs,
    }
}

/// Whether the same address is touched for the hundredth time in a row. Without a way to ask the kernel why (no /proc, and its own
/// accesses fail where userfaultfd watches) it is the program's protection then.
pub(crate) fn is_again(addr: HostAddr) -> bool {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    static TIMES: AtomicU32 = AtomicU32::new(0);
    if LAST.swap(addr.0, Relaxed) != addr.0 {
        TIMES.store(0, Relaxed);
    }
    TIMES.fetch_add(1, Relaxed) >= 100
}

/// A forked child has the parent's pages as they were at the fork, but not its devices: what was on a device only is not
/// there, and is said to be so.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn in_child(chunk: &'static Chunk, addr: HostAddr, touch: Touch) -> Verdict {
    let page = addr.page_in_chunk();
    if chunk.user_none.has(page) || touch == Touch::Write && chunk.user_read_only.has(page) {
        return Verdict::NotOurs;
    }
    if !chunk.host.has(page) {
        return Verdict::Bus("the page was on a device when this process was forked");
    }
    let Some(g) = lock_in_child(chunk, addr.chunk_start()) else {
        return Verdict::Bus(
            "the page was being moved when this process was forked, by a call without fork's handlers",
        );
    };
    let one = PageMask::span(page, 1);
    match migrate::to_host(&g, one, touch == Touch::Write).and_then(|_| Ok(migrate::settle(&g, one)?)) {
        Ok(()) => Verdict::Resolved,
        Err(_) => Verdict::Bus("the page's protection could not be set"),
    }
}

/// The chunk's lock, unless a thread has it that is not there: one of the parent's, in a child of a bare system call.
fn lock_in_child(chunk: &'static Chunk, at: HostAddr) -> Option<Guard> {
    if chunk.is_locked_by_me() {
        return Some(Guard::lock(chunk, at)); // a handler of the program's, before the runtime's
    }
    let mut waiting = thread::Waiting::default();
    loop {
        if let Some(g) = Guard::lock_within(chunk, at, waiting.nap().unwrap_or(1_000_000)) {
            return Some(g);
        }
        if waiting.is_in_vain() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{ByteRange, CHUNK};

    /// A touch of what came home early does not wait for the chunk's lock by itself: this thread would wait for ever.
    #[test]
    fn a_chunk_that_is_taken_is_not_opened_here() {
        let at = HostAddr(0x1234_c000_0000);
        table::ensure(ByteRange { start: at.0, end: at.0 + CHUNK }).unwrap();
        let chunk = table::known(at);
        let g = Guard::lock_as_it_is(chunk, at);
        g.close_early(512);
        assert!(!open_early(chunk, at, false) && chunk.is_early());
        g.close_early(0);
    }
}
