//! Children of fork, and copy on write.

use crate::device;
use crate::memory::{BOTH, Kind::*, LEN, Memory, PAGE, RW, STATE, pattern};
use crate::os::{self, Signal};
use crate::row::{Kind, row};
use hmmrt::{Error, Page, raw};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const SNAPSHOT: &str = "the child has a snapshot and no device";

/// Catches: a child without its parent's bytes, and one that writes into its parent.
#[test]
fn anon_write_child() {
    let Some(row) = row("child::anon_write_child", Kind::Changed, SNAPSHOT) else { return };
    row.cases(4);
    for kind in BOTH {
        for away in [false, true] {
            let m = Memory::filled(kind, LEN, 1);
            if away {
                m.send();
            }
            let status = os::child(|| {
                let right = m.holds(1);
                m.fill(2);
                right && m.holds(2) && matches!(raw::migrate(m.ptr, LEN, 0), Err(Error::Forked { .. }))
            });
            assert_eq!(status, 0, "{kind:?}, away: {away}");
            assert!(m.holds(1), "{kind:?}, away: {away}");
            device::write(0, m.ptr, &pattern(0, LEN, 3)).unwrap();
            assert_eq!(os::child(|| m.holds(3)), 0, "{kind:?}, away: {away}: what the device wrote");
            assert!(m.holds(3));
        }
    }
}

/// Catches: shared memory that is moved, and so is shared no more.
#[test]
fn anon_write_child_shared() {
    let differs = "shared memory is refused, not migrated";
    let Some(_row) = row("child::anon_write_child_shared", Kind::Changed, differs) else { return };
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, not unmapped; atomic accesses.
    let (at, words) = unsafe {
        let at = libc::mmap(null_mut(), LEN, RW, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        (at.cast::<u8>(), std::slice::from_raw_parts(at.cast::<AtomicU32>(), LEN / 4))
    };
    let write = |salt| words.iter().enumerate().for_each(|(i, w)| w.store(i as u32 ^ salt, Relaxed));
    let holds = |salt| words.iter().enumerate().all(|(i, w)| w.load(Relaxed) == i as u32 ^ salt);
    write(1);
    // SAFETY: refused.
    let e = unsafe { raw::adopt(at, LEN) }.unwrap_err();
    assert!(matches!(e, Error::NotMigratable { addr, .. } if addr == at.addr()), "{e}");
    let e = device::write(0, at, &pattern(0, LEN, 1)).unwrap_err();
    assert!(matches!(e, Error::NotManaged { addr, .. } if addr == at.addr()), "{e}");
    let child = || {
        let right = holds(1);
        write(2);
        right
    };
    assert_eq!(os::child(child), 0);
    assert!(holds(2), "the child's writes are the parent's");
}

/// Catches: a child that sees what its parent writes after the fork, or the old bytes lost.
#[test]
fn hmm_cow_in_device() {
    let Some(_row) = row("child::hmm_cow_in_device", Kind::Changed, SNAPSHOT) else { return };
    for kind in BOTH {
        let m = Memory::filled(kind, LEN, 1);
        m.send();
        let go = Signal::new();
        let pid = os::fork(|| {
            go.take();
            m.holds(1)
        });
        m.fill(2);
        go.give();
        assert_eq!(os::wait(pid), 0, "{kind:?}: the child has the old values");
        assert!(m.holds(2) && m.all_are(Page::HOST), "{kind:?}");
        assert!(m.flags().iter().all(|f| f & Page::WRITE != 0));
        assert_eq!(m.migrate(0), LEN / PAGE);
        assert!(m.holds(2));
    }
}

/// Catches: increments that are lost where the pages were the device's when the process forked.
#[test]
fn exclusive_cow() {
    let differs = "the device's own pages instead of exclusive ones; the child has a snapshot";
    let Some(_row) = row("child::exclusive_cow", Kind::Changed, differs) else { return };
    for kind in [Small, Huge, Block] {
        let m = Memory::new(kind, LEN);
        device::write(0, m.ptr, &pattern(0, LEN, 4)).unwrap();
        let increment = || {
            for i in (0..LEN).step_by(4) {
                // SAFETY: inside; nobody else uses it.
                unsafe {
                    let p = m.ptr.add(i).cast::<u32>();
                    p.write_volatile(p.read_volatile().wrapping_add(1));
                }
            }
        };
        let incremented = || {
            // SAFETY: as above.
            let now = |i| unsafe { m.ptr.add(i).cast::<u32>().read_volatile() };
            (0..LEN).step_by(4).zip(pattern(0, LEN, 4)).all(|(i, was)| now(i) == was.wrapping_add(1))
        };
        let pid = os::fork(|| {
            increment();
            incremented()
        });
        increment();
        assert!(incremented(), "{kind:?}");
        assert_eq!(os::wait(pid), 0, "{kind:?}");
        assert!(incremented(), "{kind:?}");
        // Behind the writer copies may have gone to the device; what else there was is taken.
        let flags = m.flags();
        let copies = raw::stats().ahead_bytes_to_device as usize / PAGE;
        let not_taken = flags.iter().filter(|f| *f & STATE != Page::HOST).count();
        assert!(not_taken <= copies && flags.iter().all(|f| f & Page::HOST != 0), "{kind:?}: {not_taken}");
    }
}
