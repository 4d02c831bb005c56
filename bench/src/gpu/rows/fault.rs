//! The CPU touches memory that is on the device, one place at a time: a whole chunk of 2 MiB is read, one byte of a chunk,
//! one byte of a page that comes home alone (advice Random). Against managed memory that was prefetched to the device.
//! Chunks in random order, each once a turn.

use crate::Outcome;
use crate::memory::Managed;
use crate::report::{Peer, Row, Unit::Nanoseconds};
use crate::run::Run;
use hmmrt::{Advice, HMM_HOST, Page, raw};
use hmmrt_bench::floors::{self, CHUNK, PAGE};
use hmmrt_bench::managed::Block;
use hmmrt_bench::sample::{Samples, time_ns};
use std::hint::black_box;

pub fn run(r: &mut Run) -> Outcome {
    let (chunks, len) = (r.sizes.chunks, r.sizes.chunks * CHUNK);
    let block = Block::filled(len)?;
    let pages = Block::filled(len)?;
    raw::advise(pages.ptr(), len, Advice::Random, r.device)?;
    let managed = r.peer.managed(len);
    let why = managed.as_ref().err().map(ToString::to_string);
    let new_peer = |name| why.clone().map_or_else(|| Peer::new(name), |why| Peer::none(name, why));
    let (mut whole_peer, mut touch_peer) =
        (new_peer("managed, all of it read"), new_peer("managed, one byte read"));
    if let Ok(memory) = &managed {
        memory.fill();
    }
    let [mut whole, mut touch, mut page] = [const { Samples::new() }; 3];
    for turn in r.turns() {
        let keep = turn > 0;
        let order = r.random.order(chunks);
        let offsets: Vec<usize> = order.iter().map(|&chunk| chunk * CHUNK + r.random.below(CHUNK)).collect();

        sent(r, &block)?;
        for &chunk in &order {
            let start = block.ptr().wrapping_add(chunk * CHUNK);
            // SAFETY: a chunk of the block, whose fault brings it home.
            let scan = || _ = black_box(unsafe { floors::scan(start, CHUNK) });
            let ns = time_ns(scan);
            if keep {
                whole.push(ns);
            }
        }
        sent(r, &block)?;
        let ns = block.touch(&offsets, false);
        sent(r, &pages)?;
        let page_ns = pages.touch(&offsets, false);
        for &offset in &offsets {
            let chunk = pages.pages(offset / CHUNK * CHUNK, CHUNK / PAGE)?;
            let home = chunk.iter().filter(|page| page.flags & Page::HOST != 0).count();
            if home != 1 {
                return Err(format!("advice Random: {home} pages of a chunk came home for one touch").into());
            }
        }
        if keep {
            touch.extend_ns(&ns);
            page.extend_ns(&page_ns);
        }

        let Ok(memory) = &managed else { continue };
        whole_peer.turns(keep, || {
            away(r, memory)?;
            let scan = |&chunk: &usize| time_ns(|| _ = black_box(memory.sum(chunk * CHUNK, CHUNK)));
            Ok(order.iter().map(scan).collect())
        });
        touch_peer.turns(keep, || {
            away(r, memory)?;
            Ok(memory.touch(&offsets).into_iter().map(|ns| ns as f64).collect())
        });
    }
    r.row(
        Row::new("one 2 MiB chunk comes home, all of it read", Nanoseconds, &whole, &whole_peer)
            .predicted("250 us"),
    )?;
    r.row(
        Row::new("one 2 MiB chunk comes home, one byte read", Nanoseconds, &touch, &touch_peer)
            .predicted("150 us")
            .note("the peer's brings less than the chunk home, ours all of it"),
    )?;
    r.row(
        Row::new("one 4 KiB page comes home, one byte read", Nanoseconds, &page, &touch_peer)
            .predicted("40 us")
            .note("advice Random; the other 511 pages are checked to be on the device still"),
    )
}

/// The whole block is on the device, and nowhere else.
fn sent(r: &Run, block: &Block) -> Outcome {
    block.migrate(HMM_HOST)?;
    block.migrate(r.device)?;
    match block.valid(0)? {
        (false, true) => Ok(()),
        _ => Err("the block is not on the device alone".into()),
    }
}

fn away(r: &Run, memory: &Managed) -> Outcome {
    r.peer.prefetch(memory, r.device)?;
    r.peer.synchronize()
}
