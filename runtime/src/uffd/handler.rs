//! The threads that answer messages, where touches come as those. Each has descriptors of its own, reads touches, and brings
//! pages home as the signal handler would; the touching thread waits in the kernel. What has to wait, for a kernel or for who
//! has the chunk, is put aside and looked at again, so that no thread of ours ever waits for one: all of them could, and nobody
//! would be left to answer, whoever has the chunk among them. What can't be answered is made inaccessible: the touching thread runs on into SIGSEGV, which `fault` knows.
//!
//! A program may end threads that it does not know. The keeper's thread is told by the kernel (`sys/life.rs`), has the
//! touches that such a thread had taken sent again, and starts another; where it can't, and none is left, it answers itself
//! (`Watch`).

use super::threads::claim;
use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::chunk::{Chunk, Guard};
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::fault::{self, Step};
use crate::fork;
use crate::inflight::Blocker;
use crate::migrate;
use crate::stats::STATS;
use crate::sys::life::Life;
use crate::sys::map::{self, Prot};
use crate::sys::segv::{Cause, Verdict};
use crate::sys::uffd::{self as kernel, Message};
use crate::sys::{futex, stderr, thread};
use crate::{service, table, trace};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use std::sync::Mutex;

/// How long a thread that has put touches aside waits before it looks again.
const AGAIN_NS: u64 = 100_000;
/// The most that a thread puts aside.
const MOST_ASIDE: usize = 256;
/// How long it waits when there was more: those touches are sent again.
const FULL_NS: u64 = 1_000_000;

/// The most threads.
const MOST: usize = 8;

/// Pages that are touched only to tell a thread that it is to end: one for each.
static DOORBELLS: AtomicUsize = AtomicUsize::new(0);
/// Whether each was heard: a touch that a signal interrupts is told of twice, and is to end one thread only.
static HEARD: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether each thread is still there.
static LIVES: [Life; MOST] = [const { Life::new() }; MOST];

/// Those that the keeper has started.
static REPLACEMENTS: Mutex<Vec<thread::Thread>> = Mutex::new(Vec::new());

/// The running threads.
pub(super) struct Handler {
    threads: Vec<thread::Thread>,
    doorbells: ByteRange,
}

/// Nobody is there, and nobody has ended: before the keeper looks.
pub(super) fn begin() {
    STOP.store(false, SeqCst);
    LIVES.iter().for_each(Life::reset);
    HEARD.iter().for_each(|heard| heard.store(false, SeqCst));
}

impl Handler {
    /// Starts them: one for each core, two at least.
    pub(super) fn start(fd: i32) -> Result<Handler> {
        let count = std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(2, MOST);
        let at = map::map(count * PAGE, PAGE, Prot::ReadWrite, "a doorbell")?;
        map::huge_pages(at, count * PAGE, false);
        let mut handler = Handler { threads: Vec::new(), doorbells: at.range(count * PAGE) };
        super::watch(handler.doorbells)?;
        DOORBELLS.store(at.0, SeqCst);
        for life in &LIVES[..count] {
            match thread::spawn("hmmrt-uffd", move || run(fd, life)) {
                Ok(thread) => handler.threads.push(thread),
                Err(e) => {
                    handler.stop();
                    let errno = e.raw_os_error().unwrap_or(0);
                    return Err(Error::System { call: "starting a thread", errno });
                }
            }
        }
        // Those that are there are watched from here on.
        LIVES[..count].iter().for_each(|life| life.wait_for_begin(BEGIN_NS));
        Ok(handler)
    }

    /// Ends them. Each touch of a doorbell is a message that one of them gets, or the keeper where none is left.
    pub(super) fn stop(self) {
        STOP.store(true, SeqCst);
        let there =
            if super::keeper::has_died() { LIVES.iter().filter(|l| l.is_alive()).count() } else { MOST };
        for i in 0..self.threads.len().min(there) {
            // SAFETY: a page of ours that is missing until one of the threads puts it there.
            unsafe { HostAddr(self.doorbells.start).add(i * PAGE).ptr().read_volatile() };
        }
        for thread in self.threads {
            thread.join();
        }
        map::unmap(HostAddr(self.doorbells.start), self.doorbells.len());
    }
}

