//! open_close: the device is opened and closed again and again.

use crate::memory::{Kind::*, LEN, Memory, is_plain};
use crate::os::descriptors_and_threads;
use crate::row::{Kind, row};
use crate::{common, device};
use hmmrt::{Page, raw};

extern "C" fn programs_handler(_: i32) {}

/// The program's handler, as the kernel has it.
fn handler() -> (usize, i32) {
    // SAFETY: asks only.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGSEGV, std::ptr::null(), &mut now), 0);
        (now.sa_sigaction, now.sa_flags & !0x0400_0000) // without SA_RESTORER
    }
}

/// Catches: a handler that stays, pages that stay protected, descriptors and threads that leak.
#[test]
fn open_close() {
    let Some(_row) = row("life::open_close", Kind::Same, "") else { return };
    raw::shutdown().unwrap();
    // SAFETY: a handler that does nothing.
    unsafe {
        let mut own: libc::sigaction = std::mem::zeroed();
        own.sa_sigaction = programs_handler as *const () as usize;
        own.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &own, std::ptr::null_mut()), 0);
    }
    let before = handler();
    let mut after_first = None;
    for round in 0..10 {
        raw::init(Some(common::config())).unwrap();
        device::forget();
        let blocks = [Block, Small, Huge].map(|kind| Memory::filled(kind, LEN, round));
        assert_eq!(blocks.each_ref().map(|b| b.migrate(0)), [LEN / 4096; 3]);
        assert_ne!(handler(), before, "the runtime's own is there meanwhile");
        raw::shutdown().unwrap();
        assert_eq!(handler(), before, "round {round}");
        for b in &blocks {
            assert!(is_plain(b.ptr, b.len), "round {round}: a page stayed protected");
            assert!(b.flags().iter().all(|f| f & Page::DEVICE == 0) && b.holds(round));
        }
        drop(blocks);
        common::until_ended(&mut after_first, descriptors_and_threads);
    }
}
