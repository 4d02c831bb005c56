//! A handler that waits for a thread which has acquired what it touches, and has interrupted who holds what that thread needs
//! next: the heap, the end of a shutdown.

use crate::common::{self, Block, kernels};
use crate::room::passes;
use crate::timers::{PAGES, SIGNALS, THREADS, Ticks, on_tick, ticked};
use crate::touch::install;
use hmmrt::raw;
use hmmrt::{Access, AccessMode, Error, LaunchArg, LaunchConfig};
use std::mem::ManuallyDrop;
use std::sync::Barrier;
use std::sync::atomic::Ordering::*;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// The pages that handlers write: their first words are counted.
fn pages() -> ManuallyDrop<Block> {
    let pages = ManuallyDrop::new(Block::new(THREADS * 4096));
    PAGES.store(pages.ptr.expose_provenance(), Relaxed);
    install(libc::SIGPROF, on_tick as *const () as usize, libc::SA_SIGINFO);
    pages
}

fn all_are_there(pages: &Block) {
    let counted: u64 = (0..pages.words()).map(|i| pages.word(i).load(Relaxed)).sum();
    let signals: u64 = SIGNALS.iter().map(|s| s.load(Relaxed)).sum();
    assert_eq!(counted, signals, "what handlers wrote");
}

fn written(b: &Block) -> Access {
    Access { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite }
}

/// Sends chunks to a full device with the heap locked.
fn with_the_heap() {
    let (kept, _more) = (Block::new(4 * MIB), Block::new(4 * MIB));
    let stream = raw::stream_create(0).unwrap();
    // SAFETY: nothing is written.
    unsafe { raw::acquire(0, stream, &[written(&kept)]).unwrap() };
    for chunk in 0..16 {
        assert!(raw::preload::stir(chunk << 32 | 4)); // all of it
    }
    raw::release(0, stream).unwrap();
}

/// Catches: who is told that there is no room asks the heap for it, which another has whose handler waits for that thread.
#[test]
fn who_finds_no_room() {
    if common::case().is_some() {
        return with_the_heap();
    }
    let one = [("HMMRT_HOST_MEMORY", "6M"), ("HMMRT_HOST_DEVICES", "1"), ("HMMRT_DOUBLE_MEMORY", "6M")];
    let way = [&one[..], &[("HMMRT_DOUBLE_DEVICES", "1"), ("HMMRT_DOUBLE_HINTS", "over")]].concat();
    passes(ticked("interrupted::who_finds_no_room", "heap", &way));
}

/// The thread that ends the runtime is interrupted while it waits for kernels; its handler touches what another has acquired.
fn beside_a_release() {
    let pages = pages();
    let rounds = (20.0 * common::scale()) as usize + 2;
    for round in 0..rounds {
        raw::init(None).unwrap();
        let slow = kernels::kernel(0, "test_slow_increment");
        let b = Block::new(64 << 10);
        let (words, ns) = (b.words() as u64 * 2, 100_000_000_u64);
        let value = |v: &u64| LaunchArg::Value { data: std::ptr::from_ref(v).cast(), size: 8 };
        let begin = Barrier::new(2);
        std::thread::scope(|s| {
            s.spawn(|| {
                let (stream, other) = (raw::stream_create(0).unwrap(), raw::stream_create(0).unwrap());
                let Access { ptr, len, mode } = written(&b);
                let pointer = LaunchArg::Pointer { ptr, len, mode };
                // SAFETY: no kernel uses it; the arguments are the kernel's.
                unsafe {
                    raw::acquire(0, stream, &[written(&pages)]).unwrap();
                    let config = LaunchConfig { stream: other, ..LaunchConfig::default() };
                    raw::launch(slow, &config, &[pointer, value(&words), value(&ns)]).unwrap();
                }
                begin.wait();
                std::thread::sleep(Duration::from_millis(30));
                let done = raw::release(0, stream);
                assert!(matches!(done, Ok(()) | Err(Error::Shutdown { .. })), "{done:?}");
            });
            begin.wait();
            let before = SIGNALS[0].load(Relaxed);
            let ticks = Ticks::every(100_000, 0);
            raw::shutdown().unwrap();
            common::until("a signal", || SIGNALS[0].load(Relaxed) > before);
            drop(ticks);
        });
        assert!((0..b.words()).all(|i| b.word(i).load(Relaxed) == 1 | 1 << 32), "round {round}");
        all_are_there(&pages);
    }
}

/// Catches: a shutdown whose handler waits for a release, which waits for the shutdown.
#[test]
fn who_ends_the_runtime() {
    if common::case().is_some() {
        return beside_a_release();
    }
    passes(ticked("interrupted::who_ends_the_runtime", "release", &[]));
}
