//! Recordings of real runs (`HMMRT_TRACE`) as traces. The CPU's touches are those that faulted: under `HMMRT_POLICY=demand`
//! each page by itself, once between two launches, else all that came home with it. What was valid on the host is not in it:
//! reads of what both sides have, and touches of what no device has. Kernels' times are from when their stream
//! had nothing else to do to when it was done with them (`streams`), the CPU's what its threads did not wait (`own`). The
//! lab's trace has one thread and one stream: those of a recording follow each other in it.

mod own;
mod places;
mod streams;

use crate::trace::{Event, PAGE, PAGES, Touch, Trace, Use};
use hmmrt::policy::PageMask;
use hmmrt::trace::{Event as Recorded, Trace as Recording, What, Why};
use own::Own;
use places::Places;
use std::collections::BTreeMap;
use streams::Streams;

const CHUNK: u64 = PAGE * PAGES;

/// What a thread has acquired, or is acquiring, and a stream has not been given back.
struct Open {
    thread: u32,
    stream: u16,
    why: Why,
    acquired: bool,
    of: Use,
}

/// What was recorded, as the lab's trace. Memory that was never used by a device has no part in it.
pub fn from(recording: &Recording) -> Trace {
    let events = &recording.events;
    let places = Places::of((0..events.len()).filter_map(|i| place(events, i)));
    let mut trace = Trace {
        name: recording.program.clone(),
        device: 0,
        allocations: places.allocations(),
        events: Vec::new(),
    };
    let mut open: Vec<Open> = Vec::new();
    // The kernel that each thread has launched and not yet released, and since when.
    let mut launched: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    let (mut own, mut streams) = (Own::default(), Streams::of(events));
    for (i, event) in events.iter().enumerate() {
        let (thread, time) = (event.thread, event.time);
        own.sees(event);
        match event.what {
            What::Device { memory, .. } => trace.device = trace.device.max((memory / CHUNK) as usize),
            What::Acquire { addr, len, why, stream, mode, .. } if len > 0 => {
                compute(&mut trace, own.until(thread, time, time));
                let of = Use::all(places.page(addr), (addr % PAGE + len).div_ceil(PAGE), mode);
                open.push(Open { thread, stream, why, acquired: false, of });
            }
            What::Acquired { took, failed, .. } => {
                compute(&mut trace, own.until(thread, time.saturating_sub(took), time));
                let asked = |o: &Open| o.thread == thread && !o.acquired;
                if failed {
                    open.retain(|o| !asked(o));
                }
                open.iter_mut().filter(|o| asked(o)).for_each(|o| o.acquired = true);
            }
            What::Launch { kernel, .. } => {
                launched.insert(thread, (kernel, time));
            }
            What::Release { why, stream, ticket, .. } => {
                // The driver's time for a launch is not the program's.
                let begun = if why == Why::Launch { 0 } else { time };
                compute(&mut trace, own.until(thread, begun, time));
                // Launches are their thread's; what `hmm_acquire` has opened, anybody's on the stream.
                let ours = |o: &mut Open| {
                    let mine = o.thread == thread && (o.why == Why::Launch || why != Why::Launch);
                    o.stream == stream && (mine || o.acquired && o.why != Why::Launch && why != Why::Launch)
                };
                let uses: Vec<Use> = open.extract_if(.., ours).map(|o| o.of).collect();
                let (kernel, at) = launched.remove(&thread).unwrap_or((0, time));
                let ns = streams.ran(stream, ticket, at);
                if !uses.is_empty() {
                    trace.events.push(Event::Launch { kernel: kernel.into(), uses, ns });
                }
            }
            What::Fault { write, took, .. } => {
                compute(&mut trace, own.until(thread, time.saturating_sub(took), time));
                let Some((addr, len)) = place(events, i) else { continue };
                let (chunk, first) = (places.page(addr) / PAGES, (places.page(addr) % PAGES) as usize);
                let pages = PageMask::span(first, (len.div_ceil(PAGE) as usize).min(PAGES as usize - first));
                let touch = if write { Touch::Update } else { Touch::Read };
                trace.events.push(Event::Cpu { chunk: chunk as usize, pages, touch, ns: 0 });
            }
            _ => {}
        }
    }
    trace
}

/// The program's own time goes to the touch before it.
fn compute(trace: &mut Trace, own: u64) {
    match trace.events.last_mut() {
        Some(Event::Cpu { ns, .. }) => *ns += own,
        _ if own == 0 => {}
        _ => {
            trace.events.push(Event::Cpu { chunk: 0, pages: PageMask::EMPTY, touch: Touch::Read, ns: own });
        }
    }
}

/// The memory that an event is about, if that is of interest: start and length.
fn place(events: &[Recorded], i: usize) -> Option<(u64, u64)> {
    match events[i].what {
        What::Begin { addr, len, .. } | What::Acquire { addr, len, .. } => Some((addr, len)),
        What::Fault { addr, .. } => {
            // What came home with it is recorded just before.
            let came = events[..i].iter().rev().take(4).find_map(|e| match e.what {
                What::Home { addr: a, len, why: Why::Fault, .. }
                | What::Taken { addr: a, len, why: Why::Fault }
                    if e.thread == events[i].thread && (a..a.saturating_add(len)).contains(&addr) =>
                {
                    Some((a, len))
                }
                _ => None,
            });
            came.or(Some((addr & !(PAGE - 1), PAGE)))
        }
        _ => None,
    }
}
