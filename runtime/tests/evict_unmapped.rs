//! A device is full, and chunks leave it while the program unmaps them. Whoever gets the addresses next keeps what he writes there.

mod common;

use common::Block;
use hmmrt::raw::{self, mapping};
use hmmrt::{Config, FaultEngine};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

const CHUNK: usize = 2 << 20;
const CHUNKS: usize = 6;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn map(at: usize, len: usize, flags: i32) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a new mapping, where nothing is.
    unsafe { libc::mmap(std::ptr::with_exposed_provenance_mut(at), len, RW, flags, -1, 0) }
        .expose_provenance()
}

fn words(at: usize) -> impl Iterator<Item = &'static AtomicUsize> {
    // SAFETY: memory that is mapped as long as the words are used.
    (0..CHUNK / 8).step_by(512).map(move |i| unsafe { &*std::ptr::with_exposed_provenance(at + i * 8) })
}

#[test]
fn what_is_unmapped_does_not_come_home() {
    // One copy takes 125 ms, so that the others see into it.
    let slow =
        Config { host_memory: 8 * CHUNK, host_bandwidth: 16 << 20, host_devices: 1, ..common::config() };
    raw::init(Some(Config { fault: FaultEngine::Segv, backend: hmmrt::Backend::Host, ..slow })).unwrap();
    raw::device_count().unwrap();
    let at = map(0, (CHUNKS + 1) * CHUNK, 0).next_multiple_of(CHUNK);
    let chunk = |c: usize| at + c * CHUNK;
    // SAFETY: a new mapping.
    assert!(unsafe { mapping::adopt(at, CHUNKS * CHUNK, RW) });
    (0..CHUNKS).flat_map(|c| words(chunk(c))).for_each(|w| w.store(0xdead, Relaxed));
    // In this order they leave: unmapping waits for the first, with those before it given up already.
    for c in [4, 1, 0, 2, 3, 5] {
        raw::migrate(std::ptr::with_exposed_provenance(chunk(c)), CHUNK, 0).unwrap();
    }
    let other = Block::new(CHUNKS * CHUNK);
    (0..other.words()).step_by(512).for_each(|i| other.word(i).store(1, Relaxed));
    let (over, wanted) = (AtomicBool::new(false), (other.ptr.expose_provenance(), other.len));
    std::thread::scope(|s| {
        let sends = s.spawn(move || raw::migrate(std::ptr::with_exposed_provenance(wanted.0), wanted.1, 0));
        // Two chunks fit. Then the first leaves, and has its lock meanwhile.
        let begun = Instant::now();
        while raw::stats().bytes_to_device < ((CHUNKS + 2) * CHUNK) as u64 {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(30));
        let taker = s.spawn(|| {
            let mut taken = Vec::new();
            while !over.load(SeqCst) && taken.len() < CHUNKS {
                for c in (0..CHUNKS).filter(|c| !taken.contains(c)).collect::<Vec<_>>() {
                    if map(chunk(c), CHUNK, libc::MAP_FIXED_NOREPLACE) == chunk(c) {
                        words(chunk(c)).for_each(|w| w.store(0xbeef, Relaxed));
                        taken.push(c);
                    }
                }
            }
            taken
        });
        // SAFETY: nobody uses it any more.
        unsafe { mapping::unmap(at, CHUNKS * CHUNK).unwrap() };
        let sent = sends.join().unwrap();
        assert!(sent.is_ok(), "{sent:?}");
        over.store(true, SeqCst);
        for c in taker.join().unwrap() {
            assert!(words(chunk(c)).all(|w| w.load(Relaxed) == 0xbeef), "chunk {c}");
        }
    });
    assert!((0..other.words()).step_by(512).all(|i| other.word(i).load(Relaxed) == 1));
}
