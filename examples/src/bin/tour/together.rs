//! Chapter 8: four CPU threads check and change the device's results while another thread sends the pages to and fro.
//!
//! Called by `main`. The threads take turns of 64 KiB, so that all of them are at work in every chunk that moves. Each
//! word must always be what its thread wrote last: a torn, stale or lost one is counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hmmrt::{ManagedVec, kernels, raw};

use crate::meter::Meter;
use crate::numbers::Results;
use crate::report::Report;
use crate::{Outcome, Tour, plain};

const THREADS: usize = 4;
/// Words of one turn: 64 KiB.
const TURN: usize = 16 << 10;
/// How often the mover moves something.
const MOVES: u64 = 500;
/// A map is drawn after so many moves.
const LOOK: u64 = 150;
/// Added to each word in each round; odd.
const STEP: u32 = 0x9E37_79B9;

/// A turn: the words in managed memory, and what they were at first, from plain code.
type Turn<'a> = (&'a mut [u32], &'a [u32]);

/// Runs the threads, then has the device look at what they left.
pub fn run(tour: &mut Tour, results: &mut Results) -> Outcome {
    tour.report.title("Four CPU threads change the results while a fifth moves them to and fro");
    tour.report.map("before", &results.managed)?;
    let meter = Meter::start();
    let words: &mut [u32] = bytemuck::cast_slice_mut(&mut results.managed);
    let first: &[u32] = bytemuck::cast_slice(&results.plain);
    let (base, len) = (words.as_ptr().expose_provenance(), size_of_val(words));
    let mut shares: [Vec<Turn>; THREADS] = Default::default();
    for (number, turn) in words.chunks_mut(TURN).zip(first.chunks(TURN)).enumerate() {
        shares[number % THREADS].push(turn);
    }
    let done = AtomicBool::new(false);
    let (rounds, wrong, moves) = thread::scope(|scope| {
        let workers = shares.map(|share| scope.spawn(|| work(share, &done)));
        let moves = mover(&tour.report, base, len);
        done.store(true, Ordering::Relaxed);
        let ended = workers.map(|worker| worker.join().unwrap_or((0, usize::MAX)));
        (ended.map(|(rounds, _)| rounds), ended.map(|(_, wrong)| wrong), moves)
    });
    let (moved, pages) = (meter.moved(), moves?);
    tour.report.map("after", &results.managed)?;
    tour.report.moved(&moved, rounds.iter().map(|&rounds| rounds as usize).sum::<usize>() * len / THREADS);
    println!("   {MOVES} moves, {pages} pages in all, meanwhile {rounds:?} rounds over the words");
    tour.report.check("no thread met a torn, stale or lost word", wrong == [0; THREADS]);

    let expected: Vec<u8> = first
        .iter()
        .enumerate()
        .flat_map(|(at, word)| after(*word, rounds[at / TURN % THREADS]).to_ne_bytes())
        .collect();
    let mut sum = ManagedVec::<u64>::zeroed(1)?;
    kernels::checksum(&tour.stream, &mut sum, bytemuck::cast_slice(&results.managed))?;
    tour.report.check("the device sees what the threads wrote", sum[0] == plain::checksum(&expected));
    tour.stream.synchronize()?;
    Ok(())
}

/// Goes over its words again and again until the mover is done. Rounds made, words that were wrong.
fn work(mut share: Vec<Turn>, done: &AtomicBool) -> (u32, usize) {
    let (mut round, mut wrong) = (0, 0);
    loop {
        for (words, first) in &mut share {
            for (word, &first) in words.iter_mut().zip(*first) {
                wrong += usize::from(*word != after(first, round));
                *word = after(first, round + 1);
            }
        }
        round += 1;
        if done.load(Ordering::Relaxed) {
            return (round, wrong);
        }
    }
}

fn after(first: u32, rounds: u32) -> u32 {
    first.wrapping_add(STEP.wrapping_mul(rounds))
}

/// Sends parts of the memory, any pages of it, to the devices and home; now and then it draws where the pages are. Pages
/// moved.
fn mover(report: &Report, base: usize, len: usize) -> hmmrt::Result<usize> {
    let memory = std::ptr::with_exposed_provenance::<u8>(base);
    let devices = raw::device_count()? as u64;
    let (mut moved, mut look) = (0, LOOK / 2);
    for number in 0..MOVES {
        // Any start, any length up to a quarter; two of three moves go to a device.
        let dice = plain::mix(number);
        let start = (dice >> 32) as usize % len;
        let part = (dice as u32 as usize % (len / 4) + 1).min(len - start);
        let to = if dice.is_multiple_of(3) { hmmrt::HMM_HOST } else { (number % devices) as i32 };
        moved += raw::migrate(memory.wrapping_add(start), part, to)?;
        if number >= look && to != hmmrt::HMM_HOST {
            report.map_at("meanwhile", memory, len)?;
            look += LOOK;
        }
    }
    Ok(moved)
}
