//! What the CPU writes again and again for a launch: it goes to the device behind the writer, and is taken from the device before it
//! writes. Cases of `main`.

use crate::common::{self, Block, kernels};
use crate::{CHUNK, WORDS, await_early, launch, let_it_happen, read};
use hmmrt::raw::{self, Advice, HMM_HOST};
use hmmrt::{AccessMode, KernelId, LaunchArg, LaunchConfig, Page, StreamId};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What a writer has left goes to the device behind it, if the next launch reads it.
pub fn what_is_written_goes_behind_the_writer() {
    let b = Block::new(8 * CHUNK);
    let kernel = kernels::kernel(0, "test_add_bytes");
    for round in 0..10 {
        for chunk in 0..8 {
            for i in (chunk * WORDS..(chunk + 1) * WORDS).step_by(512) {
                b.word(i).store(i as u64 ^ round, Relaxed);
            }
        }
        if round > 6 {
            let is_there = || b.pages()[3 * 512..4 * 512].iter().all(|p| p.flags & Page::DEVICE != 0);
            await_early(|| format!("round {round}: it does not go"), is_there);
        }
        launch(kernel, &b, 0..8, AccessMode::Read, &[&0_u64.to_ne_bytes(), &[0]]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        (0..8).for_each(|c| read(&b, c, round));
    }
}

/// What a launch reads, and the CPU fills again each time.
struct Refilled {
    source: Block,
    result: Block,
    copy: KernelId,
}

impl Refilled {
    fn new(chunks: usize) -> Refilled {
        let copy = kernels::kernel(0, "test_slow_copy");
        Refilled { source: Block::new(chunks * CHUNK), result: Block::new(chunks * CHUNK), copy }
    }
    fn fill_chunk(&self, chunk: usize, salt: u64) {
        (chunk * WORDS..(chunk + 1) * WORDS)
            .step_by(512)
            .for_each(|i| self.source.word(i).store(i as u64 ^ salt, Relaxed));
    }
    /// Copies the source on the device, which takes `ns`.
    fn launch(&self, ns: u64) {
        let (words, len) = (self.source.words() as u64 * 2, self.source.len);
        let args = [
            LaunchArg::Pointer { ptr: self.result.ptr, len, mode: AccessMode::Write },
            LaunchArg::Pointer { ptr: self.source.ptr, len, mode: AccessMode::Read },
            LaunchArg::Value { data: (&raw const words).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
        ];
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(self.copy, &LaunchConfig::default(), &args).unwrap() };
    }
    /// What the launch read.
    fn check(&self, salt: u64) {
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        (0..self.source.len / CHUNK).for_each(|c| read(&self.result, c, salt));
    }
    /// Which chunks of the source are also on the device.
    fn shared(&self) -> Vec<usize> {
        let pages = self.source.pages();
        (0..self.source.len / CHUNK).filter(|c| pages[c * 512].flags & Page::DEVICE != 0).collect()
    }
    fn await_shared(&self, chunks: &[usize], what: &str) {
        await_early(|| format!("{what}: {:?} are shared", self.shared()), || self.shared() == chunks);
    }
    /// Whether these, and no others, are shared within `most`.
    fn get_shared(&self, chunks: &[usize], most: Duration) -> bool {
        let begun = Instant::now();
        while self.shared() != chunks {
            if begun.elapsed() > most {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// What the CPU fills again after each launch is taken from the device before it does, but for some chunks: the touches of those
/// tell how far it has come, and what lies before them goes to the device. Once it is not written any more, nothing is taken.
pub fn what_is_filled_again_is_taken_ahead() {
    const CHUNKS: usize = 8;
    /// Each part is a third of what is left.
    const WIRES: [usize; 6] = [0, 2, 4, 5, 6, 7];
    let r = Refilled::new(CHUNKS);
    let all: Vec<usize> = (0..CHUNKS).collect();
    let (mut faults, mut missed, mut round) = (Vec::new(), Vec::new(), 0);
    let copied_for_launches = || raw::stats().launch_bytes_to_device as usize / CHUNK;
    // Where the threads in the background, or those that answer touches, have to wait for a processor, a round may not be taken for one
    // like the last: then the launch copies it, and it is learnt anew.
    let patience = Duration::from_secs(5);
    while round < 16 || missed.last() == Some(&round) {
        round += 1;
        let before = raw::stats();
        (0..CHUNKS).for_each(|c| r.fill_chunk(c, round));
        let counted = || (raw::stats().write_faults - before.write_faults) as usize;
        if round > 2 {
            // By those threads, which may come to it when the writer goes on already.
            common::until("the last fault's count", || counted() >= WIRES.len());
        }
        faults.push(counted());
        let sent = round == 1 || r.get_shared(&all[..CHUNKS - 1], patience);
        if sent && round > 1 {
            let early = raw::stats().ahead_bytes_to_device - before.ahead_bytes_to_device;
            assert_eq!(early as usize / CHUNK, CHUNKS - 1, "round {round}");
        }
        let copied = copied_for_launches();
        r.launch(20_000_000);
        let copied = copied_for_launches() - copied;
        let expected = if round > 1 { 1 } else { CHUNKS }; // only the last chunk waits for the launch
        assert!(copied == expected || !sent, "round {round}: {copied}");
        let taken = round <= 2 || r.get_shared(&WIRES, patience);
        if round > 2 {
            r.fill_chunk(1, round + 1); // the kernel goes on with what it was launched with
        }
        r.check(round);
        assert!(
            r.source.pages().iter().all(|p| p.flags & Page::HOST != 0),
            "nothing of it has left the host"
        );
        (2..CHUNKS).for_each(|c| read(&r.source, c, round));
        if !sent || !taken {
            missed.push(round);
            assert!(missed.len() < if common::is_messaged() { 12 } else { 4 }, "{missed:?} of {round}");
        }
    }
    // A chunk that had been taken is written without a fault.
    assert_eq!(faults[2..].iter().min(), Some(&WIRES.len()), "{faults:?}");
    // Not written any more: what was taken for nothing costs one launch its copies, and there is no more of it.
    let copied: Vec<usize> = (0..4)
        .map(|_| {
            let before = copied_for_launches();
            r.launch(0);
            raw::stream_synchronize(StreamId::DEFAULT).unwrap();
            let_it_happen();
            copied_for_launches() - before
        })
        .collect();
    assert_eq!(copied, [CHUNKS - WIRES.len(), 0, 0, 0]);
    assert_eq!(r.shared(), all);
    assert!(
        (WORDS..2 * WORDS).step_by(512).all(|i| r.result.word(i).load(Relaxed) == i as u64 ^ (round + 1)),
        "the chunk of one round more"
    );
    assert_eq!(raw::stats().errors, 0);
}

/// What is to stay on a device is not taken from it, nor what the program can't write.
pub fn what_is_to_stay_is_not_taken() {
    const CHUNKS: usize = 8;
    let r = Refilled::new(CHUNKS);
    let all: Vec<usize> = (0..CHUNKS).collect();
    let round = |n: u64| {
        (0..CHUNKS).for_each(|c| r.fill_chunk(c, n));
        if n > 1 {
            r.await_shared(&all[..CHUNKS - 1], "written");
        }
    };
    for n in 1..=6 {
        round(n);
        r.launch(0);
        r.check(n);
    }
    r.await_shared(&[0, 2, 4, 5, 6, 7], "launched");
    round(7);
    let at = |chunk: usize| r.source.ptr.wrapping_add(chunk * CHUNK);
    raw::advise(at(1), CHUNK, Advice::ReadMostly, HMM_HOST).unwrap();
    // SAFETY: no reference into it exists.
    unsafe { raw::protect(at(3), CHUNK, hmmrt::Protection::Read).unwrap() };
    r.launch(0);
    r.check(7);
    let_it_happen();
    assert_eq!(r.shared(), all);
}

/// A launch that has to wait for much of what the CPU fills was sent too late: each chunk is left closed then, to tell of the writer.
pub fn where_launches_wait_nothing_is_taken() {
    const CHUNKS: usize = 8;
    let r = Refilled::new(CHUNKS);
    let all: Vec<usize> = (0..CHUNKS).collect();
    for n in 1..=7 {
        (0..CHUNKS).for_each(|c| r.fill_chunk(c, n));
        if n > 1 {
            r.await_shared(&all[..CHUNKS - 1], "written");
        }
        if n == 7 {
            raw::migrate(r.source.ptr, r.source.len, HMM_HOST).unwrap(); // as if nothing had been sent
        }
        r.launch(0);
        match n {
            1 | 2 => {}
            7 => let_it_happen(),
            _ => r.await_shared(&[0, 2, 4, 5, 6, 7], "launched"),
        }
        r.check(n);
    }
    assert_eq!(r.shared(), all);
}
