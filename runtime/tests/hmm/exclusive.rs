//! Memory that a device alone may touch. The kernel makes pages exclusive to it; here they are on the device only, or acquired.

use crate::device;
use crate::memory::{Kind::*, LEN, Memory, RW, pattern};
use crate::os;
use crate::row::{Kind, row};
use hmmrt::{Access, AccessMode, Error, Page, StreamId, raw};

const INSTEAD: &str = "acquired by the device to write, instead of exclusive";

/// Catches: a CPU that gets in between, and a device that keeps its copy when the CPU has written.
#[test]
fn exclusive() {
    let Some(_row) = row("exclusive::exclusive", Kind::Changed, INSTEAD) else { return };
    let m = Memory::filled(Small, LEN, 1);
    let increment = || {
        for i in (0..LEN).step_by(4) {
            // SAFETY: inside; whoever else uses it is waited for.
            unsafe {
                let p = m.ptr.add(i).cast::<u32>();
                p.write_volatile(p.read_volatile().wrapping_add(1));
            }
        }
    };
    for round in 0..3_u32 {
        // A kernel owns it and has not begun when the CPU comes: the CPU waits for it, and then takes the pages.
        device::increment_slowly(0, m.ptr, LEN, 30_000_000);
        increment();
        assert!(m.all_are(Page::HOST), "the device does not own it any more");
        let sum = (round + 1) * 2;
        let expected: Vec<u32> = pattern(0, LEN, 1).into_iter().map(|w| w.wrapping_add(sum)).collect();
        // SAFETY: all of it is on the host, and at rest.
        assert!(unsafe { std::slice::from_raw_parts(m.ptr.cast::<u32>(), LEN / 4) } == expected);
        assert_eq!(device::read(0, m.ptr, LEN).unwrap(), expected);
    }
}

/// Catches: a right to write that outlives the program's mprotect.
#[test]
fn exclusive_mprotect() {
    let Some(_row) = row("exclusive::exclusive_mprotect", Kind::Changed, INSTEAD) else { return };
    let m = Memory::filled(Small, LEN, 1);
    device::write(0, m.ptr, &pattern(0, LEN, 2)).unwrap();
    assert!(m.all_are(Page::DEVICE));
    m.protect(0, LEN, libc::PROT_READ);
    let access = [Access { ptr: m.ptr, len: LEN, mode: AccessMode::ReadWrite }];
    // SAFETY: nothing is given up.
    let e = unsafe { raw::acquire(0, StreamId::DEFAULT, &access) }.unwrap_err();
    assert!(matches!(e, Error::ReadOnly { addr, .. } if addr == m.ptr.addr()), "{e}");
    assert!(matches!(device::write(0, m.ptr, &pattern(0, LEN, 3)), Err(Error::ReadOnly { .. })));
    assert!(m.holds(2));
    // SAFETY: it is to fail.
    assert!(os::segfaults(|| unsafe { m.ptr.write_volatile(1) }));
    m.protect(0, LEN, RW);
    device::write(0, m.ptr, &pattern(0, LEN, 3)).unwrap();
    assert!(m.holds(3));
}
