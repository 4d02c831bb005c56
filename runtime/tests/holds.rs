//! Memory that system calls use stays on the host for the call, and only as far as the call needs it; everybody who wants it
//! elsewhere waits, and nobody waits for each other.

mod common;

use common::{Block, Rng, scale, seed, two_devices};
use hmmrt::raw::preload::{self, Caller, Held};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Page, StreamId};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::Duration;

/// A call that uses ranges: holds them while it lives.
struct Call(Vec<Held>);

fn hold(ranges: &[(*const u8, usize, bool)]) -> Call {
    let here = 0_u8;
    let caller = Caller { frame: (&raw const here).addr(), vforked: false };
    let wants: Vec<_> = ranges.iter().map(|r| preload::want(r.0, r.1, r.2).expect("managed")).collect();
    let mut held = vec![Held::NONE; wants.len()];
    // One after the other, as the arguments of a call are looked at.
    for i in 0..wants.len() {
        assert!(preload::hold(&wants[..=i], caller, &mut held[..=i]));
    }
    Call(held)
}

impl Drop for Call {
    fn drop(&mut self) {
        preload::release(&mut self.0);
    }
}

fn where_is(b: &Block) -> u32 {
    b.pages().iter().fold(Page::HOST | Page::DEVICE, |all, p| all & p.flags)
}

#[test]
fn a_call_that_reads_leaves_the_device_its_copy() {
    let b = Block::new(3 << 20);
    b.word(0).store(7, Relaxed);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    let reads = hold(&[(b.ptr, b.len, false)]);
    assert_eq!(where_is(&b), Page::HOST | Page::DEVICE);
    let other = Block::new(1 << 20);
    let both = hold(&[(other.ptr, 100, false)]);
    let all = [b.ptr, other.ptr].map(|ptr| Access { ptr, len: 1 << 20, mode: AccessMode::Read });
    // SAFETY: nothing is given up.
    unsafe { raw::acquire(0, StreamId::DEFAULT, &all).unwrap() }; // does not wait
    raw::release(0, StreamId::DEFAULT).unwrap();
    drop((reads, both));
    drop(hold(&[(b.ptr, b.len, true)]));
    assert_eq!(where_is(&b), Page::HOST, "what the kernel wrote is not what the device has");
}

#[test]
fn others_wait_for_the_call() {
    let b = Block::new(2 << 20);
    b.word(0).store(7, Relaxed);
    let moves: [fn(&Block); 3] = [
        |b| assert_eq!(raw::migrate(b.ptr, b.len, 0).unwrap(), 512),
        |b| {
            let all = [Access { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite }];
            // SAFETY: nothing is given up.
            unsafe { raw::acquire(0, StreamId::DEFAULT, &all).unwrap() };
            raw::release(0, StreamId::DEFAULT).unwrap();
        },
        |b| {
            let all = [Access { ptr: b.ptr, len: b.len, mode: AccessMode::Read }];
            // SAFETY: as above.
            unsafe { raw::acquire(0, StreamId::DEFAULT, &all).unwrap() };
            raw::release(0, StreamId::DEFAULT).unwrap();
        },
    ];
    for (i, away) in moves.into_iter().enumerate() {
        let call = hold(&[(b.ptr, b.len, true)]);
        let done = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                away(&b);
                done.store(true, SeqCst);
            });
            std::thread::sleep(Duration::from_millis(100));
            assert!(!done.load(SeqCst), "{i}");
            assert_eq!(where_is(&b), Page::HOST, "{i}");
            assert!(preload::is_held(b.ptr, 1, 1000));
            drop(call);
        });
        assert!(done.load(SeqCst) && !preload::is_held(b.ptr, 1, 0));
        assert_eq!(where_is(&b) & Page::DEVICE, Page::DEVICE, "{i}");
    }
    // A hint does not wait.
    let call = hold(&[(b.ptr, 4096, true)]);
    raw::prefetch(b.ptr, b.len, 0, StreamId::DEFAULT).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    let places: Vec<u32> = b.pages().iter().map(|p| p.flags & (Page::HOST | Page::DEVICE)).collect();
    assert_eq!(places[..2], [Page::HOST, Page::DEVICE], "and takes what is not in use");
    drop(call);
    assert_eq!(b.word(0).load(Relaxed), 7);
}

