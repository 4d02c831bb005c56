//! What kernels may be touching: one entry per range that a stream has acquired, until the stream has passed its release.
//! Acquire publishes here *before* it looks whether pages are resident; whoever changes residency holds the chunk's lock
//! and looks here *before* it changes anything. Both go through one lock, so one of the two always sees the other: a
//! change that meets an entry still being acquired marks it contested, and acquire looks again.
//!
//! Reached by the signal handler: signal-safe; holders of the lock touch no managed memory and have signals blocked.

use crate::addr::{ByteRange, CHUNK, HostAddr};
pub(crate) use crate::blocker::{Blocker, is_tired, wait_or_busy};
use crate::mask::PageMask;
use crate::stream::Stream;
use crate::sys::futex::{self, Locked};
use crate::sys::signal::Blocked;
use crate::sys::thread;
use crate::uffd;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Being looked at: everything may be resident already; nothing runs yet.
    Acquiring,
    /// Being made resident; nothing runs yet, but what the kernel will write is no longer given away.
    Settling,
    /// Acquired, not yet released: a kernel may be queued at any moment.
    Open,
    /// Released: done when the stream reaches the ticket.
    Released(u64),
}

#[derive(Clone, Copy)]
struct Use {
    range: ByteRange,
    owner: usize,
    phase: Phase,
    stream: u16,
    device: u8,
    write: bool,
    contested: bool,
    /// Made by `hmm_launch` for itself, and released by it.
    launch: bool,
    /// Its release failed, and its launch is over: the next release of the stream is its own, whoever makes it.
    left: bool,
    /// The last ticket that a mark may have had which is from before what the stream was given here.
    since: u64,
}

impl Use {
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Released(t) if Stream::slot(self.stream).timeline.has_reached(t))
    }
}

const MOST: usize = 16_384;

struct Registry {
    len: usize,
    uses: [core::mem::MaybeUninit<Use>; MOST],
}

static REGISTRY: Locked<Registry> =
    Locked::new(Registry { len: 0, uses: [const { core::mem::MaybeUninit::uninit() }; MOST] });
/// Entries there are, for the ways that skip the lock when there are none.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Changes whenever an open entry is released or given up.
static RELEASES: AtomicU32 = AtomicU32::new(0);
/// Threads in [`wait_for_release`]. In a child of fork it may count some that are not there: a call too much, no more.
static WAITING: AtomicU32 = AtomicU32::new(0);

impl Registry {
    fn all(&mut self) -> &mut [Use] {
        // SAFETY: the first `len` entries were written.
        unsafe { core::slice::from_raw_parts_mut(self.uses.as_mut_ptr().cast(), self.len) }
    }
    fn push(&mut self, u: Use) -> bool {
        if self.len == MOST {
            self.retain(|u| !u.is_over());
        }
        if self.len == MOST {
            return false;
        }
        self.uses[self.len].write(u);
        self.len += 1;
        true
    }
    fn retain(&mut self, keep: impl Fn(&Use) -> bool) {
        let mut i = 0;
        while i < self.len {
            if keep(&self.all()[i]) {
                i += 1;
            } else {
                self.len -= 1;
                self.uses[i] = self.uses[self.len];
            }
        }
    }
    fn publish_count(&self) {
        COUNT.store(self.len, SeqCst);
    }
}

/// What somebody is about to do with pages.
#[derive(Clone, Copy)]
pub(crate) enum Intent {
    /// Take them to the CPU, or to device `to`: meets kernels elsewhere that may write.
    Take { to: Option<usize> },
    /// Free them: meets every kernel.
    Forget,
    /// Write device `device`'s copy from outside, for `by`'s acquire if one needs it: meets every kernel there. With `in_order`
    /// only the stream's next kernel writes it, behind those before.
    Overwrite { device: usize, by: Option<Claimer>, in_order: bool },
}

/// Who acquires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimer {
    /// The stream's number.
    pub(crate) stream: u16,
    /// The thread, which others may help.
    pub(crate) owner: usize,
    /// Kernels of this stream that this thread has queued, and not released, have been waited for.
    pub(crate) waited: bool,
}

impl Claimer {
    /// This thread, on `stream`.
    pub(crate) fn new(stream: Stream) -> Claimer {
        Claimer { stream: stream.number, owner: thread::id(), waited: false }
    }
}

fn meets(u: &mut Use, intent: Intent) -> bool {
    let (foreign, relevant) = match intent {
        Intent::Take { to } => (Some(u.device as usize) != to, u.write),
        Intent::Overwrite { device, by, in_order } => {
            let is_its = |by: Claimer| by.stream == u.stream && (in_order || by.owner == u.owner);
            (!by.is_some_and(is_its), u.device as usize == device)
        }
        Intent::Forget => return !u.is_over(),
    };
    match (u.phase, intent) {
        (Phase::Acquiring, _) | (Phase::Settling, Intent::Overwrite { .. }) => {
            u.contested |= foreign;
            false
        }
        // What this thread has acquired before: its kernels may be reading still.
        (Phase::Open, Intent::Overwrite { by: Some(by), in_order: false, .. }) => {
            relevant && (foreign || !by.waited)
        }
        (Phase::Settling | Phase::Open, _) => relevant && foreign,
        (Phase::Released(_), Intent::Take { .. }) => relevant && foreign && !u.is_over(),
        (Phase::Released(_), _) => relevant && !u.is_over(),
    }
}

