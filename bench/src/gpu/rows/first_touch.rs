//! The first move of 512 MiB to the device, its memory made within the time, with groups of different sizes
//! (`HMMRT_DEVICE_GROUP`: how much is made and mapped by one set of driver calls). Against a plain allocation and a pinned copy.

use crate::Outcome;
use crate::report::{Peer, Row, Unit::Nanoseconds};
use crate::run::Run;
use crate::sizes::show;
use hmmrt_bench::managed::Block;
use hmmrt_bench::sample::{Samples, time_ns};

pub fn run(r: &mut Run, group: &str) -> Outcome {
    let (len, peer) = (r.sizes.first, r.peer);
    let pinned = peer.pinned(len)?;
    pinned.fill();
    let [mut sent, mut freed] = [const { Samples::new() }; 2];
    let mut against = Peer::new("device memory + pinned copy");
    let mut freed_peer = Peer::new("freeing device memory");
    for turn in r.turns() {
        let keep = turn > 0;
        let block = Block::filled(len)?;
        let mut moved = Ok(0);
        let ns = time_ns(|| moved = block.migrate(r.device));
        if moved? * hmmrt_bench::floors::PAGE != len {
            return Err("not all pages moved".into());
        }
        let freed_ns = time_ns(|| drop(block));
        if keep {
            sent.push(ns);
            freed.push(freed_ns);
        }
        let mut given_back = 0.0;
        against.turn(keep, || {
            let mut memory = None;
            let mut result = Ok(());
            let ns = time_ns(|| {
                result = peer.device_memory(len).and_then(|fresh| {
                    peer.copy_in(memory.insert(fresh), &pinned, len)?;
                    peer.synchronize()
                });
            });
            result?;
            given_back = time_ns(|| drop(memory));
            Ok(ns)
        });
        freed_peer.turn(keep, || Ok(given_back));
    }
    let what = format!("first move of {}, in groups of {group}", show(len));
    r.row(Row::new(&what, Nanoseconds, &sent, &against))?;
    r.row(Row::new(format!("{what}, hmm_free"), Nanoseconds, &freed, &freed_peer))
}
