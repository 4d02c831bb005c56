//! Pages that are at home stay what they are while the rest of their chunk comes home: the kernel may be at work on them,
//! and nobody has told us.

mod common;

use common::Block;
use hmmrt::raw::{self, HMM_HOST};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 4096;
const CHUNK: usize = 2 << 20;

/// Catches: a chunk that is exchanged as a whole, with what was at home copied along, for which it is closed.
#[test]
fn the_kernel_reads_into_what_is_at_home_while_the_rest_comes() {
    let b = Block::new(CHUNK);
    (0..b.words()).step_by(64).for_each(|i| b.word(i).store(i as u64, Relaxed));
    let device = common::two_devices()[0];
    let (home, done, calls) = (16 * PAGE, AtomicBool::new(false), AtomicUsize::new(0));
    common::end_if_it_hangs();
    let rest = b.ptr.wrapping_add(home);
    raw::migrate(rest, CHUNK - home, device).unwrap();
    let into = b.ptr.expose_provenance();
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            let zeros = std::fs::File::open("/dev/zero").unwrap();
            while !done.load(Relaxed) {
                let to = std::ptr::with_exposed_provenance_mut(into);
                // SAFETY: the first pages of the block, which nobody else looks at meanwhile.
                let got = unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&zeros), to, home) };
                assert_eq!(got, home as isize, "{}", std::io::Error::last_os_error());
                calls.fetch_add(1, Relaxed);
            }
        });
        for round in (0..).take_while(|r| *r < 300 || calls.load(Relaxed) < 300) {
            let page = 16 + round * 7 % 496;
            if round % 2 == 0 {
                raw::migrate(rest, CHUNK - home, HMM_HOST).unwrap(); // all of it, whatever touches bring
            }
            assert_eq!(b.word(page * 512).load(Relaxed), page as u64 * 512);
            raw::migrate(rest, CHUNK - home, device).unwrap();
            if reader.is_finished() {
                break;
            }
        }
        done.store(true, Relaxed);
        reader.join().unwrap();
    });
    assert!((home / 8..b.words()).step_by(64).all(|i| b.word(i).load(Relaxed) == i as u64));
    assert!((0..home / 8).all(|i| b.word(i).load(Relaxed) == 0));
}