/// The first use of `range` that `intent` has to wait for. The caller holds the lock of the chunk that the range is in.
/// Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn blocker(range: ByteRange, intent: Intent) -> Option<Blocker> {
    if COUNT.load(SeqCst) == 0 {
        return None;
    }
    let mut registry = REGISTRY.lock();
    let u = registry
        .all()
        .iter_mut()
        .filter(|u| u.range.overlaps(range))
        .find_map(|u| meets(u, intent).then_some(*u))?;
    Some(match u.phase {
        Phase::Released(ticket) => Blocker::Queued { stream: u.stream, ticket },
        _ => Blocker::Open { stream: u.stream, owner: u.owner },
    })
}

/// Whether it is another thread's that will not hold it for long: a launch, or what is still being acquired.
pub(crate) fn is_brief(blocker: &Blocker, range: ByteRange) -> bool {
    let Blocker::Open { stream, owner } = *blocker else { return false };
    let is_it = |u: &Use| {
        let brief = u.launch && !u.left || matches!(u.phase, Phase::Acquiring | Phase::Settling);
        brief && (u.stream, u.owner) == (stream, owner) && u.range.overlaps(range)
    };
    !blocker.is_own() && REGISTRY.lock().all().iter().any(is_it)
}

/// Whether nothing is in use by any kernel. A look without the lock.
pub(crate) fn is_empty() -> bool {
    COUNT.load(SeqCst) == 0
}

/// The pages of a chunk that a kernel may be writing now. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn written_by_kernels(chunk: HostAddr) -> PageMask {
    let mut busy = PageMask::EMPTY;
    if COUNT.load(SeqCst) != 0 {
        let all = ByteRange { start: chunk.0, end: chunk.0 + CHUNK };
        for u in REGISTRY.lock().all().iter_mut().filter(|u| u.range.overlaps(all)) {
            if meets(u, Intent::Take { to: None }) {
                let part = ByteRange { start: u.range.start.max(all.start), end: u.range.end.min(all.end) };
                busy = busy | PageMask::of(part);
            }
        }
    }
    busy
}

/// Streams whose work has to be done first, each with the latest ticket.
pub(crate) type After = [(u16, u64); MOST_AFTER];
const MOST_AFTER: usize = 16;

/// One range of an acquire.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    /// The bytes.
    pub(crate) range: ByteRange,
    /// Whether the kernel may write them.
    pub(crate) write: bool,
}

/// Enters what `stream` is acquiring. Other streams' unfinished work on the same bytes, where one of the two writes, is
/// put into `after` (the number of entries is returned); work that nobody has released yet is an error (`Err(Some)`),
/// and so is a full table (`Err(None)`), with nothing entered.
pub(crate) fn publish(
    stream: Stream,
    launch: bool,
    claims: &[Claim],
    after: &mut After,
) -> core::result::Result<usize, Option<Blocker>> {
    uffd::note_thread();
    let mut registry = REGISTRY.lock();
    let mut waits = 0;
    for u in registry.all().iter() {
        // Two devices can't both own a page, two streams of one device can each write their part of it.
        let conflict = |c: &Claim| {
            let range = if u.device as usize == stream.device { c.range } else { c.range.pages_out() };
            (c.write || u.write) && u.range.overlaps(range)
        };
        if u.stream == stream.number || !claims.iter().any(conflict) || u.is_over() {
            continue;
        }
        let Phase::Released(ticket) = u.phase else {
            return Err(Some(Blocker::Open { stream: u.stream, owner: u.owner }));
        };
        match after[..waits].iter_mut().find(|(s, _)| *s == u.stream) {
            Some(entry) => entry.1 = entry.1.max(ticket),
            None if waits < MOST_AFTER => {
                after[waits] = (u.stream, ticket);
                waits += 1;
            }
            None => return Err(Some(Blocker::Queued { stream: u.stream, ticket })),
        }
    }
    for c in claims {
        let entered = registry.push(Use {
            range: c.range,
            owner: thread::id(),
            phase: Phase::Acquiring,
            stream: stream.number,
            device: stream.device as u8,
            write: c.write,
            contested: false,
            launch,
            left: false,
            since: 0,
        });
        if !entered {
            registry.retain(|u| !is_being_acquired(u, stream));
            registry.publish_count();
            return Err(None);
        }
    }
    registry.publish_count();
    Ok(waits)
}

/// Whether this thread is acquiring `u` on `stream`.
fn is_being_acquired(u: &Use, stream: Stream) -> bool {
    matches!(u.phase, Phase::Acquiring | Phase::Settling)
        && u.owner == thread::id()
        && u.stream == stream.number
}

