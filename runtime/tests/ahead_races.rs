//! Reading ahead while everything else goes on: threads read in order, write, move, launch, acquire, pin, free and allocate anew
//! the very ranges that are on their way home. Every word is known, so one that is torn, old, lost or somebody else's is seen.

mod common;

use common::{Block, Rng, kernels};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Config, LaunchArg, LaunchConfig, PolicyChoice, StreamId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

const CHUNK: usize = 2 << 20;
const WORDS: usize = CHUNK / 8;
/// One word of each page but for the first chunks' edges is enough: a page is moved as a whole.
const STEP: usize = 512;
/// Words of each page that have a writer.
const WRITERS: usize = 2;

/// Reads a shared block in order, some chunks of it; words only grow.
fn read_in_order(b: &Block, rng: &mut Rng, seen: &mut [u64], me: usize) {
    let first = rng.below(3);
    let count = 2 + rng.below(b.len / CHUNK - 3);
    for page in first * 512..(first + count).min(b.len / CHUNK) * 512 {
        for t in 0..WRITERS + 1 {
            let now = b.word(page * STEP + t).load(Relaxed);
            let before = &mut seen[page * (WRITERS + 1) + t];
            assert!(now >= *before, "reader {me}: word {t} of page {page} went back from {before} to {now}");
            *before = now;
        }
    }
}

/// Counts up words of its own, in order or here and there.
fn write(b: &Block, rng: &mut Rng, mine: &mut [u64], me: usize) {
    let pages = mine.len();
    let start = rng.below(pages);
    let step = [1, 1, 7, 300][rng.below(4)];
    for page in (start..pages).step_by(step).take(700) {
        let word = b.word(page * STEP + me);
        let old = word.load(Relaxed);
        assert_eq!(old, mine[page], "writer {me}: word of page {page}: a write was lost");
        mine[page] += 1;
        word.store(mine[page], Relaxed);
    }
}

/// Moves the block, or has a kernel count in word `WRITERS` of some page.
fn stir(b: &Block, rng: &mut Rng, stream: StreamId, kernel: hmmrt::KernelId, counts: &mut [u64]) {
    let chunks = b.len / CHUNK;
    let from = rng.below(chunks);
    let (ptr, len) = (b.ptr.wrapping_add(from * CHUNK), (1 + rng.below(chunks - from)) * CHUNK);
    match rng.below(9) {
        0..=3 => drop(raw::migrate(b.ptr, b.len, 0).unwrap()),
        4 => drop(raw::migrate(ptr, len, if rng.below(2) == 0 { HMM_HOST } else { 0 }).unwrap()),
        5 => raw::prefetch(ptr, len, if rng.below(2) == 0 { HMM_HOST } else { 0 }, stream).unwrap(),
        6 => {
            let mode = if rng.below(2) == 0 { AccessMode::Read } else { AccessMode::ReadWrite };
            // SAFETY: nothing is written by a device here.
            unsafe { raw::acquire(0, stream, &[Access { ptr, len, mode }]).unwrap() };
            raw::release(0, stream).unwrap();
        }
        7 => {
            raw::pin(ptr, len).unwrap();
            raw::unpin(ptr, len).unwrap();
        }
        _ => {}
    }
    let page = rng.below(counts.len());
    let ptr = b.ptr.wrapping_add((page * STEP + WRITERS) * 8);
    let args = [LaunchArg::Pointer { ptr, len: 8, mode: AccessMode::ReadWrite }];
    // SAFETY: the argument fits; nobody else writes the word.
    unsafe { raw::launch(kernel, &LaunchConfig { stream, ..LaunchConfig::default() }, &args).unwrap() };
    counts[page] += 1;
}