/// What a touch waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Whoever has the chunk locked lets it go.
    Unlocked,
    /// A kernel has ended, or a system call.
    Unused,
}

/// A touch that waits.
struct Aside {
    touch: Message,
    begun: u64,
    until: Until,
}

/// Who answers messages.
struct Answerer {
    fd: i32,
    aside: Vec<Aside>,
}

impl Answerer {
    fn new(fd: i32) -> Answerer {
        Answerer { fd, aside: Vec::with_capacity(MOST_ASIDE) }
    }

    /// Answers what there is, or comes within `idle_ns`. Whether a doorbell that nobody had heard was among it; one that this thread
    /// does not hear (`hears`) is rung again. Allocates nothing: who touched may have the allocator's locks.
    fn answer(&mut self, idle_ns: Option<u64>, hears: bool) -> bool {
        let nothing = Message { addr: HostAddr(0), write: false, thread: 0 };
        let mut messages = [nothing; 16];
        let (mut rung, mut full) = (false, false);
        // Chunks are waited for below: they are free again sooner than kernels end.
        if !self.aside.iter().any(|a| a.until == Until::Unlocked) {
            kernel::wait(self.fd, if self.aside.is_empty() { idle_ns } else { Some(AGAIN_NS) });
        }
        let count = kernel::read(self.fd, &mut messages);
        for m in &messages[..count] {
            let doorbell = m.addr.0.wrapping_sub(DOORBELLS.load(SeqCst)) / PAGE;
            if doorbell < MOST && STOP.load(SeqCst) {
                match hears {
                    true => rung |= hear(doorbell, m.addr),
                    false => super::wake(m.addr),
                }
                continue;
            }
            let begun = trace::now();
            match answer(*m, begun, 0, true) {
                None => {}
                Some(until) if self.aside.len() < MOST_ASIDE => {
                    STATS.waits.add(u64::from(until == Until::Unused));
                    self.aside.push(Aside { touch: *m, begun, until });
                }
                // The next may be of whoever has the chunk. This one comes again, behind all others.
                Some(_) => {
                    super::wake(m.addr);
                    full = true;
                }
            }
        }
        if full {
            kernel::pause(FULL_NS);
        }
        self.look_again();
        rung
    }

    /// Looks again at what was put aside, and waits for one of the chunks: for each in turn.
    fn look_again(&mut self) {
        let mut patience = AGAIN_NS;
        self.aside.retain_mut(|a| {
            let wait = if a.until == Until::Unlocked { core::mem::take(&mut patience) } else { 0 };
            let Some(until) = answer(a.touch, a.begun, wait, false) else { return false };
            STATS.waits.add(u64::from(until == Until::Unused && a.until != until));
            a.until = until;
            true
        });
        if !self.aside.is_empty() {
            self.aside.rotate_left(1);
        }
    }
}

/// Lets run on who rings. Whether nobody has heard this one before.
fn hear(doorbell: usize, addr: HostAddr) -> bool {
    match super::fill_hole(addr) {
        Verdict::Resolved => {}
        // Unwatched it is the kernel's to fill; who rings must not wait for ever.
        _ if super::unwatch(HostAddr(addr.0 & !(PAGE - 1)).range(PAGE)) => {}
        _ => {
            super::wake(addr); // and rings again
            return false;
        }
    }
    !HEARD[doorbell].swap(true, SeqCst)
}

fn run(fd: i32, life: &'static Life) {
    thread::leave_files();
    if !life.begin() {
        return; // too late
    }
    let mut answerer = Answerer::new(fd);
    while !answerer.answer(None, true) {}
    life.end();
}

/// Waits for the end of those that the keeper, which has ended, had started.
pub(super) fn join_replacements() {
    let all = core::mem::take(&mut *REPLACEMENTS.lock().unwrap_or_else(|e| e.into_inner()));
    all.into_iter().for_each(thread::Thread::join);
}

