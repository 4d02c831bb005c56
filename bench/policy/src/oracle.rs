//! The oracle: knows the future, and nothing can be faster. A byte crosses the bus only if it must, as soon as it has its
//! value, in the order of need, in whatever pieces; what does not fit is replaced by Belady's rule, page by page.
//!
//! Why it is a bound: whatever is needed by a step must have crossed since it was made; each direction is one machine, and
//! doing the most urgent first is the earliest for every step at once. Misses for want of memory are as few as they can be
//! (Belady's rule is best for every beginning of the trace), and count as if their bytes could cross at any time before.
//! Giving up changed pages costs it nothing. So it is at most what the best schedule takes.
//!
//! The floor is the same for who learns by what happens, in a runtime whose launches return when their pages are there: nothing
//! of an allocation goes to a side before that side has used something of it for the first time; what comes home is put in place
//! after it has crossed, what goes is protected before.

use crate::bus::Bus;
use crate::costs::Costs;
use crate::replay::Outcome;
use crate::trace::{Event, PAGE, PAGES, Touch, Trace};
use hmmrt::AccessMode;
use hmmrt::policy::PageMask;
use std::collections::BTreeSet;

/// Who has a page's present bytes, and since when.
#[derive(Clone, Copy)]
struct Page {
    host: bool,
    device: bool,
    made: u64,
}

/// The least that the trace can take.
///
/// # Panics
/// If the device has no memory and a launch uses some.
pub fn oracle(trace: &Trace, costs: &Costs) -> Outcome {
    bound(trace, costs, false)
}

/// The least that it can take if nothing is known of an allocation before it is used, and launches wait for their pages.
///
/// # Panics
/// As [`oracle`].
pub fn floor(trace: &Trace, costs: &Costs) -> Outcome {
    bound(trace, costs, true)
}

fn bound(trace: &Trace, costs: &Costs, learns: bool) -> Outcome {
    let owners = trace.owners();
    // Since when it is known that the CPU, and a device, use an allocation.
    let mut known = vec![[if learns { None } else { Some(0) }; 2]; trace.allocations.len()];
    // Placing what has come, and protecting what goes, by as many as help: for each page by itself.
    let (place, protect) =
        if learns { (costs.place, costs.share.min(costs.send) / costs.crew.0) } else { (0, 0) };
    let misses = misses(trace);
    let mut pages = vec![Page { host: true, device: false, made: 0 }; trace.chunks() * PAGES as usize];
    let (mut to_device, mut to_host) = (Bus::default(), Bus::default());
    let (mut cpu, mut device) = (0, 0);
    let (mut fed, mut served) = (0, 0); // when the last needed byte is there
    let (mut bytes_out, mut bytes_home) = (0, 0);
    for (event, again) in trace.events.iter().zip(misses) {
        match event {
            // Nothing is learnt of who uses what.
            Event::Cpu { pages, ns, .. } if pages.is_empty() => cpu += ns,
            Event::Cpu { chunk, pages: mask, touch, ns } => {
                let mut start = cpu;
                let since = *known[owners[*chunk]][0].get_or_insert(cpu);
                let mut jobs: Vec<(u64, u64)> = Vec::new();
                for p in numbers(*chunk, *mask) {
                    let page = &mut pages[p];
                    start = start.max(if page.device && !page.host { page.made } else { 0 });
                    if !page.host && *touch != Touch::Overwrite {
                        add(&mut jobs, page.made.max(since));
                    }
                }
                for (release, n) in jobs {
                    served = served.max(to_host.work(release, costs.transfer(n * PAGE)) + costs.latency);
                    bytes_home += n * PAGE;
                    start = start.max(served + place);
                }
                cpu = start + ns;
                for p in numbers(*chunk, *mask) {
                    pages[p].host = true;
                    if *touch != Touch::Read {
                        pages[p] = Page { host: true, device: false, made: cpu };
                    }
                }
            }
            Event::Launch { uses, ns, .. } => {
                let mut jobs: Vec<(u64, u64)> = if again == 0 { Vec::new() } else { vec![(0, again)] };
                let touched: Vec<_> =
                    uses.iter().flat_map(|u| u.touched().into_iter().map(move |t| (u, t))).collect();
                for (u, (chunk, mask)) in &touched {
                    let since = *known[owners[*chunk]][1].get_or_insert(cpu);
                    for p in numbers(*chunk, *mask) {
                        if !pages[p].device && u.mode != AccessMode::Write {
                            add(&mut jobs, pages[p].made.max(since) + protect);
                        }
                        pages[p].device = true;
                    }
                }
                let mut start = cpu.max(device);
                for (release, n) in jobs {
                    fed = fed.max(to_device.work(release, costs.transfer(n * PAGE)) + costs.latency);
                    bytes_out += n * PAGE;
                    start = start.max(fed);
                    cpu = if learns && costs.launches_wait { cpu.max(fed) } else { cpu };
                }
                device = start + ns;
                for (u, (chunk, mask)) in touched {
                    numbers(chunk, u.changed(chunk, mask))
                        .for_each(|p| pages[p] = Page { host: false, device: true, made: device });
                }
            }
        }
    }
    Outcome { total: cpu.max(device), bytes_out, bytes_home, ..Outcome::default() }
}

