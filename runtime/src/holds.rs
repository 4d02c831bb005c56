//! What system calls are using: ranges that stay on the host for the time of one call, each with the stack frame that
//! asked for it. A range is entered *before* its pages are brought home; whoever sends pages away holds the chunk's lock and
//! looks here *before* it changes anything: so either the hold finds the page gone and brings it home, or the other sees
//! the hold and waits. A call never holds something while it waits for a kernel, so no kernel's launch and no call wait
//! for each other.
//!
//! Asked for in any context of the program's, signal handlers included: signal-safe; nothing is allocated, and holders of
//! the lock have signals blocked. The lock is taken before no other.

use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::chunk::Guard;
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::inflight::{self, Intent};
use crate::mask::PageMask;
use crate::migrate::{self, Stop};
use crate::sys::futex::{self, Locked};
use crate::sys::signal::{self, Blocked};
use crate::sys::thread;
use crate::table;
use crate::trace::Why;
use crate::uffd;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*, fence};

/// A range that a system call is about to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The bytes.
    pub(crate) range: ByteRange,
    /// Whether the kernel will write them.
    pub(crate) write: bool,
}

impl Want {
    /// Where it starts.
    pub fn start(&self) -> usize {
        self.range.start
    }

    /// Where it ends.
    pub fn end(&self) -> usize {
        self.range.end
    }

    /// Both as one: of the same kind, and with nothing but their own pages between.
    pub fn with(self, other: Want) -> Option<Want> {
        let (a, b) = (self.range.pages_out(), other.range.pages_out());
        let (start, end) = (self.range.start.min(other.range.start), self.range.end.max(other.range.end));
        let is_one = self.write == other.write && a.start <= b.end && b.start <= a.end;
        is_one.then_some(Want { range: ByteRange { start, end }, write: self.write })
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Its place on the stack.
    pub frame: usize,
    /// It is a child of vfork, which shares this memory with its parent, and may leave without a word.
    pub vforked: bool,
}

#[derive(Clone, Copy)]
struct Hold {
    /// Empty: the slot is free.
    range: ByteRange,
    owner: usize,
    frame: usize,
    /// Tells the hold from all others.
    number: u32,
    write: bool,
    vforked: bool,
}

/// What the last hold was numbered; changed with the table locked.
static NUMBER: AtomicU32 = AtomicU32::new(0);

const NOBODY: Hold = Hold {
    range: ByteRange { start: 0, end: 0 },
    owner: 0,
    frame: 0,
    number: 0,
    write: false,
    vforked: false,
};

/// More than a process has threads: each can wait for a lock. What is not used is never touched.
const MOST: usize = if cfg!(miri) { 4096 } else { 1 << 16 };

struct Table {
    /// All slots before this one are in use.
    full: usize,
    /// No slot from here on is in use.
    end: usize,
    slots: [Hold; MOST],
}

static TABLE: Locked<Table> = Locked::new(Table { full: 0, end: 0, slots: [NOBODY; MOST] });
/// How many slots are in use, for the ways that skip the lock when none is.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// How many of them are of children of vfork.
static VFORKED: AtomicUsize = AtomicUsize::new(0);
/// Changes when a hold ends.
static RELEASES: AtomicU32 = AtomicU32::new(0);
/// How many threads wait for one to end.
static WAITERS: AtomicU32 = AtomicU32::new(0);

impl Table {
    fn used(&mut self) -> &mut [Hold] {
        &mut self.slots[..self.end]
    }

    fn enter(&mut self, want: Want, caller: Caller) -> Option<Held> {
        let slot = self.full + self.slots[self.full..].iter().position(|h| h.range.len() == 0)?;
        self.full = slot + 1;
        let hold = &mut self.slots[slot];
        *hold = Hold {
            range: want.range,
            owner: thread::id(),
            frame: caller.frame,
            number: NUMBER.fetch_add(1, Relaxed).wrapping_add(1),
            write: want.write,
            vforked: caller.vforked,
        };
        let held = Held { slot: slot as u32, number: hold.number };
        self.end = self.end.max(slot + 1);
        COUNT.fetch_add(1, SeqCst);
        VFORKED.fetch_add(usize::from(caller.vforked), Release);
        Some(held)
    }

