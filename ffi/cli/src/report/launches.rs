//! Launches: what each brought to its device, and how long that held it up. A launch is the ranges that a thread acquires, and
//! the moves into them, until it has them all; moves may be made by other threads that help.

use super::median;
use hmmrt::trace::{Event, What, Why};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// All launches.
#[derive(Serialize)]
pub struct Launches {
    pub count: usize,
    /// Those that could not have what they needed.
    pub failed: usize,
    /// Bytes copied to devices for them.
    pub copied: u64,
    /// By kernel, the longest stalls first.
    pub kernels: Vec<Kernel>,
}

/// The launches of one kernel.
#[derive(Serialize)]
pub struct Kernel {
    /// Its name; what was launched or acquired by other means is named by that.
    pub name: String,
    pub count: usize,
    /// Bytes copied for them.
    pub copied: u64,
    /// How long they waited until all was there, in all and in the middle.
    pub stall: u64,
    pub median_stall: u64,
    pub longest_stall: u64,
}

/// Launches that the program makes itself, by the driver's own function.
const OWN: &str = "(launched by the program)";
const ACQUIRE: &str = "(hmm_acquire)";

#[derive(Default)]
struct Pending {
    ranges: Vec<(u64, u64, u16)>,
    copied: u64,
}

struct Done {
    name: String,
    copied: u64,
    stall: u64,
}

impl Launches {
    pub fn new(events: &[Event]) -> Launches {
        let mut names: BTreeMap<u32, String> = BTreeMap::new();
        let mut pending: BTreeMap<u32, Pending> = BTreeMap::new();
        let mut done: Vec<Done> = Vec::new();
        let mut last: BTreeMap<u32, usize> = BTreeMap::new();
        let mut failed = 0;
        for event in events {
            match event.what {
                What::Kernel { kernel, name } => {
                    names.insert(kernel, name.to_string());
                }
                What::Acquire { addr, len, device, .. } => {
                    let range = (addr, addr.saturating_add(len), device);
                    pending.entry(event.thread).or_default().ranges.push(range);
                }
                What::Out { addr, len, device, copied, why: Why::Launch | Why::Acquire, .. } => {
                    let end = addr.saturating_add(len);
                    let meets = |r: &(u64, u64, u16)| r.0 < end && addr < r.1 && r.2 == device;
                    // A page that is asked for is sent as a whole: the thread's own, if it has asked for it.
                    let own = pending.get(&event.thread).is_some_and(|p| p.ranges.iter().any(meets));
                    let of = if own {
                        pending.get_mut(&event.thread)
                    } else {
                        pending.values_mut().find(|p| p.ranges.iter().any(meets))
                    };
                    if let Some(p) = of {
                        p.copied = p.copied.saturating_add(copied);
                    }
                }
                What::Acquired { why, took, failed: no, .. } => {
                    let p = pending.remove(&event.thread).unwrap_or_default();
                    last.remove(&event.thread);
                    if no {
                        failed += 1;
                        continue;
                    }
                    let name = if why == Why::Acquire { ACQUIRE } else { OWN }.to_owned();
                    last.insert(event.thread, done.len());
                    done.push(Done { name, copied: p.copied, stall: took });
                }
                What::Launch { kernel, .. } => {
                    if let Some(i) = last.remove(&event.thread) {
                        done[i].name =
                            names.get(&kernel).cloned().unwrap_or_else(|| format!("kernel {kernel}"));
                    }
                }
                _ => {}
            }
        }
        Launches {
            count: done.len(),
            failed,
            copied: done.iter().fold(0, |sum, d| sum.saturating_add(d.copied)),
            kernels: by_kernel(done),
        }
    }
}

fn by_kernel(done: Vec<Done>) -> Vec<Kernel> {
    let mut groups: BTreeMap<String, (u64, Vec<u64>)> = BTreeMap::new();
    for d in done {
        let group = groups.entry(d.name).or_default();
        group.0 = group.0.saturating_add(d.copied);
        group.1.push(d.stall);
    }
    let kernel = |(name, (copied, mut stalls)): (String, (u64, Vec<u64>))| Kernel {
        name,
        count: stalls.len(),
        copied,
        stall: stalls.iter().fold(0, |sum, s| sum.saturating_add(*s)),
        longest_stall: stalls.iter().copied().max().unwrap_or(0),
        median_stall: median(&mut stalls),
    };
    let mut kernels: Vec<Kernel> = groups.into_iter().map(kernel).collect();
    kernels.sort_by_key(|k| Reverse(k.stall));
    kernels
}
