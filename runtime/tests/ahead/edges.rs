//! Where launches are known, and yet: little of an input that is long, and an end that can't be told. Cases of `main`.

use crate::common::{Block, kernels};
use crate::{CHUNK, await_early, await_home, fill, home, launch, let_it_happen, read};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{AccessMode, LaunchArg, LaunchConfig, Page, StreamId, inject};
use std::sync::atomic::Ordering::Relaxed;

static EIGHT: u8 = 8;

/// Of a long input, so does what little the CPU has rewritten, wherever that is.
pub fn what_is_rewritten_of_an_input_goes_ahead() {
    const CHUNKS: usize = 24;
    let (x, y) = (Block::new(CHUNK), Block::new(CHUNKS * CHUNK));
    let [first, second] = ["test_slow_increment", "test_add_bytes"].map(|k| kernels::kernel(0, k));
    let (words, ns, none) = (1_u64, 50_000_000_u64, 0_u64);
    fill(&y, 6);
    for round in 0..10 {
        let chunk = [CHUNKS - 1, 14, 9][round % 3];
        raw::migrate(y.ptr.wrapping_add(chunk * CHUNK), CHUNK, HMM_HOST).unwrap();
        launch(first, &x, 0..1, AccessMode::ReadWrite, &[&words.to_ne_bytes(), &ns.to_ne_bytes()]);
        if round > 4 {
            let is_there = || y.pages().iter().all(|p| p.flags & Page::DEVICE != 0);
            await_early(|| format!("round {round}: chunk {chunk} does not go"), is_there);
        }
        launch(second, &y, 0..CHUNKS, AccessMode::Read, &[&none.to_ne_bytes(), &[0]]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    }
    (0..CHUNKS).for_each(|c| read(&y, c, 6));
}

/// What is expected after a launch whose end can't be told does not wait for another's.
pub fn where_the_end_is_not_known_nothing_is_waited_for() {
    let (x, b) = (Block::new(CHUNK), Block::new(6 * CHUNK));
    let [other, kernel] = ["test_add_word", "test_fill_bytes"].map(|k| kernels::kernel(0, k));
    let n = (6 * CHUNK) as u64;
    let fill = |v: u8| launch(kernel, &b, 0..6, AccessMode::ReadWrite, &[&n.to_ne_bytes(), &[v]]);
    let check = |v: u8| (0..b.words()).step_by(512).all(|i| b.word(i).load(Relaxed) as u8 == v);
    for v in 1..=6 {
        fill(v);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        assert!(check(v));
    }
    fill(7);
    await_home(&b, 3); // it is expected
    assert!(check(7));
    inject::arm("signal:1+").unwrap();
    let (ptr, len) = (b.ptr, b.len);
    let args = [
        LaunchArg::Pointer { ptr, len, mode: AccessMode::ReadWrite },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const EIGHT).cast(), size: 1 },
    ];
    // SAFETY: the arguments are the kernel's.
    let failed = unsafe { raw::launch(kernel, &LaunchConfig::default(), &args) };
    assert!(failed.is_err(), "its mark");
    inject::arm("").unwrap();
    launch(other, &x, 0..1, AccessMode::ReadWrite, &[]);
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    let_it_happen();
    assert_eq!(home(&b), [], "it does not come with the other's end");
    assert!(check(8));
}
