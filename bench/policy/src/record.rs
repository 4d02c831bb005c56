//! Recordings of real runs (`HMMRT_TRACE`) as traces. The CPU's touches are those that faulted: under `HMMRT_POLICY=demand`
//! that is each page once between two launches, else all that came home with it. Kernels' times are from launch to when the
//! stream got there, the CPU's what lies between events and was not spent waiting.

use crate::trace::{Event, PAGE, PAGES, Touch, Trace, Use};
use hmmrt::policy::PageMask;
use hmmrt::trace::{Trace as Recording, What, Why};
use std::collections::BTreeMap;

const CHUNK: u64 = PAGE * PAGES;

/// What was recorded, as the lab's trace. Memory that was never used by a device has no part in it.
pub fn from(recording: &Recording) -> Trace {
    let mut trace =
        Trace { name: recording.program.clone(), device: 0, allocations: Vec::new(), events: Vec::new() };
    // Chunks by their address, in the order of their first appearance as part of an allocation.
    let mut number: BTreeMap<u64, usize> = BTreeMap::new();
    let mut add = |addr: u64, len: u64, trace: &mut Trace| {
        let fresh: Vec<u64> =
            (addr / CHUNK..(addr + len).div_ceil(CHUNK)).filter(|c| !number.contains_key(c)).collect();
        if let Some(first) = fresh.first() {
            let at = trace.chunks();
            debug_assert!(fresh.last().is_some_and(|l| l - first < fresh.len() as u64 || fresh.len() > 1));
            fresh.iter().enumerate().for_each(|(i, c)| {
                number.insert(*c, at + i);
            });
            trace.allocations.push((at, fresh.len()));
        }
        number[&(addr / CHUNK)]
    };
    let mut open: Vec<(u16, Use)> = Vec::new();
    let mut launched: BTreeMap<u16, (usize, u64)> = BTreeMap::new();
    let mut tickets: BTreeMap<(u16, u64), (usize, u64)> = BTreeMap::new();
    let (mut kernel, mut last) = (0, 0);
    for (i, event) in recording.events.iter().enumerate() {
        match event.what {
            What::Device { memory, .. } => trace.device = trace.device.max((memory / CHUNK) as usize),
            What::Begin { addr, len, .. } => {
                add(addr, len, &mut trace);
            }
            What::Acquire { addr, len, stream, mode, .. } => {
                let chunk = add(addr, len, &mut trace) as u64;
                let first = addr % CHUNK / PAGE;
                let pages = (addr % PAGE + len).div_ceil(PAGE);
                open.push((stream, Use::all(chunk * PAGES + first, pages, mode)));
            }
            What::Launch { stream, kernel: k, .. } => {
                kernel = k.into();
                launched.insert(stream, (trace.events.len(), event.time));
            }
            What::Release { stream, ticket, .. } => {
                let mine = open.extract_if(.., |(s, _)| *s == stream).map(|(_, u)| u).collect::<Vec<_>>();
                if !mine.is_empty() {
                    let begun = launched.remove(&stream).map_or(event.time, |(_, at)| at);
                    tickets.insert((stream, ticket), (trace.events.len(), begun));
                    trace.events.push(Event::Launch { kernel, uses: mine, ns: 0 });
                }
            }
            What::Reached { stream, ticket } => {
                let done: Vec<_> =
                    tickets.range((stream, 0)..=(stream, ticket)).map(|(k, v)| (*k, *v)).collect();
                for (key, (at, begun)) in done {
                    tickets.remove(&key);
                    if let Event::Launch { ns, .. } = &mut trace.events[at] {
                        *ns = event.time.saturating_sub(begun);
                    }
                }
            }
            What::Fault { addr, write, took, .. } => {
                // What came home with it is recorded just before.
                let came = recording.events[..i].iter().rev().take(4).find_map(|e| match e.what {
                    What::Home { addr: a, len, why: Why::Fault, .. }
                    | What::Taken { addr: a, len, why: Why::Fault }
                        if e.thread == event.thread && (a..a + len).contains(&addr) =>
                    {
                        Some((a, len))
                    }
                    _ => None,
                });
                let (at, len) = came.unwrap_or((addr & !(PAGE - 1), PAGE));
                let chunk = add(at, len, &mut trace);
                let first = (at % CHUNK / PAGE) as usize;
                let pages = PageMask::span(first, (len.div_ceil(PAGE) as usize).min(PAGES as usize - first));
                let touch = if write { Touch::Update } else { Touch::Read };
                // The program's own time since the last event goes to the touch before.
                let own = event.time.saturating_sub(took).saturating_sub(last);
                if let Some(Event::Cpu { ns, .. }) = trace.events.last_mut() {
                    *ns += own;
                }
                trace.events.push(Event::Cpu { chunk, pages, touch, ns: 0 });
            }
            _ => {}
        }
        last = event.time;
    }
    trace
}