/// What this thread is acquiring on `stream` is not all resident: from here on nobody takes away what it will write.
pub(crate) fn settle(stream: Stream) {
    let mut registry = REGISTRY.lock();
    for u in registry.all().iter_mut().filter(|u| is_being_acquired(u, stream)) {
        u.phase = Phase::Settling;
        u.contested = false;
    }
}

/// All of what this thread is acquiring on `stream` is resident: opens it, unless something contested it meanwhile
/// (then `false`: look again).
pub(crate) fn open(stream: Stream) -> bool {
    let mut registry = REGISTRY.lock();
    let mut mine = 0;
    for u in registry.all().iter().filter(|u| is_being_acquired(u, stream)) {
        if u.contested {
            return false;
        }
        mine += 1;
    }
    if mine > 0 {
        registry
            .all()
            .iter_mut()
            .filter(|u| is_being_acquired(u, stream))
            .for_each(|u| (u.phase, u.since) = (Phase::Open, stream.last_ticket()));
    }
    true
}

/// Gives up what this thread is acquiring on `stream`.
pub(crate) fn abandon(stream: Stream) {
    let mut registry = REGISTRY.lock();
    registry.retain(|u| !is_being_acquired(u, stream));
    registry.publish_count();
    drop(registry);
    changed();
}

/// Everything is over: the streams have been waited for (shutdown).
pub(crate) fn forget_all() {
    let _blocked = Blocked::new();
    let mut registry = REGISTRY.lock();
    registry.len = 0;
    registry.publish_count();
    drop(registry);
    changed();
}

/// What this thread's launches have opened on `stream` could not be released: the stream took no mark.
pub(crate) fn leave(stream: Stream) {
    let (me, since) = (thread::id(), stream.last_ticket());
    let is_it =
        |u: &&mut Use| u.launch && u.owner == me && u.stream == stream.number && u.phase == Phase::Open;
    REGISTRY.lock().all().iter_mut().filter(is_it).for_each(|u| (u.left, u.since) = (true, since));
}

/// What is open on `stream` is done when the stream reaches `ticket`: what this thread's launches opened there and others
/// [left](leave), and, unless it is `launches_only`, what `hmm_acquire` did. What has been opened, or left, since the ticket was
/// taken is none of its business.
pub(crate) fn release(stream: Stream, launches_only: bool, ticket: u64) {
    let me = thread::id();
    let mut registry = REGISTRY.lock();
    registry.retain(|u| !u.is_over());
    // From the end, so that what takes the place of an entry has been looked at.
    let mut near = registry.len;
    for i in (0..registry.len).rev() {
        let u = registry.all()[i];
        let ours = if u.launch { u.owner == me || u.left } else { !launches_only };
        if u.stream != stream.number || u.phase != Phase::Open || !ours || ticket <= u.since {
            continue;
        }
        // An earlier entry of the stream for the same bytes is covered by the later ticket. Who acquires the same
        // again and again finds each just before the last one.
        let all = registry.all();
        let same = |o: &Use| {
            o.stream == u.stream
                && matches!(o.phase, Phase::Released(_))
                && o.range == u.range
                && o.write == u.write
        };
        let near_at = near.min(all.len());
        match (0..near_at).rev().chain(near_at..all.len()).find(|k| same(&all[*k])) {
            Some(earlier) => {
                // Another thread may have taken its ticket after us, and have been here before.
                if let Phase::Released(t) = all[earlier].phase {
                    all[earlier].phase = Phase::Released(t.max(ticket));
                }
                near = earlier;
                registry.len -= 1;
                registry.uses[i] = registry.uses[registry.len];
            }
            None => all[i].phase = Phase::Released(ticket),
        }
    }
    registry.publish_count();
    drop(registry);
    changed();
}

/// Wakes who waits for a release. Whoever looks whether there is anybody has counted the release before, and whoever waits
/// has entered WAITING before it looks at the count: one of the two sees the other.
fn changed() {
    RELEASES.fetch_add(1, SeqCst);
    if WAITING.load(SeqCst) > 0 {
        futex::wake(&RELEASES, i32::MAX);
    }
}

/// Waits for what is open on `stream`, made by `owner`, to be released or given up, or a moment. Holds no lock. Signal-safe.
pub(crate) fn wait_for_release(stream: u16, owner: usize) {
    WAITING.fetch_add(1, SeqCst);
    let seen = RELEASES.load(SeqCst);
    let is_it = |u: &Use| u.stream == stream && u.owner == owner && !matches!(u.phase, Phase::Released(_));
    let still_open = REGISTRY.lock().all().iter().any(is_it);
    if still_open {
        futex::wait(&RELEASES, seen, Some(100_000_000));
    }
    WAITING.fetch_sub(1, SeqCst);
}

#[cfg(test)]
#[path = "inflight_tests.rs"]
mod tests;
