//! The whole runtime over the stand-in, on the host backend: what `runtime/tests/` does with touches that fault, here with a
//! CPU that asks for the protection and calls the fault path itself. So Miri can follow the heap, the table, migrations both
//! ways, eviction, pins and streams, with real threads.

use super::may;
use crate::addr::{CHUNK, HostAddr, PAGE};
use crate::raw::{self, HMM_HOST, Protection};
use crate::sys::segv::{Cause, Touch, Verdict};
use crate::{
    AccessMode, Advice, Backend, Config, KernelId, LaunchArg, LaunchConfig, PolicyChoice, StreamId, fault,
};
use core::ffi::c_void;
use std::sync::{Mutex, MutexGuard};

/// Miri takes about a thousand times as long.
const STEPS: usize = if cfg!(miri) { 80 } else { 2000 };
const SIZES: [usize; 5] = [1, 10_000, 700_000, CHUNK + 9_000, 5 << 20];

/// One test at a time: each takes most of the device. It has two chunks fewer than the blocks.
fn start() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let config = Config {
        backend: Backend::Host,
        host_memory: 6 * CHUNK,
        // Nothing may move in the background: between a touch and what it is for, no fault would tell.
        policy: PolicyChoice::Chunk,
        ..Config::default()
    };
    let _ = raw::init(Some(config)); // the second finds it running
    turn
}

/// What the CPU does at a touch: the fault path, as long as the page's protection forbids it.
fn touch(at: *mut u8, len: usize, write: bool) {
    let touch = if write { Touch::Write } else { Touch::Read };
    let (first, end) = (at.addr(), at.addr() + len);
    for page in (first / PAGE * PAGE..end).step_by(PAGE) {
        let start = page.max(first);
        for tries in 0.. {
            if may(start, 1, write) {
                break;
            }
            assert!(tries < 100, "the fault is answered, and the page is not there");
            let verdict = fault::on_fault(HostAddr(start), touch, Cause::Protection);
            assert_eq!(verdict, Verdict::Resolved, "{start:#x}");
        }
    }
}

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }
}

/// A block, and what is to be in it.
struct Block {
    at: *mut u8,
    model: Vec<u8>,
}

impl Block {
    fn new(size: usize) -> Block {
        let block = Block { at: raw::malloc(size).unwrap(), model: vec![0; size] };
        block.write(0, size, 0); // that it is new does not say that it is zero
        block
    }

    fn part(&self, from: usize) -> *mut u8 {
        self.at.wrapping_add(from)
    }

    fn write(&self, from: usize, len: usize, value: u8) {
        touch(self.part(from), len, true);
        // SAFETY: inside the block, which only this thread and what it has launched use; the touch has waited for that.
        unsafe { self.part(from).write_bytes(value, len) }
    }

    fn check(&self, from: usize, len: usize) {
        touch(self.part(from), len, false);
        // SAFETY: as above.
        let bytes = unsafe { core::slice::from_raw_parts(self.part(from), len) };
        let wrong: Vec<usize> = (0..len).filter(|i| bytes[*i] != self.model[from + i]).collect();
        let first = wrong.first().map(|i| (from + i, bytes[*i], self.model[from + i]));
        assert!(
            wrong.is_empty(),
            "{} wrong bytes of {len} from {from} on: {first:x?} (is, should be)",
            wrong.len()
        );
    }

    fn free(self) {
        // SAFETY: not used any more.
        unsafe { raw::free(self.at).unwrap() };
    }
}

/// `p[i] += v`
///
/// # Safety
/// Launched with p, n and v; the n bytes are acquired, to be written.
unsafe extern "C" fn add(_: *const LaunchConfig, args: *const *mut c_void) {
    // SAFETY: launched with these three arguments, and the bytes are acquired.
    unsafe {
        let arg = |i: usize| *args.add(i);
        let p = arg(0).cast::<*mut u8>().read_unaligned();
        let (n, v) = (arg(1).cast::<u64>().read_unaligned(), arg(2).cast::<u8>().read());
        (0..n as usize).for_each(|i| *p.add(i) = (*p.add(i)).wrapping_add(v));
    }
}

struct World {
    rng: Rng,
    blocks: Vec<Block>,
    stream: StreamId,
    add: KernelId,
}