fn add(jobs: &mut Vec<(u64, u64)>, release: u64) {
    match jobs.iter_mut().find(|j| j.0 == release) {
        Some(job) => job.1 += 1,
        None => jobs.push((release, 1)),
    }
}

fn numbers(chunk: usize, mask: PageMask) -> impl Iterator<Item = usize> {
    mask.runs()
        .flat_map(move |(first, count)| (first..first + count).map(move |p| chunk * PAGES as usize + p))
}

/// How many pages each event's launch has to fetch again because there was no room for them: the fewest.
fn misses(trace: &Trace) -> Vec<u64> {
    let room = trace.device * PAGES as usize;
    let count = trace.chunks() * PAGES as usize;
    let mut again = vec![0; trace.events.len()];
    if count <= room {
        return again;
    }
    // From the end: when each touch's page is used again by a device with the bytes that it has now.
    const NEVER: usize = usize::MAX;
    let mut next = vec![NEVER; count];
    let mut uses: Vec<Vec<(usize, bool, usize)>> = vec![Vec::new(); trace.events.len()];
    for (i, event) in trace.events.iter().enumerate().rev() {
        match event {
            Event::Cpu { chunk, pages, touch, .. } if *touch != Touch::Read => {
                numbers(*chunk, *pages).for_each(|p| next[p] = NEVER);
            }
            Event::Cpu { .. } => {}
            Event::Launch { uses: of, .. } => {
                for u in of {
                    for p in u.touched().into_iter().flat_map(|(chunk, mask)| numbers(chunk, mask)) {
                        let needs = u.mode != AccessMode::Write;
                        uses[i].push((p, needs, next[p]));
                        next[p] = if needs { i } else { NEVER };
                    }
                }
            }
        }
    }
    // From the start: Belady's rule. `had`: the bytes it has now were on the device.
    let (mut there, mut had) = (BTreeSet::new(), vec![false; count]);
    let mut key = vec![None; count];
    for (i, event) in trace.events.iter().enumerate() {
        if let Event::Cpu { chunk, pages, touch, .. } = event {
            if *touch != Touch::Read {
                for p in numbers(*chunk, *pages) {
                    had[p] = false;
                    if let Some(k) = key[p].take() {
                        there.remove(&(k, p));
                    }
                }
            }
            continue;
        }
        for &(p, needs, next) in &uses[i] {
            match key[p].take() {
                Some(k) => {
                    there.remove(&(k, p));
                }
                None => {
                    again[i] += u64::from(needs && had[p]);
                    if there.len() >= room {
                        let (_, victim) = there.pop_last().expect("there is room for something");
                        key[victim] = None;
                    }
                }
            }
            had[p] = true;
            key[p] = Some(next);
            there.insert((next, p));
        }
    }
    again
}
