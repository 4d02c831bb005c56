//! `HMMRT_CHAOS=1`, a test aid: a background thread that keeps sending pages of live managed blocks to a device and home
//! again, at random, so that whatever a program does meets memory that is away.

use crate::settings;
use hmmrt_core::raw::preload as heap;
use std::time::Duration;

/// Starts the thread if it is wanted: the constructor.
pub fn start() {
    if !settings::chaos() {
        return;
    }
    // The devices are opened here, and with them the fault handler set: a child of vfork that is there when the thread
    // would do so has the handlers of before.
    heap::stir(0);
    let started = std::thread::Builder::new().name("hmmrt-chaos".into()).stack_size(256 << 10);
    // A process that may not have threads does without.
    let _ = started.spawn(run);
}

fn run() {
    heap::own_this_thread();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        // xorshift64, Marsaglia 2003.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let found = heap::stir(random);
        let pause = if found { random >> 40 & 127 } else { 1000 };
        std::thread::sleep(Duration::from_micros(pause));
    }
}