/// How long is waited for a chunk's lock to close a page under.
const CLOSE_NS: u64 = 10_000_000;

/// How long a thread takes at most to begin.
const BEGIN_NS: u64 = 1_000_000_000;

/// Starts another thread in the place of one that has died. Whether it is there.
fn replace(fd: i32, life: &'static Life) -> bool {
    life.reset();
    if let Ok(thread) = thread::spawn("hmmrt-uffd", move || run(fd, life)) {
        REPLACEMENTS.lock().unwrap_or_else(|e| e.into_inner()).push(thread);
        life.wait_for_begin(BEGIN_NS);
    }
    life.give_up();
    life.is_alive()
}

/// How long the keeper waits for a message when it answers them: then it looks whether it is asked for something.
const IDLE_NS: u64 = 5_000_000;

/// What the keeper's thread does about handlers that end.
pub(super) struct Watch {
    answerer: Answerer,
    seen: [u32; MOST],
}

impl Watch {
    /// Of the handlers of `fd`, none of which is there yet.
    pub(super) fn new(fd: i32) -> Watch {
        Watch { answerer: Answerer::new(fd), seen: [0; MOST] }
    }

    /// Waits until `state` is something else than `expected`, or something has been done.
    pub(super) fn wait(&mut self, state: &AtomicU32, expected: u32) {
        // One look: whoever ends from here on is seen the next time, and what it had read then is sent again.
        let now: [u32; MOST] = core::array::from_fn(|i| LIVES[i].word().load(SeqCst));
        if (0..MOST).any(|i| now[i] != self.seen[i] && Life::says_died(now[i])) {
            super::wake_all(); // what it had read, and not answered, is sent again
        }
        self.seen = now;
        let mut lacks = false;
        for i in (0..MOST).filter(|i| Life::says_died(now[*i])) {
            match STOP.load(SeqCst) || !replace(self.answerer.fd, &LIVES[i]) {
                true => lacks = true,
                false => self.seen[i] = 0, // its end will look the same
            }
        }
        let is_alone = !LIVES.iter().any(Life::is_alive);
        if lacks && is_alone || !self.answerer.aside.is_empty() {
            // A doorbell is for a handler, if there is one to end.
            self.answerer.answer(Some(IDLE_NS), is_alone);
        } else {
            let words = core::array::from_fn::<_, MOST, _>(|i| (LIVES[i].word(), now[i]));
            futex::wait_any(state, expected, &words);
        }
    }
}

/// Answers a touch, if the chunk can be had within about `wait_ns`; or what it has to wait for. `fresh`: it has just been read, so its
/// thread still waits for it. Otherwise that may have gone on long ago, interrupted by a signal; if not, it comes again.
fn answer(m: Message, begun: u64, wait_ns: u64, fresh: bool) -> Option<Until> {
    let Some(chunk) = table::get(m.addr) else {
        fill_hole(m.addr); // watched, and nothing of ours: cannot be, and does not hang
        return None;
    };
    // A message may be older than what its thread does now, if something else has let that run on. What is done for it must be
    // right then, too.
    if let Some(_claim) = claim(m.thread, m.addr)
        && chunk.host.has(m.addr.page_in_chunk())
    {
        fill_hole(m.addr);
        return None;
    }
    if fork::is_by(m.thread) {
        // It holds every chunk's lock, and serves itself: by SIGSEGV.
        if fresh && migrate::close(chunk, m.addr).is_err() {
            stderr::fatal("a forking thread can't be told of its touch", m.addr.0);
        }
        super::wake(m.addr);
        return None;
    }
    let _blocked = crate::sys::signal::Blocked::new();
    let verdict = match look(chunk, &m, wait_ns) {
        None => return Some(Until::Unlocked),
        Some(Step::Done(verdict)) => verdict,
        Some(Step::Wait(b)) if waits_for_itself(&b, m.thread) => {
            if !fresh {
                super::wake(m.addr);
                return None;
            }
            fault::OWN
        }
        Some(Step::Wait(_)) => return Some(Until::Unused),
    };
    match verdict {
        Verdict::Resolved => fault::note(m.addr, m.write, verdict, trace::since(begun), 0),
        // Of what the program has put in the place of managed memory: the message is older.
        Verdict::NotOurs if !chunk.managed.has(m.addr.page_in_chunk()) => {}
        // Whatever it is, the touching thread finds out in its own handler.
        Verdict::NotOurs | Verdict::Bus(_) => close(chunk, m.addr),
    }
    super::wake(m.addr);
    None
}

