//! Threads read and write, word by word, while others move the same pages between the host and two devices. Every word
//! has one writer and only grows, so a torn, stale, lost or zero word is seen by whoever reads it next.

mod common;

use common::{Block, Rng};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Config, LaunchArg, LaunchConfig, Page, StreamId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

const WRITERS: usize = 4;
/// By how much words grow. Words are even, and the first of a page that counts by ones is 0: docs/TESTING.md says what some
/// machines do to the first word of a page that looks like the entry of a page table.
const STEP: u64 = 2;
/// Words of a page.
const PAGE_WORDS: usize = 512;

/// The blocks all threads work on: whole chunks, odd sizes, small ones that share a chunk.
fn blocks() -> Vec<Block> {
    [2 << 20, 4 << 20, (2 << 20) + 40960, 1 << 20, 64 << 10, 12288, 4096].map(Block::new).into()
}

fn init(direct: bool) {
    raw::init(Some(Config { host_direct: direct, ..common::config() })).unwrap();
}

fn write_and_check(blocks: &[Block], me: usize, seed: u64, stop: &AtomicBool, checks: &AtomicU64) {
    let mut rng = Rng(seed);
    let mut mine: Vec<Vec<u64>> = blocks.iter().map(|b| vec![0; b.words()]).collect();
    let mut seen: Vec<Vec<u64>> = mine.clone();
    while !stop.load(Relaxed) {
        let b = rng.below(blocks.len());
        let start = rng.below(blocks[b].words());
        let mut checked = 0;
        for i in (start..blocks[b].words()).step_by(1 + rng.below(700)).take(300) {
            let word = blocks[b].word(i);
            if i % WRITERS == me {
                let old = word.load(Relaxed);
                if old != mine[b][i] {
                    let page = page_of(&blocks[b], i, me, &mine[b]);
                    panic!(
                        "own word {i} of block {b} is {old}, not {}: a write was lost or torn. {page}",
                        mine[b][i]
                    );
                }
                mine[b][i] += STEP;
                word.store(mine[b][i], Relaxed);
            } else {
                let now = word.load(Relaxed);
                assert!(now >= seen[b][i], "word {i} of block {b} went back from {} to {now}", seen[b][i]);
                seen[b][i] = now;
            }
            checked += 1;
        }
        checks.fetch_add(checked, Relaxed);
    }
    for (b, words) in mine.iter().enumerate() {
        for (i, expected) in words.iter().enumerate().filter(|(i, _)| i % WRITERS == me) {
            let now = blocks[b].word(i).load(Relaxed);
            if now != *expected {
                let page = page_of(&blocks[b], i, me, words);
                panic!("own word {i} of block {b} is {now} at the end, not {expected}. {page}");
            }
        }
    }
}

/// Has the others stop when it is dropped by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(std::thread::panicking() || self.0.load(Relaxed), Relaxed);
    }
}

/// What else is wrong around word `i`, as far as this writer can know: a page's content of another moment, or another page's,
/// is wrong in most words; a word alone is something else.
fn page_of(block: &Block, i: usize, me: usize, mine: &[u64]) -> String {
    let again = block.word(i).load(Relaxed);
    let first = i / PAGE_WORDS * PAGE_WORDS;
    let end = (first + PAGE_WORDS).min(block.words());
    let own: Vec<usize> = (first..end).filter(|w| w % WRITERS == me).collect();
    let wrong: Vec<_> = own.iter().map(|&w| (w - first, block.word(w).load(Relaxed), mine[w])).collect();
    let wrong: Vec<_> = wrong.into_iter().filter(|(_, now, expected)| now != expected).collect();
    format!(
        "Read again it is {again}; of this writer's {} words in the page at {:?}, in the order (word, is, should be), wrong are \
         {}: {:?}; the page's flags: {:?}",
        own.len(),
        core::ptr::from_ref(block.word(first)),
        wrong.len(),
        &wrong[..wrong.len().min(20)],
        block.pages()[first / PAGE_WORDS],
    )
}

fn one_move(blocks: &[Block], rng: &mut Rng, stream: [StreamId; 2]) {
    let b = &blocks[rng.below(blocks.len())];
    let whole = rng.below(2) == 0;
    let from = if whole { 0 } else { rng.below(b.len) };
    let len = if whole { b.len } else { 1 + rng.below(b.len - from) };
    // SAFETY: inside the block.
    let ptr = unsafe { b.ptr.add(from) };
    let (role, devices) = (rng.below(2), common::two_devices());
    let (device, stream) = (devices[role], stream[role]);
    match rng.below(9) {
        0..=2 => drop(raw::migrate(ptr, len, device).unwrap()),
        3 => drop(raw::migrate(ptr, len, HMM_HOST).unwrap()),
        4 => raw::prefetch(ptr, len, device, stream).unwrap(),
        5 => raw::prefetch(ptr, len, HMM_HOST, stream).unwrap(),
        6 => {
            // What is closed while it leaves or comes home is closed by nobody else.
            let mut pages = vec![Page::default(); len / 4096 + 2];
            raw::query(ptr, len, &mut pages).unwrap();
            let count = (ptr.addr() % 4096 + len).div_ceil(4096);
            let both = Page::READ | Page::WRITE;
            assert!(pages[..count].iter().all(|p| p.flags & both == both), "{:?}", &pages[..count]);
        }
        n => {
            let mode = if n == 7 { AccessMode::Read } else { AccessMode::ReadWrite };
            // SAFETY: nothing is written by a device here.
            unsafe { raw::acquire(device, stream, &[Access { ptr, len, mode }]).unwrap() };
            raw::release(device, stream).unwrap();
        }
    }
}