    fn end_of(&mut self, slot: usize) {
        self.slots[slot].range = ByteRange { start: 0, end: 0 };
        self.full = self.full.min(slot);
        VFORKED.fetch_sub(usize::from(self.slots[slot].vforked), Release);
        while self.end > 0 && self.slots[self.end - 1].range.len() == 0 {
            self.end -= 1;
        }
        COUNT.fetch_sub(1, SeqCst);
    }

    /// Ends what this thread has left behind: frames that it has jumped out of, and children of vfork that are gone.
    /// `mine`: what belongs to the same call as what comes.
    fn tidy(&mut self, caller: Caller, mine: &[Held]) -> bool {
        let me = thread::id();
        let left = |h: &Hold| {
            let older = h.frame <= caller.frame || h.vforked;
            h.owner == me && h.range.len() > 0 && older && !mine.iter().any(|m| m.number == h.number)
        };
        // A child of vfork has its parent's thread, which stands still in whatever frame it is in; and on a signal's own
        // stack a higher frame may be the later one.
        if caller.vforked || !self.used().iter().any(left) || signal::is_on_own_stack() {
            return false;
        }
        for slot in 0..self.end {
            if left(&self.slots[slot]) {
                self.end_of(slot);
            }
        }
        true
    }
}

/// Whether a child of vfork may have left something behind.
pub(crate) fn any_vforked() -> bool {
    VFORKED.load(Acquire) != 0
}

/// Ends what children of vfork have left behind that came from this thread. Not for such a child.
#[cold]
pub(crate) fn tidy_vforked() {
    let _blocked = Blocked::new();
    let me = thread::id();
    let mut table = TABLE.lock();
    for slot in 0..table.end {
        let h = table.slots[slot];
        if h.vforked && h.owner == me && h.range.len() > 0 {
            table.end_of(slot);
        }
    }
    drop(table);
    changed();
}

/// A hold that has to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    slot: u32,
    number: u32,
}

impl Held {
    /// None.
    pub const NONE: Held = Held { slot: u32::MAX, number: 0 };
}

/// Brings all of `wants` home, waiting for kernels that write them as a touch would, and holds them there; `held` has a
/// place for each. Those that are held already stay so unless something has to be waited for. On failure, what was not
/// held before is not.
pub(crate) fn take(wants: &[Want], caller: Caller, held: &mut [Held]) -> Result<()> {
    let new = held.iter().position(|h| *h == Held::NONE).unwrap_or(held.len());
    let mut first = new;
    loop {
        let (mine, held_now) = held.split_at_mut(first);
        let wants = &wants[first..];
        let blocked = Blocked::new();
        let stopped = enter(wants, caller, mine, held_now).map_err(Stop::Fail).and_then(|()| {
            // Entered before this look; who opens devices sends nothing before a look at what is entered.
            fence(SeqCst);
            if Devices::get().is_none() {
                return Ok(());
            }
            let chunks = wants.iter().flat_map(|w| w.range.chunks().map(|(at, part)| (at, part, w.write)));
            chunks.into_iter().try_for_each(|(at, part, write)| bring_home(at, part, write))
        });
        let Err(stop) = stopped else { return Ok(()) };
        match stop {
            Stop::Fail(e) => {
                end(&mut held[new..]);
                return Err(e);
            }
            Stop::Wait(b) if b.is_own() => {
                let addr = wants.first().map_or(0, |w| w.range.start);
                end(&mut held[new..]);
                return Err(Error::Busy { arg: "ptr", addr, why: "this thread acquired it for a device" });
            }
            Stop::Wait(b) => {
                end(held);
                first = 0;
                b.wait();
            }
        }
        drop(blocked);
    }
}

fn enter(wants: &[Want], caller: Caller, mine: &[Held], held: &mut [Held]) -> Result<()> {
    uffd::note_thread();
    let mut table = TABLE.lock();
    if COUNT.load(Relaxed) != 0 && table.tidy(caller, mine) {
        changed();
    }
    for (want, place) in wants.iter().zip(held) {
        *place = table.enter(*want, caller).ok_or(Error::Busy {
            arg: "ptr",
            addr: want.range.start,
            why: "too many system calls use managed memory at once",
        })?;
    }
    Ok(())
}

