//! 1 GiB to the device and home: hmm_prefetch + hmm_stream_synchronize, against a pinned copy of the same length and
//! against managed memory that is prefetched. "First": the device's memory is made within the time, on every side (the
//! pinned buffer is there before, the managed block and ours are written by the CPU). Then again, every page dirty.

use crate::Outcome;
use crate::memory::{CPU, DeviceMemory, Managed, Pinned};
use crate::report::{Peer, Row, Unit::GigabytesPerSecond};
use crate::run::{OF_PINNED, Run};
use crate::sizes::show;
use hmmrt::{HMM_HOST, raw};
use hmmrt_bench::managed::Block;
use hmmrt_bench::sample::Samples;
use std::time::Instant;

/// Peers of one direction.
struct Against {
    pinned: Peer,
    managed: Peer,
}

impl Against {
    fn new(pinned: &'static str, managed: &'static str) -> Self {
        Self { pinned: Peer::new(pinned), managed: Peer::new(managed) }
    }
}

/// Bytes a nanosecond of `work`, which must have ended when it returns.
fn rate(len: usize, work: impl FnOnce() -> Outcome) -> Outcome<f64> {
    let start = Instant::now();
    work()?;
    Ok(len as f64 / start.elapsed().as_nanos().max(1) as f64)
}

/// Moves the whole block, checks where it is then.
fn ours(r: &Run, block: &Block, to: i32) -> Outcome<f64> {
    let rate = rate(block.len(), || {
        raw::prefetch(block.ptr(), block.len(), to, r.stream)?;
        Ok(raw::stream_synchronize(r.stream)?)
    })?;
    for offset in [0, block.len() / 2, block.len() - 1] {
        let (host, device) = block.valid(offset)?;
        if (to == HMM_HOST && !host) || (to != HMM_HOST && (host || !device)) {
            return Err(format!(
                "the page at {offset} is not where the prefetch to {to} should have brought it"
            )
            .into());
        }
    }
    Ok(rate)
}

pub fn run(r: &mut Run) -> Outcome {
    let (len, peer) = (r.sizes.big, r.peer);
    let pinned = peer.pinned(len)?;
    pinned.fill();
    let memory = peer.device_memory(len)?;
    let expected = pinned.sum(0, len);
    let [mut first, mut out, mut home] = [const { Samples::new() }; 3];
    let mut first_peers = Against::new("device memory + pinned copy", "managed, first prefetch");
    let mut out_peers = Against::new("pinned copy", "managed, prefetch");
    let mut home_peers = Against::new("pinned copy", "managed, prefetch");
    for turn in r.turns() {
        let keep = turn > 0;
        let block = Block::filled(len)?;
        let first_rate = ours(r, &block, r.device)?;
        let home_rate = ours(r, &block, HMM_HOST)?;
        if block.sum() != expected {
            return Err("the block came home with other bytes".into());
        }
        block.dirty();
        let out_rate = ours(r, &block, r.device)?;
        drop(block);
        if keep {
            first.push(first_rate);
            home.push(home_rate);
            out.push(out_rate);
        }

        first_peers.pinned.turn(keep, || {
            let mut fresh: Option<DeviceMemory> = None;
            rate(len, || copy_in(r, fresh.insert(peer.device_memory(len)?), &pinned, len))
        });
        out_peers.pinned.turn(keep, || rate(len, || copy_in(r, &memory, &pinned, len)));
        home_peers.pinned.turn(keep, || pinned_home(r, &memory, &pinned, len));

        let mut managed: Option<Managed> = None;
        first_peers.managed.turn(keep, || {
            let memory = managed.insert(peer.managed(len)?);
            memory.fill();
            rate(len, || prefetch(r, memory, r.device))
        });
        let Some(memory) = &managed else { continue };
        home_peers.managed.turn(keep, || rate(len, || prefetch(r, memory, CPU)));
        out_peers.managed.turn(keep, || {
            memory.dirty();
            rate(len, || prefetch(r, memory, r.device))
        });
    }
    let what = show(len);
    for (name, ours, peers, predicted) in [
        (format!("prefetch {what} to the device"), &out, &out_peers, "0.85 .. 0.95"),
        (format!("prefetch {what} to the device, first time"), &first, &first_peers, "0.7 .. 0.9"),
        (format!("prefetch {what} home"), &home, &home_peers, "0.4 .. 0.7: fresh pages"),
    ] {
        r.row(
            Row::new(&name, GigabytesPerSecond, ours, &peers.pinned).target(OF_PINNED).predicted(predicted),
        )?;
        r.row(Row::new(&name, GigabytesPerSecond, ours, &peers.managed))?;
    }
    Ok(())
}

/// The way home with a spare pool that holds the whole block: no page has to be found and zeroed.
pub fn home_warm(r: &mut Run) -> Outcome {
    let len = r.sizes.big.min(r.spare);
    let pinned = r.peer.pinned(len)?;
    pinned.fill();
    let expected = pinned.sum(0, len);
    let memory = r.peer.device_memory(len)?;
    let block = Block::filled(len)?;
    let (mut home, mut against) = (Samples::new(), Against::new("pinned copy", ""));
    for turn in r.turns() {
        block.migrate(r.device)?;
        let rate = ours(r, &block, HMM_HOST)?;
        if block.sum() != expected {
            return Err("the block came home with other bytes".into());
        }
        if turn > 0 {
            home.push(rate);
        }
        against.pinned.turn(turn > 0, || {
            copy_in(r, &memory, &pinned, len)?;
            pinned_home(r, &memory, &pinned, len)
        });
    }
    let what = format!("prefetch {} home, HMMRT_SPARE={}", show(len), show(r.spare));
    r.row(
        Row::new(what, GigabytesPerSecond, &home, &against.pinned).target(OF_PINNED).predicted("0.8 .. 0.95"),
    )
}

fn copy_in(r: &Run, to: &DeviceMemory, from: &Pinned, len: usize) -> Outcome {
    r.peer.copy_in(to, from, len)?;
    r.peer.synchronize()
}

fn pinned_home(r: &Run, from: &DeviceMemory, to: &Pinned, len: usize) -> Outcome<f64> {
    rate(len, || {
        r.peer.copy_out(to, 0, from, 0, len)?;
        r.peer.synchronize()
    })
}

fn prefetch(r: &Run, memory: &Managed, to: i32) -> Outcome {
    r.peer.prefetch(memory, to)?;
    r.peer.synchronize()
}