fn race(direct: bool, moves: u64) {
    init(direct);
    let seed = common::seed();
    let blocks = blocks();
    let (stop, moved, checks) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // Until the threads have met: there are machines on which some have to wait for long.
    let have_met = || raw::stats().faults > moves / 20 && checks.load(Relaxed) > 2 * moves;
    common::end_if_it_hangs();
    std::thread::scope(|s| {
        let (blocks, stop, moved, checks, have_met) = (&blocks, &stop, &moved, &checks, &have_met);
        let writers: Vec<_> = (0..WRITERS)
            .map(|t| {
                s.spawn(move || {
                    let _over = Over(stop);
                    write_and_check(blocks, t, seed + t as u64, stop, checks)
                })
            })
            .collect();
        let movers: Vec<_> = (0..2)
            .map(|t| {
                s.spawn(move || {
                    let _over = Over(stop);
                    let mut rng = Rng(seed ^ (t + 77));
                    let stream = common::two_devices().map(|d| raw::stream_create(d).unwrap());
                    while !stop.load(Relaxed) && (moved.fetch_add(1, Relaxed) < moves || !have_met()) {
                        one_move(blocks, &mut rng, stream);
                    }
                    stream.into_iter().for_each(|s| raw::stream_destroy(s).unwrap());
                })
            })
            .collect();
        movers.into_iter().for_each(|m| m.join().unwrap());
        stop.store(true, Relaxed);
        writers.into_iter().for_each(|w| w.join().unwrap());
    });
    let (stats, checks, moved) = (raw::stats(), checks.into_inner(), moved.into_inner());
    eprintln!("{moved} moves, {checks} checked words, {} faults, {} vmas", stats.faults, stats.vmas);
    drop(blocks);
    raw::shutdown().unwrap();
}

/// A kernel counts in one word of a page, the second, CPU threads in those behind it: an acquire that believes in a page which is leaving at
/// this moment loses counts.
fn kernels_and_cpu_share_pages(launches: u64) {
    init(true);
    let blocks = [Block::new(4096), Block::new(4 << 20)];
    let kernel = common::kernels::kernel(0, "test_add_word");
    let stop = AtomicBool::new(false);
    let counts: Vec<[u64; 2]> = std::thread::scope(|s| {
        let (blocks, stop) = (&blocks, &stop);
        let counters: Vec<_> = (2..4)
            .map(|t| {
                s.spawn(move || {
                    let mut n = [0, 0];
                    while !stop.load(Relaxed) {
                        let b = (n[0] + n[1]) as usize % 2;
                        blocks[b].word(t).fetch_add(1, Relaxed);
                        n[b] += 1;
                    }
                    n
                })
            })
            .collect();
        let stream = raw::stream_create(0).unwrap();
        for i in 0..launches {
            let b = &blocks[i as usize % 2];
            let word = b.word(1).as_ptr().cast::<u8>();
            let args = [LaunchArg::Pointer { ptr: word, len: 8, mode: AccessMode::ReadWrite }];
            // SAFETY: the argument fits.
            unsafe {
                raw::launch(kernel, &LaunchConfig { stream, ..LaunchConfig::default() }, &args).unwrap()
            };
        }
        raw::stream_destroy(stream).unwrap();
        stop.store(true, Relaxed);
        counters.into_iter().map(|c| c.join().unwrap()).collect()
    });
    for (b, block) in blocks.iter().enumerate() {
        assert_eq!(block.word(1).load(Relaxed), launches / 2, "counts of the kernels in block {b}");
        for (t, n) in counts.iter().enumerate() {
            assert_eq!(block.word(t + 2).load(Relaxed), n[b], "counts of thread {t} in block {b}");
        }
    }
    drop(blocks);
    raw::shutdown().unwrap();
}

#[test]
fn no_torn_stale_or_lost_word() {
    kernels_and_cpu_share_pages((20_000.0 * common::scale()) as u64 & !1);
    race(true, (100_000.0 * common::scale()) as u64);
    race(false, (10_000.0 * common::scale()) as u64);
}
