//! Pages here and there that change sides round after round, the same ones each time.

use super::{CHUNK, WORDS, launch, let_it_happen};
use crate::common::{Block, kernels};
use hmmrt::raw;
use hmmrt::{AccessMode, Page, StreamId};
use std::sync::atomic::Ordering::Relaxed;

const CHUNKS: usize = 20;

/// Too many places in each chunk for faults one by one: in the end hardly anything else moves, either way (a chunk or two may, that are
/// looked at seldom). When the program then wants all of it, it gets all of it.
pub(super) fn what_is_touched_again_is_all_that_moves() {
    let b = Block::new(CHUNKS * CHUNK);
    let kernel = kernels::kernel(0, "test_add_word");
    let places = || (0..CHUNKS).flat_map(|c| (0..7).map(move |i| c * WORDS + (3 + 70 * i) * 512 + i));
    let (wanted, most) = (CHUNKS * 7 * 4096, CHUNKS * CHUNK / 4);
    let is_little = |moved: &[(usize, usize)]| {
        let [home, out] = [|m: &(usize, usize)| m.0, |m: &(usize, usize)| m.1].map(|way| {
            let mut all: Vec<usize> = moved.iter().map(way).collect();
            all.sort_unstable();
            all[all.len() / 2]
        });
        (wanted / 2..most).contains(&home) && out < most
    };
    let mut moved = Vec::new();
    let mut round = 0;
    // Chunks that came as a whole, where the threads were late, are looked at seldom: then it takes more rounds.
    while moved.len() < 60 || !is_little(&moved[moved.len() - 20..]) {
        assert!(moved.len() < 600, "{wanted}: {moved:?}");
        round += 1;
        let before = raw::stats();
        launch(kernel, &b, 0..CHUNKS, AccessMode::ReadWrite, &[]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        for i in places() {
            assert_eq!(b.word(i).fetch_add(1, Relaxed), round - 1, "word {i}");
        }
        let now = raw::stats();
        let (home, out) =
            (now.bytes_to_host - before.bytes_to_host, now.bytes_to_device - before.bytes_to_device);
        moved.push((home as usize, out as usize));
    }
    // What comes before it is touched is no more than that.
    let mut early = Vec::new();
    for _ in 0..8 {
        round += 1;
        launch(kernel, &b, 0..CHUNKS, AccessMode::ReadWrite, &[]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        let_it_happen();
        early.push(b.pages().iter().filter(|p| p.flags & Page::HOST != 0).count());
        for i in places() {
            assert_eq!(b.word(i).fetch_add(1, Relaxed), round - 1, "word {i}");
        }
    }
    early.sort_unstable();
    assert!(early[7] > 0 && early[4] < CHUNKS * 512 / 4, "{early:?}");
    assert_eq!(b.word(0).load(Relaxed), round);
    for _ in 0..3 {
        launch(kernel, &b, 0..CHUNKS, AccessMode::ReadWrite, &[]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        for i in (1..b.words()).step_by(512) {
            b.word(i).fetch_add(1, Relaxed);
        }
    }
    for i in (1..b.words()).step_by(512) {
        let before = if places().any(|p| p == i) { round } else { 0 };
        assert_eq!(b.word(i).load(Relaxed), before + 3, "word {i}");
    }
}