/// Fills a page that is missing; its toucher goes on, and comes again if it can't be filled now.
fn fill_hole(addr: HostAddr) {
    super::fill_hole(addr);
    super::wake(addr); // nobody does where it was there already
}

/// One look at the page, by whoever may call the devices' drivers; `None`: somebody has the chunk.
fn look(chunk: &'static Chunk, m: &Message, wait_ns: u64) -> Option<Step> {
    if !Devices::get().is_none_or(|d| (0..d.count()).all(|i| d.at(i).serves_faults_directly())) {
        return service::ask_within(chunk, m.addr, m.write, Cause::Absence, wait_ns);
    }
    let g = Guard::lock_within(chunk, m.addr.chunk_start(), wait_ns)?;
    Some(fault::resolve_locked(g, m.addr, m.write, Cause::Absence))
}

/// Whether the touching thread would wait for itself: it has acquired the memory, or it is a thread of ours, whose kernel
/// touches memory by its host address.
fn waits_for_itself(b: &Blocker, number: u32) -> bool {
    thread::is_own_number(number) || b.owner().is_some_and(|id| super::number_of(id) == Some(number))
}

/// Makes a page inaccessible until somebody touches it who can be told why.
fn close(chunk: &'static Chunk, addr: HostAddr) {
    // With the chunk's lock, if it is to be had at all: without it the page may be the program's own again meanwhile.
    let g = Guard::lock_within(chunk, addr.chunk_start(), CLOSE_NS);
    if g.is_some() && !chunk.managed.has(addr.page_in_chunk()) {
        return;
    }
    if migrate::close(chunk, addr).is_err() {
        stderr::fatal("a touch that can't be answered can't be told either", addr.0);
    }
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself does
mod tests {
    use super::*;
    use crate::config::FaultEngine;
    use crate::sys::thread::is_so_in_child;
    use std::sync::Barrier;

    /// A touch of a doorbell is told of twice if a signal interrupts it between; here, because two threads touch it.
    fn rings_twice() -> bool {
        let Ok(Some(threads)) = crate::uffd::start(FaultEngine::UffdThread, true) else { return true };
        STOP.store(true, SeqCst);
        let (bell, both) = (HostAddr(DOORBELLS.load(SeqCst)), Barrier::new(2));
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    both.wait();
                    // SAFETY: a page that is missing until it is heard.
                    unsafe { bell.ptr().read_volatile() }
                });
            }
        });
        crate::uffd::stop(threads, std::iter::empty());
        true
    }

    /// Catches: both messages end a thread, and the next doorbell is heard by nobody.
    #[test]
    fn a_doorbell_ends_one_thread() {
        assert!(is_so_in_child(|| (0..100).all(|_| rings_twice())));
    }

    /// Somebody answers beside the handlers, as the keeper does when there is something that it has put aside.
    fn ends_beside_another() -> bool {
        let Ok(Some(threads)) = crate::uffd::start(FaultEngine::UffdThread, true) else { return true };
        let (fd, ended) = (crate::sys::own_file::number(), AtomicBool::new(false));
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut another = Answerer::new(fd);
                while !ended.load(SeqCst) {
                    assert!(!another.answer(Some(1_000_000), false));
                }
            });
            kernel::pause(1_000_000); // it waits for messages
            crate::uffd::stop(threads, std::iter::empty());
            ended.store(true, SeqCst);
        });
        true
    }

    /// Catches: somebody else hears a handler's doorbell, and the handler never ends.
    #[test]
    fn a_doorbell_is_for_a_handler() {
        assert!(is_so_in_child(|| (0..100).all(|_| ends_beside_another())));
    }
}