/// Blocks that are filled, sent away, read in order, and freed in the middle of it; the next has the same place.
fn recycle(rng: &mut Rng, round: u64) {
    let chunks = 3 + rng.below(6);
    let b = Block::new(chunks * CHUNK);
    let tag = |i: usize| i as u64 ^ round << 32;
    (0..b.words()).step_by(STEP).for_each(|i| b.word(i).store(tag(i), Relaxed));
    raw::migrate(b.ptr, b.len, 0).unwrap();
    let until = (1 + rng.below(chunks)) * WORDS;
    for i in (0..until).step_by(STEP) {
        assert_eq!(b.word(i).load(Relaxed), tag(i), "round {round}: word {i} of a block of {chunks} chunks");
    }
    match rng.below(4) {
        0 => {
            // SAFETY: the bytes are not needed any more.
            unsafe { raw::discard(b.ptr, b.len).unwrap() };
            assert!((0..b.words()).step_by(STEP).all(|i| b.word(i).load(Relaxed) == 0), "round {round}");
        }
        1 => {
            // SAFETY: the block is this thread's; it ends at its new place.
            let grown = unsafe { raw::realloc(b.ptr, b.len + CHUNK).unwrap() };
            let grown = Block { ptr: grown, len: b.len + CHUNK };
            let old = std::mem::ManuallyDrop::new(b);
            for i in (0..old.words()).step_by(STEP) {
                assert_eq!(grown.word(i).load(Relaxed), tag(i), "round {round}: word {i} after realloc");
            }
        }
        _ => {}
    }
}

/// Ends the other threads when one has found something.
struct StopAll<'a>(&'a AtomicBool);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn race(direct: bool, rounds: u64) {
    let policy = PolicyChoice::Auto;
    raw::init(Some(Config { host_direct: direct, policy, ..common::config() })).unwrap();
    let seed = common::seed();
    let b = Block::new(12 * CHUNK);
    let pages = b.len / 4096;
    let kernel = kernels::kernel(0, "test_add_word");
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let counts = std::thread::scope(|s| {
        let (b, stop, done) = (&b, &stop, &done);
        let readers: Vec<_> = (0..2)
            .map(|t| {
                s.spawn(move || {
                    let _stop = StopAll(stop);
                    let mut rng = Rng(seed + t);
                    let mut seen = vec![0; pages * (WRITERS + 1)];
                    while !stop.load(Relaxed) {
                        read_in_order(b, &mut rng, &mut seen, t as usize);
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|t| {
                s.spawn(move || {
                    let _stop = StopAll(stop);
                    let mut rng = Rng(seed ^ (t as u64 + 50));
                    let mut mine = vec![0; pages];
                    while !stop.load(Relaxed) {
                        write(b, &mut rng, &mut mine, t);
                    }
                    mine
                })
            })
            .collect();
        let mover = s.spawn(move || {
            let _stop = StopAll(stop);
            let mut rng = Rng(seed ^ 99);
            let stream = raw::stream_create(0).unwrap();
            let mut counts = vec![0; pages];
            while !stop.load(Relaxed) {
                stir(b, &mut rng, stream, kernel, &mut counts);
            }
            raw::stream_destroy(stream).unwrap();
            counts
        });
        let recycler = s.spawn(move || {
            let _stop = StopAll(stop);
            let mut rng = Rng(seed ^ 77);
            while !stop.load(Relaxed) && done.fetch_add(1, Relaxed) < rounds {
                recycle(&mut rng, done.load(Relaxed));
            }
        });
        recycler.join().unwrap();
        let counts = mover.join().unwrap();
        readers.into_iter().for_each(|r| r.join().unwrap());
        for (t, mine) in writers.into_iter().map(|w| w.join().unwrap()).enumerate() {
            for (page, n) in mine.iter().enumerate() {
                assert_eq!(b.word(page * STEP + t).load(Relaxed), *n, "word {t} of page {page} at the end");
            }
        }
        counts
    });
    for (page, n) in counts.iter().enumerate() {
        assert_eq!(b.word(page * STEP + WRITERS).load(Relaxed), *n, "the kernels' word of page {page}");
    }
    let s = raw::stats();
    eprintln!(
        "{rounds} rounds, {} faults, {} launches, {} MiB home, of them early {} used and {} wasted",
        s.faults,
        counts.iter().sum::<u64>(),
        s.bytes_to_host >> 20,
        s.prefetched_bytes_used >> 20,
        s.prefetched_bytes_wasted >> 20
    );
    drop(b);
    raw::shutdown().unwrap();
}

#[test]
fn every_word_is_right() {
    race(true, (1000.0 * common::scale()) as u64);
    race(false, (60.0 * common::scale()) as u64);
}