fn bring_home(at: HostAddr, part: ByteRange, write: bool) -> core::result::Result<(), Stop> {
    let Some(chunk) = table::get(at) else { return Ok(()) };
    let pages = PageMask::of(part);
    let g = Guard::lock(chunk, at);
    g.why.set(Why::Call);
    migrate::account_early(&g, true);
    let pages = pages & chunk.managed.get();
    // A kernel on a device that reads may go on, unless the pages are to be taken from under it.
    match inflight::blocker(part.pages_out(), Intent::Take { to: None }) {
        Some(b) => Err(Stop::Wait(b)),
        None => {
            migrate::to_host(&g, pages, write)?;
            migrate::make_present(&g, pages)?;
            migrate::settle_again(&g)?; // what could not be set before: no touch tells the kernel's access
            Ok(())
        }
    }
}

/// Ends holds.
pub(crate) fn end(held: &mut [Held]) {
    let _blocked = Blocked::new();
    let mut table = TABLE.lock();
    for one in held {
        let slot = core::mem::replace(one, Held::NONE);
        let is = |h: &Hold| h.number == slot.number && h.range.len() > 0;
        // It may have been tidied up, or forgotten with its block.
        if table.slots.get(slot.slot as usize).is_some_and(is) {
            table.end_of(slot.slot as usize);
        }
    }
    drop(table);
    changed();
}

fn changed() {
    RELEASES.fetch_add(1, SeqCst);
    if WAITERS.load(SeqCst) != 0 {
        futex::wake(&RELEASES, i32::MAX);
    }
}

/// A block is freed or disowned: nothing holds it any more.
pub(crate) fn forget(range: ByteRange) {
    if COUNT.load(SeqCst) == 0 {
        return;
    }
    let _blocked = Blocked::new();
    let mut table = TABLE.lock();
    for slot in 0..table.end {
        let held = table.slots[slot].range;
        if range.start <= held.start && held.end <= range.end && held.len() > 0 {
            table.end_of(slot);
        }
    }
    drop(table);
    changed();
}

/// A call that somebody has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocker {
    held: Held,
    owner: usize,
}

impl Blocker {
    /// Whether the calling thread is in that call, and waiting for it would never end. Signal-safe.
    pub(crate) fn is_own(&self) -> bool {
        self.owner == thread::id()
    }

    /// The thread that is in the call.
    pub(crate) fn owner(&self) -> usize {
        self.owner
    }

    /// Waits for it to end, or a moment. Holds no lock. Signal-safe.
    pub(crate) fn wait(&self) {
        WAITERS.fetch_add(1, SeqCst);
        let seen = RELEASES.load(SeqCst);
        let there = TABLE.lock().slots[self.held.slot as usize];
        if there.number == self.held.number && there.range.len() > 0 {
            futex::wait(&RELEASES, seen, Some(100_000_000));
        }
        WAITERS.fetch_sub(1, SeqCst);
    }
}

/// The first call that uses a page of `range` in a way that keeps the pages from going to a device: for a copy that leaves
/// the host's readable (`shared`) only one that writes, else any. The caller holds the lock of the chunk that the range is
/// in.
pub(crate) fn blocker(range: ByteRange, shared: bool) -> Option<Blocker> {
    if COUNT.load(SeqCst) == 0 {
        return None;
    }
    let mut table = TABLE.lock();
    let in_use = |h: &Hold| h.range.len() > 0 && h.range.pages_out().overlaps(range) && (h.write || !shared);
    let slot = table.used().iter().position(in_use)?;
    let hold = table.slots[slot];
    Some(Blocker { held: Held { slot: slot as u32, number: hold.number }, owner: hold.owner })
}

