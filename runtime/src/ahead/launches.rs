//! What launches are followed by (`policy::Launches`), learnt and acted upon: what the CPU fetched behind a launch the last times
//! comes home when the launch ends, what the launch after it reads goes to the device while it runs, what the CPU fills again is taken
//! from the device before it writes, and what a writer has left goes behind it. Told of launches by `access`, of touches by the
//! fault path (signal-safe: `touched`, `written_behind`).

use super::queue::{Kind, Queue, THREADS, Way};
use super::{LENGTH, RUNNING, change, post, try_change};
use crate::access::AccessMode;
use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::device::{Devices, MAX_DEVICES};
use crate::policy::{self, Launches, Range};
use crate::stream::Stream;
use crate::sys::futex::Locked;
use crate::table;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// Holders touch no managed memory, and have signals blocked or are the signal handler. Taken after a chunk's lock, before the
/// queue's.
static LAUNCHES: [Locked<Launches>; MAX_DEVICES] = [const { Locked::new(Launches::new()) }; MAX_DEVICES];
/// The devices that have launched something: a bit each.
static LAUNCHED: AtomicU32 = AtomicU32::new(0);

/// Less than this comes home by touches as cheaply as by being fetched ahead of them, which wakes a thread.
const WORTH_FETCHING: u32 = 16;
/// So many pieces are worth it, however small.
const MANY: usize = 4;
/// The most ranges of one launch that are moved early.
const MOST: usize = 48;
const CHUNK_PAGES: u64 = (CHUNK / PAGE) as u64;

fn learners() -> impl Iterator<Item = (usize, &'static Locked<Launches>)> {
    let launched = LAUNCHED.load(Relaxed);
    LAUNCHES.iter().enumerate().filter(move |(d, _)| launched >> d & 1 != 0)
}

/// No device has launched anything. What its launches were followed by is still known when it does.
pub(super) fn forget() {
    LAUNCHED.store(0, Relaxed);
}

fn pages(range: ByteRange) -> Range {
    let out = range.pages_out();
    let pages = u32::try_from(out.len() / PAGE).unwrap_or(u32::MAX);
    Range { start: (out.start / PAGE) as u64, pages, write: false, read: false }
}

fn bytes(r: &Range) -> ByteRange {
    HostAddr(r.start as usize * PAGE).range(r.pages as usize * PAGE)
}

/// A few ranges, without an allocation.
struct Few {
    len: usize,
    of: [Range; MOST],
}

impl Few {
    fn new() -> Few {
        Few { len: 0, of: [Range::default(); MOST] }
    }
    fn push(&mut self, r: Range) {
        if let Some(slot) = self.of.get_mut(self.len) {
            *slot = r;
            self.len += 1;
        }
    }
    fn all(&self) -> &[Range] {
        &self.of[..self.len]
    }
}

/// `stream` has acquired `uses`, for the kernel of that number (0: not known); `late` chunks of what it reads were not there
/// before. Signals are blocked.
pub(crate) fn launched(
    stream: Stream,
    kernel: u64,
    late: u32,
    uses: impl Iterator<Item = (ByteRange, AccessMode)> + Clone,
) {
    if !policy::the().predicts() || !RUNNING.load(Relaxed) {
        return;
    }
    let ranges = uses.map(|(range, mode)| Range {
        write: mode.writes(),
        read: mode != AccessMode::Write,
        ..pages(range)
    });
    let (mut home, mut take, mut out) = (Few::new(), Few::new(), Few::new());
    let key = Launches::key(kernel, ranges.clone());
    LAUNCHED.fetch_or(1 << stream.device, Relaxed);
    {
        let mut learner = LAUNCHES[stream.device].lock();
        learner.late(late);
        // What is not read is home already.
        let to_cpu = |r: Range| if r.read { home.push(r) } else { take.push(r) };
        learner.launched(key, ranges.clone(), to_cpu, |r| out.push(r));
    }
    let all: u32 = home.all().iter().map(|r| r.pages).sum();
    let fetch = all >= WORTH_FETCHING || home.len >= MANY;
    // What this launch uses is there.
    let is_there = |r: &Range| {
        let covers =
            |u: Range| u.start <= r.start && r.start + u64::from(r.pages) <= u.start + u64::from(u.pages);
        ranges.clone().any(covers) || is_resident(bytes(r), stream.device)
    };
    let mut wanted = [false; THREADS];
    if LENGTH.load(Relaxed) != 0 || super::worker::is_busy() {
        change(|q| ranges.clone().for_each(|r| q.overtaken(bytes(&r))));
    }
    for r in take.all() {
        wanted[Way::Home as usize] |= change(|q| q.push(0, bytes(r), Kind::Take, None));
    }
    for r in out.all().iter().filter(|r| !is_there(r)) {
        wanted[Way::Out as usize] |=
            change(|q| q.push(0, bytes(r), Kind::Out { device: stream.device as u8, behind: false }, None));
    }
    for r in home.all().iter().filter(|_| fetch) {
        change(|q| q.push(0, bytes(r), Kind::Home { write: r.write }, Some(stream.number)));
    }
    Way::ALL.into_iter().filter(|way| wanted[*way as usize]).for_each(post);
}

