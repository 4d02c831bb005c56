//! Device access: `hmm_acquire` and `hmm_release`. Acquire enters the ranges in `inflight`, looks whether they are
//! resident (a few loads per block, whatever its size), moves what is not, and then opens them. API context with
//! signals blocked.

use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::ahead;
use crate::chunk::Guard;
use crate::crew;
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::evict::{self, Room, Tries};
use crate::gate;
use crate::inflight::{self, Blocker, Claim, Claimer, Intent};
use crate::mask::PageMask;
use crate::migrate::{self, Moment, Outward, Probe, Stop};
use crate::policy;
use crate::span::{self, Span};
use crate::stream::Stream;
use crate::sys::signal::Blocked;
use crate::table;
use crate::trace::{self, What, Why};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a device (or the CPU) does with bytes (`hmm_access_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AccessMode {
    /// Only reads.
    Read = 1,
    /// Only writes, and writes all of them: the old bytes are given up and not copied in, but for those that another range of
    /// the same call reads.
    Write = 2,
    /// Reads and writes.
    ReadWrite = 3,
}

impl AccessMode {
    /// Whether it writes.
    pub fn writes(self) -> bool {
        self != AccessMode::Read
    }
}

/// A range that a device will access (`hmm_access`).
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// First byte, anywhere in managed memory.
    pub ptr: *const u8,
    /// How many bytes.
    pub len: usize,
    /// In which way.
    pub mode: AccessMode,
}

/// An acquired span and how it is used.
struct Wanted {
    span: Span,
    mode: AccessMode,
    launch: bool,
}

/// The ranges of one call.
struct Ranges {
    /// All of them: they stay where room is made.
    keep: Vec<ByteRange>,
    /// Those that are read.
    read: Vec<ByteRange>,
}

impl Ranges {
    fn of(wanted: &[Wanted]) -> Ranges {
        let range = |w: &Wanted| w.span.range;
        Ranges {
            keep: wanted.iter().map(range).collect(),
            read: wanted.iter().filter(|w| w.mode != AccessMode::Write).map(range).collect(),
        }
    }

    /// The pages of `part`, which is only written, whose old bytes do not matter: not those at its edges, which have bytes outside of
    /// it, and not what the call reads as another range.
    fn overwritten(&self, part: ByteRange) -> PageMask {
        let read = self.read.iter().filter(|r| r.overlaps(part));
        let read = read.map(|r| ByteRange { start: r.start.max(part.start), end: r.end.min(part.end) });
        read.fold(PageMask::inside(part), |pages, read| pages & !PageMask::of(read))
    }
}

/// Makes `accesses` resident on the stream's device and keeps them there until the release's place in the stream.
/// With `launch` it is for a launch, of the kernel of that number if it is known (else 0): then signals stay blocked until it
/// has been released, for a handler that touches what this thread has opened would wait for this thread.
pub(crate) fn acquire(
    devices: &Devices,
    stream: Stream,
    launch: Option<u64>,
    accesses: &[Access],
) -> Result<Blocked> {
    let begun = trace::now();
    let done = acquire_untraced(devices, stream, launch, accesses);
    let launch = launch.is_some();
    trace::record(|| {
        let (device, ranges, failed) = (stream.device as u16, accesses.len() as u64, done.is_err());
        let took = trace::since(begun);
        What::Acquired { why: why(launch), device, stream: stream.number, ranges, took, failed }
    });
    done
}

fn why(launch: bool) -> Why {
    if launch { Why::Launch } else { Why::Acquire }
}

fn acquire_untraced(
    devices: &Devices,
    stream: Stream,
    kernel: Option<u64>,
    accesses: &[Access],
) -> Result<Blocked> {
    let launch = kernel.is_some();
    let mut wanted = Vec::with_capacity(accesses.len());
    for a in accesses {
        let span = span::find(HostAddr::from(a.ptr), a.len, "accesses")?;
        if span.range.len() > 0 {
            trace::record(|| {
                let (addr, len) = trace::place(span.range);
                let (device, stream) = (stream.device as u16, stream.number);
                What::Acquire { addr, len, why: why(launch), device, stream, mode: a.mode }
            });
            wanted.push(Wanted { span, mode: a.mode, launch });
        }
    }
    let claims: Vec<Claim> =
        wanted.iter().map(|w| Claim { range: w.span.range, write: w.mode.writes() }).collect();
    let mut after = [(0, 0); 16];
    let mut waited = 0;
    loop {
        let mut lacks_room = false;
        let entered = {
            let blocked = Blocked::new();
            devices.at(stream.device).check_stream(stream.native())?;
            match inflight::publish(stream, launch, &claims, &mut after) {
                // Looked at behind entering it: who closes the gate sees this, or this the gate.
                Ok(_) if claims.iter().any(|c| c.write) && gate::is_closed() => {
                    inflight::abandon(stream);
                    Some(Blocker::Fork)
                }
                Ok(waits) => {
                    let stop = match open(devices, stream, &wanted, &after[..waits]) {
                        Ok(late) => {
                            note_uses(stream, kernel.unwrap_or(0), late, &wanted);
                            return Ok(blocked);
                        }
                        Err(stop) => stop,
                    };
                    inflight::abandon(stream);
                    match stop {
                        Stop::Fail(e) => return Err(e),
                        Stop::Wait(blocker) => {
                            lacks_room = true;
                            Some(blocker)
                        }
                    }
                }
                Err(blocker) => blocker,
            }
        };
        let addr = claims.first().map_or(0, |c| c.range.start);
        let Some(blocker) = entered else {
            return Err(Error::Busy { arg: "accesses", addr, why: "too many ranges are in use at once" });
        };
        let over = inflight::wait_or_busy(blocker, "accesses", addr, &mut waited);
        over.map_err(|e| if lacks_room { too_large(stream, &wanted) } else { e })?;
    }
}

fn too_large(stream: Stream, wanted: &[Wanted]) -> Error {
    evict::too_large(stream.device, &wanted.iter().map(|w| w.span.range).collect::<Vec<_>>())
}

/// For the choice of what leaves a device that is full, and of what moves before it is asked for.
fn note_uses(stream: Stream, kernel: u64, late: u32, wanted: &[Wanted]) {
    evict::note_uses(stream.device, wanted.iter().map(|w| (w.span.range, w.span.around)));
    ahead::launched(stream, kernel, late, wanted.iter().map(|w| (w.span.range, w.mode)));
}

/// Moves what is missing, and opens all. How many chunks of what is read were not there, as far as that is of interest.
/// `Wait`: there is room only once that is over, and it may be waiting for what this thread is acquiring.
fn open(
    devices: &Devices,
    stream: Stream,
    wanted: &[Wanted],
    after: &[(u16, u64)],
) -> core::result::Result<u32, Stop> {
    let device = devices.at(stream.device);
    for &(number, ticket) in after {
        device.wait(stream.native(), &Stream::slot(number).timeline, ticket)?;
    }
    if wanted.iter().all(|w| is_ready(w, stream.device)) && inflight::open(stream) {
        return Ok(0);
    }
    let all = Ranges::of(wanted);
    evict::check_size(devices, stream.device, &all.keep)?;
    let late = if policy::the().predicts() { late(stream.device, wanted) } else { 0 };
    let (mut probe, mut by) = (Probe::new("accesses"), Claimer::new(stream));
    inflight::settle(stream);
    policy::device_uses(all.keep.iter().copied());
    // What is only written comes last: its old bytes are given up, and what can fail or has to give way is better over by then.
    let in_turn = || {
        [false, true]
            .into_iter()
            .flat_map(|last| wanted.iter().filter(move |w| (w.mode == AccessMode::Write) == last))
    };
    let mut again = false;
    loop {
        for w in in_turn() {
            let done = if again { Vec::new() } else { send_ahead(stream, by, w, &all).0 };
            settle(devices, stream, &mut by, w, &done, &all, &mut probe)?;
        }
        if inflight::open(stream) {
            return Ok(late);
        }
        // Somebody came in between: every chunk is looked at again.
        again = true;
        inflight::settle(stream);
    }
}

/// How many chunks of what is read are not all on the device; more than a few are not counted.
fn late(device: usize, wanted: &[Wanted]) -> u32 {
    const ENOUGH: usize = 8;
    let lacks = |(at, part): &(HostAddr, ByteRange)| {
        !PageMask::of(*part).within(table::known(*at).copies[device].valid.get())
    };
    let read = wanted.iter().filter(|w| w.mode != AccessMode::Write);
    read.flat_map(|w| w.span.range.chunks()).filter(lacks).take(ENOUGH).count() as u32
}

/// Whether all of it is resident already. Its use has been published.
fn is_ready(w: &Wanted, device: usize) -> bool {
    let write = w.mode.writes();
    let mut at = w.span.range.start;
    while at < w.span.range.end {
        let chunk = table::known(HostAddr(at));
        let end = match chunk.ready_to(device, write) {
            Some(end) => end,
            None if w.span.range.len() > 8 * CHUNK && chunk.block().is_some() => return false,
            None => {
                let end = w.span.range.end.min(HostAddr(at).chunk_start().0 + CHUNK);
                if chunk.is_locked() || !chunk.ready(ByteRange { start: at, end }, device, write) {
                    return false;
                }
                end
            }
        };
        at = end;
    }
    true
}

/// Moves what is missing of a long range with the crew's help, and says which of its chunks are done, and whether any came. What fails,
/// or would have to wait, is left to [`settle`].
fn send_ahead(stream: Stream, by: Claimer, w: &Wanted, all: &Ranges) -> (Vec<AtomicBool>, bool) {
    let write = w.mode.writes();
    let is_missing = |at: HostAddr, part: ByteRange| !table::known(at).ready(part, stream.device, write);
    if w.span.range.len() < crew::WORTH_SHARING * CHUNK {
        return (Vec::new(), false);
    }
    let chunks: Vec<(HostAddr, ByteRange)> = w.span.range.chunks().collect();
    if chunks.iter().filter(|(at, part)| is_missing(*at, *part)).count() < crew::WORTH_SHARING {
        return (Vec::new(), false);
    }
    let came = AtomicBool::new(false);
    let done: Vec<AtomicBool> = chunks.iter().map(|_| AtomicBool::new(false)).collect();
    crew::share(chunks.len(), &|take| {
        let mut probe = Probe::new("accesses");
        while let Some(i) = take() {
            let (at, part) = chunks[i];
            let _blocked = Blocked::new();
            let g = Guard::lock(table::known(at), at);
            let comes = is_missing(at, part);
            if settle_chunk(&g, stream, by, w, all, part, &mut probe).is_err() {
                return;
            }
            done[i].store(true, Relaxed);
            if comes {
                came.store(true, Relaxed);
            }
        }
    });
    (done, came.into_inner())
}

/// Makes one range resident, chunk by chunk, but for what is `done`; where room has been made, again with the crew's help. If the
/// device is full, others than `all` leave it. Of two threads each of which has what the other needs room for, the one with the higher number gives up what it has claimed;
/// so does who needs the heap for it, and does not get it.
fn settle(
    devices: &Devices,
    stream: Stream,
    by: &mut Claimer,
    w: &Wanted,
    done: &[AtomicBool],
    all: &Ranges,
    probe: &mut Probe,
) -> core::result::Result<(), Stop> {
    let mut since = Vec::new();
    for (i, (at, part)) in w.span.range.chunks().enumerate() {
        let is_done = |of: &[AtomicBool]| of.get(i).is_some_and(|done| done.load(Relaxed));
        if is_done(done) || is_done(&since) {
            continue;
        }
        let chunk = table::known(at);
        let (mut waited, mut tries) = (0, Tries::default());
        loop {
            let moment = Moment::now(stream.device);
            let g = Guard::lock(chunk, at);
            match settle_chunk(&g, stream, *by, w, all, part, probe) {
                Ok(()) => break,
                Err(Stop::Fail(Error::DeviceMemory { .. })) => {
                    drop(g);
                    match tries.make_room(stream.device, &all.keep, moment) {
                        Room::Made => {
                            let came;
                            (since, came) = send_ahead(stream, *by, w, all);
                            if came {
                                tries = Tries::default();
                            }
                        }
                        Room::Wait(b) => inflight::wait_or_busy(b, probe.arg, part.start, &mut waited)?,
                        Room::Meet(b) if b.owner().is_none_or(|owner| owner < by.owner) => {
                            return Err(Stop::Wait(b));
                        }
                        Room::Meet(b) => inflight::wait_or_busy(b, probe.arg, part.start, &mut waited)
                            .map_err(|_| evict::too_large(stream.device, &all.keep))?,
                        Room::None => return Err(evict::too_large(stream.device, &all.keep).into()),
                    }
                }
                Err(Stop::Fail(e)) => return Err(e.into()),
                Err(Stop::Wait(Blocker::Open { stream: number, owner }))
                    if (number, owner, false) == (by.stream, by.owner, by.waited) =>
                {
                    // Kernels of this thread read the device's copy still, and new bytes do not come in the stream's order.
                    drop(g);
                    let ticket = stream.mark(devices.at(stream.device))?;
                    stream.slot.timeline.wait(ticket);
                    by.waited = true;
                }
                Err(Stop::Wait(blocker)) => {
                    drop(g);
                    inflight::wait_or_busy(blocker, probe.arg, part.start, &mut waited)?;
                    tries = Tries::default();
                }
            }
        }
    }
    Ok(())
}

fn settle_chunk(
    g: &Guard,
    stream: Stream,
    by: Claimer,
    w: &Wanted,
    all: &Ranges,
    part: ByteRange,
    probe: &mut Probe,
) -> core::result::Result<(), Stop> {
    g.why.set(why(w.launch));
    let pages = PageMask::of(part);
    if let Some(page) = (pages & !g.chunk.managed.get()).first() {
        return Err(Error::NotManaged { arg: probe.arg, addr: g.page(page).0 }.into());
    }
    probe.check(g, pages, w.mode.writes())?;
    let device = stream.device;
    let mut ask = |pages: PageMask, how| -> core::result::Result<(), Stop> {
        if !pages.is_empty() {
            migrate::to_device(g, pages, device, how, Some(by), w.span.around, probe)?;
        }
        Ok(())
    };
    match w.mode {
        AccessMode::Read => ask(pages, Outward::Share),
        AccessMode::ReadWrite => ask(pages, Outward::Own),
        AccessMode::Write => {
            let overwritten = all.overwritten(part);
            ask(pages & !overwritten, Outward::Own)?;
            ask(overwritten, Outward::Overwrite)
        }
    }
}

/// The device is done with what was acquired when the stream gets here: what `hmm_acquire` opened (not with `launch`),
/// and what launches of this thread did.
pub(crate) fn release(devices: &Devices, stream: Stream, launch: bool) -> Result<()> {
    release_with(&Blocked::new(), devices, stream, launch)
}

/// [`release`], where signals are blocked already.
pub(crate) fn release_with(_: &Blocked, devices: &Devices, stream: Stream, launch: bool) -> Result<()> {
    let marked = stream.mark(devices.at(stream.device));
    let ticket = marked.inspect_err(|_| {
        inflight::leave(stream);
        ahead::not_released(stream);
    })?;
    inflight::release(stream, launch, ticket);
    ahead::released(devices, stream);
    trace::record(|| {
        let (device, stream) = (stream.device as u16, stream.number);
        What::Release { why: why(launch), device, stream, ticket }
    });
    Ok(())
}

/// Waits until all that was queued on the stream is done.
pub(crate) fn synchronize(devices: &Devices, stream: Stream) -> Result<()> {
    let ticket = {
        let _blocked = Blocked::new();
        let ticket = stream.mark(devices.at(stream.device))?;
        // Launches whose release failed, of any thread: their kernels are before this mark.
        inflight::release(stream, true, ticket);
        ticket
    };
    stream.slot.timeline.wait(ticket);
    Ok(())
}

/// Waits until no kernel may be touching `range`: before memory is freed or disowned.
pub(crate) fn wait_until_unused(range: ByteRange, arg: &'static str) -> Result<()> {
    let mut waited = 0;
    loop {
        let blocker = {
            if inflight::is_empty() {
                return Ok(());
            }
            let _blocked = Blocked::new();
            inflight::blocker(range, Intent::Forget)
        };
        match blocker {
            None => return Ok(()),
            Some(b) => inflight::wait_or_busy(b, arg, range.start, &mut waited)?,
        }
    }
}