/// The pages of a chunk that calls are using. The caller holds the chunk's lock.
pub(crate) fn pages_in(chunk: HostAddr) -> PageMask {
    let mut held = PageMask::EMPTY;
    if COUNT.load(SeqCst) != 0 {
        let all = ByteRange { start: chunk.0, end: chunk.0 + CHUNK };
        for h in TABLE.lock().used().iter().filter(|h| h.range.len() > 0 && h.range.overlaps(all)) {
            let part = ByteRange { start: h.range.start.max(all.start), end: h.range.end.min(all.end) };
            held = held | PageMask::of(part);
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE;

    /// There is one table: who fills it is alone.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn alone() -> std::sync::MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wants(at: usize, write: bool) -> [Want; 1] {
        [Want { range: ByteRange { start: at, end: at + PAGE }, write }]
    }

    /// Frames that were jumped out of hold nothing once their thread asks again; frames above it do.
    #[test]
    fn what_was_left_behind_is_tidied_up() {
        let _alone = alone();
        // An address that nothing is managed at: only the table is used.
        let at = 0x1000_0000_0000;
        let (outer, inner) = (wants(at, true), wants(at + CHUNK, true));
        let is_held = |w: &[Want]| blocker(w[0].range, true).is_some();
        let frame = |frame| Caller { frame, vforked: false };
        let (mut a, mut b, mut c) = ([Held::NONE], [Held::NONE], [Held::NONE]);
        take(&outer, frame(5000), &mut a).unwrap();
        take(&inner, frame(4000), &mut b).unwrap(); // a signal handler's
        assert!(is_held(&outer) && is_held(&inner));
        take(&wants(at + 2 * CHUNK, false), frame(4500), &mut c).unwrap(); // after it jumped out
        assert!(is_held(&outer) && !is_held(&inner));
        // The end of what was tidied up does not end what has its slot now.
        let mut d = [Held::NONE];
        take(&inner, frame(4100), &mut d).unwrap();
        end(&mut b);
        assert!(is_held(&inner));
        end(&mut d);
        end(&mut c);
        // A child of vfork takes nothing from its parent; the parent goes on when the child has left.
        take(&inner, Caller { frame: 6000, vforked: true }, &mut b).unwrap();
        assert!(is_held(&outer) && is_held(&inner));
        take(&wants(at + 2 * CHUNK, false), frame(4500), &mut c).unwrap();
        assert!(is_held(&outer) && !is_held(&inner));
        end(&mut a);
        end(&mut c);
        assert!(!is_held(&outer));
    }

    #[test]
    fn readers_keep_only_writers_away() {
        let _alone = alone();
        let at = 0x1100_0000_0000;
        let mut held = [Held::NONE];
        take(&wants(at + 17, false), Caller { frame: 1, vforked: false }, &mut held).unwrap();
        let page = ByteRange { start: at + PAGE, end: at + 2 * PAGE }; // touched by its last 17 bytes
        assert_eq!(blocker(page, true), None);
        assert!(blocker(page, false).is_some_and(|b| b.is_own()));
        assert_eq!(pages_in(HostAddr(at)), PageMask::span(0, 2));
        end(&mut held);
        assert_eq!(blocker(page, false), None);
    }

    #[test]
    fn neighbours_are_one() {
        let at = 0x1300_0000_0000;
        let want = |start, len, write| Want { range: ByteRange { start, end: start + len }, write };
        let both = want(at + 100, 10, true).with(want(at + 2 * PAGE - 1, 1, true)).unwrap();
        assert_eq!((both.start(), both.end()), (at + 100, at + 2 * PAGE));
        assert_eq!(both.with(want(at, 8, true)), Some(want(at, 2 * PAGE, true)));
        assert_eq!(both.with(want(at, 8, false)), None);
        assert_eq!(both.with(want(at + 3 * PAGE, 8, true)), None);
    }

    #[test]
    fn a_full_table_holds_nothing() {
        let _alone = alone();
        let at = 0x1200_0000_0000;
        let many: Vec<Want> = (0..MOST + 1).map(|i| wants(at + i * PAGE, false)[0]).collect();
        let mut held = vec![Held::NONE; many.len()];
        let range = ByteRange { start: at, end: at + CHUNK };
        assert!(take(&many, Caller { frame: 1, vforked: false }, &mut held).is_err());
        assert_eq!(blocker(range, false), None);
    }
}
