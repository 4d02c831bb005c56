//! The stacks that handlers run on, and their ends.

use super::common::{self, Block};
use super::on_device;
use super::stack;
use hmmrt::raw::{self, HMM_HOST};
use std::sync::atomic::Ordering::*;

/// The fault path has to fit into the small alternate stacks that runtimes give their threads (8 KiB in Rust's), next
/// to the kernel's frame.
pub fn stack_use() {
    let b = on_device(8 << 20);
    let (used, frame) = stack::used_by(|| {
        b.word(0).load(Relaxed);
        b.word(0).store(1, Relaxed);
        b.word(1 << 18).store((1 << 18) + 1, Relaxed);
        raw::advise(b.ptr, b.len, hmmrt::Advice::Random, HMM_HOST).unwrap();
        b.word(1 << 19).load(Relaxed);
        // Where userfaultfd tells of touches, also of what was never there.
        let fresh = Block::new(8 << 20);
        raw::migrate(fresh.ptr, 4096, 0).unwrap();
        fresh.word(1 << 10).load(Relaxed);
        fresh.word(1 << 11).store(1, Relaxed);
        fresh.word(1 << 18).store(1, Relaxed);
        // The rest of a chunk, in which the program has protected pages itself.
        let guarded = Block::new(2 << 20);
        // SAFETY: nobody writes there.
        unsafe { raw::protect(guarded.ptr.wrapping_add(1 << 20), 8192, hmmrt::Protection::Read).unwrap() };
        raw::migrate(guarded.ptr, guarded.len, 0).unwrap();
        raw::migrate(guarded.ptr, 4096, HMM_HOST).unwrap();
        raw::advise(guarded.ptr, guarded.len, hmmrt::Advice::Sequential, HMM_HOST).unwrap();
        guarded.word(1 << 11).load(Relaxed);
    });
    assert!(used < frame + 4608, "more than `reserve` takes to be enough");
    assert!(if common::is_messaged() { used == 0 } else { (1000..8192).contains(&used) }, "{used} bytes");
}

pub fn overflow() {
    #[inline(never)]
    fn deeper(n: u64) -> u64 {
        let room = std::hint::black_box([n; 512]);
        if n == u64::MAX { 0 } else { deeper(n + 1) + room[n as usize % 512] }
    }
    std::hint::black_box(deeper(0));
}