impl World {
    fn step(&mut self) {
        let b = self.rng.below(self.blocks.len());
        let size = self.blocks[b].model.len();
        let from = self.rng.below(size);
        let len = 1 + self.rng.below(size - from);
        let value = self.rng.below(256) as u8;
        let write = value.is_multiple_of(2);
        let device = if write { HMM_HOST } else { 0 };
        let what = self.rng.below(14);
        let block = &mut self.blocks[b];
        let at = block.part(from);
        match what {
            0 | 1 => {
                block.write(from, len, value);
                block.model[from..from + len].fill(value);
            }
            2 | 3 => block.check(from, len),
            4 | 5 => drop(raw::migrate(at, len, device).unwrap()),
            6 => {
                raw::prefetch(at, len, device, self.stream).unwrap();
                // The CPU here looks and then touches: nothing may leave in between.
                raw::stream_synchronize(self.stream).unwrap();
            }
            7 => {
                let n = len.min(4096); // a byte at a time
                self.launch(b, from, n, value);
            }
            8 => {
                let mode = if write { AccessMode::Write } else { AccessMode::Read };
                raw::host_ready(at, len, mode).unwrap();
                assert!(may(at.addr(), len, write), "ready, and not to be touched");
            }
            9 => {
                // SAFETY: the model forgets the bytes too.
                unsafe { raw::discard(at, len).unwrap() };
                let (start, end) = (at.addr().next_multiple_of(PAGE), (at.addr() + len) / PAGE * PAGE);
                if start < end {
                    let first = from + start - at.addr();
                    block.model[first..first + end - start].fill(0);
                }
            }
            10 => {
                raw::pin(at, len).unwrap();
                assert!(raw::migrate(at, len, 0).is_err() && may(at.addr(), len, true), "pinned");
                block.check(from, len);
                raw::unpin(at, len).unwrap();
            }
            11 => self.read_only(b),
            12 => {
                let advice =
                    [Advice::Random, Advice::UnsetPattern, Advice::ReadMostly, Advice::UnsetReadMostly];
                raw::advise(at, len, advice[usize::from(value) % 4], 0).unwrap();
            }
            _ => self.replace(b),
        }
    }

    fn launch(&mut self, b: usize, from: usize, n: usize, value: u8) {
        let block = &mut self.blocks[b];
        let (words, config) = (n as u64, LaunchConfig { stream: self.stream, ..LaunchConfig::default() });
        let args = [
            LaunchArg::Pointer { ptr: block.part(from), len: n, mode: AccessMode::ReadWrite },
            LaunchArg::Value { data: (&raw const words).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const value).cast(), size: 1 },
        ];
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(self.add, &config, &args).unwrap() };
        block.model[from..from + n].iter_mut().for_each(|byte| *byte = byte.wrapping_add(value));
    }

    /// The program's own protection: a write is its own segfault, wherever the pages are.
    fn read_only(&mut self, b: usize) {
        let block = &self.blocks[b];
        let size = block.model.len();
        // SAFETY: nobody writes the block meanwhile.
        unsafe { raw::protect(block.at, size, Protection::Read).unwrap() };
        raw::migrate(block.at, size, 0).unwrap();
        let verdict = fault::on_fault(HostAddr(block.at.addr()), Touch::Write, Cause::Protection);
        assert_eq!(verdict, Verdict::NotOurs);
        block.check(0, size);
        assert!(!may(block.at.addr(), 1, true));
        // SAFETY: as above.
        unsafe { raw::protect(block.at, size, Protection::ReadWrite).unwrap() };
    }

    /// Another block, or another length of the same.
    fn replace(&mut self, b: usize) {
        let new = SIZES[self.rng.below(SIZES.len())];
        if self.rng.below(2) == 0 {
            let old = std::mem::replace(&mut self.blocks[b], Block::new(new));
            old.check(0, old.model.len());
            return old.free();
        }
        let block = &mut self.blocks[b];
        let old = block.model.len();
        // What is at home is copied as the program would: without the CPU's faults it has to be there.
        touch(block.at, old, true);
        // SAFETY: the old pointer is forgotten.
        block.at = unsafe { raw::realloc(block.at, new).unwrap() };
        block.model.resize(new, 0);
        if new > old {
            block.write(old, new - old, 0);
        }
    }
}

#[test]
fn random_operations_match_plain_memory() {
    let _turn = start();
    for seed in [1, 2, 3] {
        let mut world = World {
            rng: Rng(seed),
            blocks: SIZES.iter().map(|size| Block::new(*size)).collect(),
            stream: raw::stream_create(0).unwrap(),
            // SAFETY: it does what each launch says.
            add: unsafe { raw::kernel_from_function(0, add).unwrap() },
        };
        (0..STEPS).for_each(|_| world.step());
        for block in world.blocks {
            block.check(0, block.model.len());
            block.free();
        }
        raw::stream_destroy(world.stream).unwrap();
    }
    let stats = raw::stats();
    let seen = [stats.faults, stats.bytes_to_device, stats.bytes_to_host, stats.evictions];
    assert!(cfg!(miri) || seen.iter().all(|n| *n > 0), "{seen:?}");
}

/// Threads whose blocks share chunks: each has its own bytes, and all meet at the chunks' locks, the heap and the pool.
#[test]
fn threads_share_chunks() {
    let _turn = start();
    std::thread::scope(|s| {
        for id in 0..3 {
            s.spawn(move || {
                let mut rng = Rng(id + 10);
                let mut block = Block::new(10_000);
                for round in 0..STEPS / 8 {
                    let (from, value) = (rng.below(10_000), round as u8);
                    block.write(from, 10_000 - from, value);
                    block.model[from..].fill(value);
                    raw::migrate(block.at, 10_000, if round % 3 == 0 { HMM_HOST } else { 0 }).unwrap();
                    block.check(0, 10_000);
                    if rng.below(8) == 0 {
                        std::mem::replace(&mut block, Block::new(10_000)).free();
                    }
                }
                block.free();
            });
        }
    });
}