/// Says so when it is dropped, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// The kernel's own accesses, in several threads, against everything that moves memory.
#[test]
fn races() {
    const WORDS: usize = 3 << 17; // two chunks, the second in part
    common::end_if_it_hangs();
    let blocks: Vec<Block> = [WORDS * 8, 64 << 10, WORDS * 8, 64 << 10].into_iter().map(Block::new).collect();
    let (over, rounds, seed) = (AtomicBool::new(false), AtomicUsize::new(0), seed());
    let (callers, least_rounds) = (2, (4000.0 * scale()) as usize);
    std::thread::scope(|s| {
        for t in 0..callers {
            let (blocks, over, rounds) = (&blocks, &over, &rounds);
            s.spawn(move || {
                let _over = Over(over);
                let mut rng = Rng(seed ^ (t as u64 + 1) << 32);
                let mut ends = [0; 2];
                // SAFETY: room for two descriptors.
                assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
                // This thread's own: a small block and a large one, used in either order.
                let mine = [&blocks[2 * t], &blocks[2 * t + 1]];
                // Until the others have moved enough, too: there are machines on which they have to wait for long.
                for round in (0..).take_while(|r| *r < least_rounds || raw::stats().moves_to_device <= 50) {
                    let (from, to) = (rng.below(2), rng.below(2));
                    let len = 8 * (1 + rng.below(2048));
                    let place = |b: &Block, r: &mut Rng| r.below((b.len - len) / 8 / 2 + 1);
                    let source = place(mine[from], &mut rng);
                    let target = (mine[to].len - len) / 8 - place(mine[to], &mut rng).min(source);
                    for i in [0, len / 8 - 1] {
                        mine[from].word(source + i).store(round as u64 * 1000 + i as u64, Relaxed);
                    }
                    // SAFETY: inside of the blocks.
                    let (source_at, target_at) =
                        unsafe { (mine[from].ptr.add(source * 8), mine[to].ptr.add(target * 8)) };
                    let held = hold(&[(source_at, len, false), (target_at, len, true)]);
                    // SAFETY: as above; a pipe takes 64 KiB.
                    unsafe {
                        assert_eq!(libc::write(ends[1], source_at.cast(), len), len as isize);
                        assert_eq!(libc::read(ends[0], target_at.cast(), len), len as isize, "{round}");
                    }
                    drop(held);
                    for i in [0, len / 8 - 1] {
                        let found = mine[to].word(target + i).load(Relaxed);
                        assert_eq!(found, round as u64 * 1000 + i as u64, "{round}");
                    }
                    rounds.fetch_add(1, Relaxed);
                    if rng.below(4) == 0 {
                        std::thread::yield_now(); // or nobody else has it ever
                    }
                }
                // SAFETY: our own.
                unsafe { (libc::close(ends[0]), libc::close(ends[1])) };
            });
        }
        for t in 0..2 {
            let (blocks, over) = (&blocks, &over);
            s.spawn(move || {
                let mut rng = Rng(seed ^ (t as u64 + 100) << 32);
                let devices = two_devices();
                let stream = raw::stream_create(devices[t]).unwrap();
                while !over.load(SeqCst) {
                    let b = &blocks[rng.below(blocks.len())];
                    match rng.below(4) {
                        0 => drop(raw::migrate(b.ptr, b.len, devices[rng.below(2)]).unwrap()),
                        1 => raw::migrate(b.ptr, b.len, HMM_HOST).map(|_| ()).unwrap(),
                        _ => {
                            // Two blocks at once, in either order: a launch that has one waits for the other.
                            let other = &blocks[rng.below(blocks.len())];
                            let mode = [AccessMode::Read, AccessMode::ReadWrite][rng.below(2)];
                            let access = |b: &Block| Access { ptr: b.ptr, len: b.len, mode };
                            // SAFETY: nothing is given up.
                            unsafe { raw::acquire(devices[t], stream, &[access(b), access(other)]).unwrap() };
                            raw::release(devices[t], stream).unwrap();
                        }
                    }
                }
                raw::stream_synchronize(stream).unwrap();
                raw::stream_destroy(stream).unwrap();
            });
        }
    });
    eprintln!("{} rounds of calls, {} moves", rounds.load(Relaxed), raw::stats().moves_to_device);
    // SAFETY: no alarm.
    unsafe { libc::alarm(0) };
}