/// Whether a device has what it would read of `range`: blocks as a whole where they say so, else chunk by chunk; where that would be
/// too many, as many all over it, with its last.
fn is_resident(range: ByteRange, device: usize) -> bool {
    let first = range.start / CHUNK;
    let mut sure = 0;
    sample(range.end.div_ceil(CHUNK) - first).map(|n| HostAddr((first + n) * CHUNK)).all(|at| {
        let part = ByteRange { start: range.start.max(at.0), end: range.end.min(at.0 + CHUNK) };
        let Some(chunk) = table::get(at).filter(|_| part.start >= sure) else { return true };
        match chunk.ready_to(device, false) {
            Some(end) => sure = end,
            None => return chunk.ready(part, device, false),
        }
        true
    })
}

/// The most chunks that are looked at, some 20 ns each.
const LOOK: usize = 512;

/// Which of `count` chunks to look at: all if they are few, else from the first to the last at one distance.
fn sample(count: usize) -> impl Iterator<Item = usize> {
    let looks = count.min(LOOK);
    (0..looks).map(move |i| i * count.saturating_sub(1) / looks.saturating_sub(1).max(1))
}

/// What `stream` had acquired could not be released: when its kernels end will not be known, and nothing waits for that.
pub(crate) fn not_released(stream: Stream) {
    if LENGTH.load(Relaxed) != 0 {
        change(|q| q.drop_behind(stream.number));
    }
}

/// What `stream` had acquired has been released: what is to come home then does when the stream gets here.
pub(crate) fn released(devices: &Devices, stream: Stream) {
    if LENGTH.load(Relaxed) == 0 || !change(|q| q.has_behind(stream.number)) {
        return;
    }
    let number = stream.number;
    let launch = change(Queue::release);
    let armed = move || {
        change(|q| q.arm(number, launch));
        Way::ALL.into_iter().for_each(post);
    };
    if devices.at(stream.device).callback(stream.native(), Box::new(armed)).is_err() {
        change(|q| q.drop_behind(number));
    }
}

/// The CPU touched pages that were not there for it; with `read` they came home, now or early. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn touched(range: ByteRange, write: bool, read: bool) {
    for (_, learner) in learners() {
        learner.lock().touched(Range { write, read, ..pages(range) });
    }
}

/// Whether who writes what a launch is to read has come to page `page` of the chunk at `at`, of the allocation `key`. What it has left can
/// go: as far as it was not seen to come, or (`one`) the chunk before. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn written_behind(key: u64, at: HostAddr, page: usize, one: bool) {
    let start = (at.0 / PAGE) as u64;
    for (device, learner) in learners() {
        let left = {
            let learner = learner.lock();
            learner.left_behind(start + page as u64).or_else(|| {
                let before = Range {
                    start: start.saturating_sub(CHUNK_PAGES),
                    pages: CHUNK_PAGES as u32,
                    ..Range::default()
                };
                (one && learner.next_reads(before.start, start)).then_some(before)
            })
        };
        let Some(left) = left else { continue };
        let kind = Kind::Out { device: device as u8, behind: true };
        if RUNNING.load(Relaxed) && try_change(|q| q.push(key, bytes(&left), kind, None)) == Some(true) {
            post(Way::Out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_looked_at_from_the_first_to_the_last() {
        for count in [0, 1, 2, 9, LOOK] {
            assert!(sample(count).eq(0..count), "{count}");
        }
        for count in [LOOK + 1, 3 * LOOK, 100_000] {
            let all: Vec<usize> = sample(count).collect();
            assert_eq!((all[0], all[LOOK - 1], all.len()), (0, count - 1, LOOK));
            assert!(all.windows(2).all(|w| w[1] > w[0] && w[1] - w[0] <= count / LOOK + 1), "{count}");
        }
    }
}
