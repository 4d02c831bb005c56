//! Anonymous memory that a device reads and writes.

use crate::device;
use crate::memory::{ACCESS, Kind::*, LEN, Memory, PAGE, RW, STATE, pattern};
use crate::os;
use crate::row::{Kind, row, row_with};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Error, Page};

const FOLLOWED: &str = "adopted memory; the program's mprotect is followed";

/// Catches: a protection of the program's that a round trip loses, pages moved one by one.
#[test]
fn anon_read() {
    let differs =
        "adopted memory; one move for each 2 MiB, and the protection is looked at after a round trip, too";
    let Some(_row) = row("anon::anon_read", Kind::Changed, differs) else { return };
    let m = Memory::new(Small, LEN);
    m.fill_part(2 * PAGE, LEN, 5);
    // SAFETY: the row's own memory, the plain mprotect of a program that knows nothing of the library.
    assert_eq!(unsafe { libc::mprotect(m.ptr.cast(), LEN, libc::PROT_READ) }, 0);
    let before = raw::stats();
    let seen = device::read(0, m.ptr, LEN).unwrap();
    assert!(seen[..2 * PAGE / 4].iter().all(|w| *w == 0), "zeros where nothing was written");
    assert_eq!(seen[2 * PAGE / 4..], pattern(2 * PAGE, LEN, 5));
    let chunks = (m.ptr.addr() + LEN).div_ceil(2 << 20) - m.ptr.addr() / (2 << 20);
    let out = (LEN / (2 << 20)) as u64; // where the device puts what it read
    let moves = raw::stats().moves_to_device - before.moves_to_device;
    assert!(moves <= chunks as u64 + out, "{moves} moves for {chunks} chunks");
    for there_and_back in [false, true] {
        if there_and_back {
            assert_eq!(m.migrate(0), LEN / PAGE);
            m.migrate(HMM_HOST);
        }
        assert!(m.flags().iter().all(|f| f & ACCESS == Page::READ));
        assert!(os::protections(m.ptr.addr(), LEN).iter().all(|p| p == "r--p"));
        assert!(m.part_is_zero(0, 2 * PAGE) && m.part_holds(2 * PAGE, LEN, 5));
        // SAFETY: it is to fail.
        assert!(os::segfaults(|| unsafe { m.ptr.add(3 * PAGE).write_volatile(1) }));
    }
}

/// Catches: protections of the program's taken for the runtime's, and the other way round.
#[test]
fn anon_read_prot() {
    let Some(_row) = row("anon::anon_read_prot", Kind::Changed, FOLLOWED) else { return };
    let refused = |m: &Memory| {
        let e = device::read(0, m.ptr, LEN).unwrap_err();
        assert!(matches!(e, Error::AccessDenied { addr, .. } if addr == m.ptr.addr()), "{e}");
        // SAFETY: it is to fail.
        assert!(os::segfaults(|| unsafe { _ = m.ptr.read_volatile() }));
    };
    let m = Memory::filled(Small, LEN, 6);
    // SAFETY: the row's own memory.
    let mprotect = |prot| assert_eq!(unsafe { libc::mprotect(m.ptr.cast(), LEN, prot) }, 0);
    mprotect(libc::PROT_NONE);
    refused(&m);
    assert!(matches!(raw::migrate(m.ptr, LEN, 0), Err(Error::AccessDenied { .. })));
    mprotect(RW);
    assert!(m.holds(6));
    // What is away is inaccessible, too, and not by the program's wish.
    m.send();
    assert_eq!(device::read(0, m.ptr, LEN).unwrap(), pattern(0, LEN, 6));
    m.protect(0, LEN, libc::PROT_NONE);
    refused(&m);
    m.protect(0, LEN, RW);
    assert!(m.flags().iter().all(|f| f & Page::DEVICE != 0), "the device keeps what it has");
    assert!(m.holds(6));
}

/// Catches: a copy of what was never there, and a write that does not arrive.
#[test]
fn anon_write() {
    let Some(_row) = row("anon::anon_write", Kind::Same, "") else { return };
    let m = Memory::new(Small, LEN);
    let before = raw::stats();
    device::write(0, m.ptr, &pattern(0, LEN, 7)).unwrap();
    assert!(m.all_are(Page::DEVICE));
    let copied = raw::stats().bytes_to_device - before.bytes_to_device;
    assert!(copied <= (LEN + 2 * PAGE) as u64, "{copied} bytes: more than what it wrote from, and the edges");
    assert!(m.holds(7));
}

/// Catches: a device that writes what the program may not.
#[test]
fn anon_write_prot() {
    let Some(_row) = row("anon::anon_write_prot", Kind::Changed, FOLLOWED) else { return };
    for away in [false, true] {
        let m = Memory::filled(Small, LEN, 8);
        if away {
            m.send();
            m.protect(0, LEN, libc::PROT_READ);
        } else {
            // SAFETY: the row's own memory.
            assert_eq!(unsafe { libc::mprotect(m.ptr.cast(), LEN, libc::PROT_READ) }, 0);
        }
        assert_eq!(device::read(0, m.ptr, LEN).unwrap(), pattern(0, LEN, 8));
        let e = device::write(0, m.ptr, &pattern(0, LEN, 9)).unwrap_err();
        assert!(matches!(e, Error::ReadOnly { addr, .. } if addr == m.ptr.addr()), "{e}");
        assert!(m.holds(8));
        m.protect(0, LEN, RW);
        device::write(0, m.ptr, &pattern(0, LEN, 9)).unwrap();
        assert!(m.holds(9));
    }
}

/// Catches: a device that reads old bytes.
#[test]
fn anon_read_multiple() {
    let Some(_row) = row("anon::anon_read_multiple", Kind::Same, "") else { return };
    let m = Memory::new(Small, LEN);
    for round in 0..10 {
        m.fill(round);
        assert_eq!(device::read(0, m.ptr, LEN).unwrap(), pattern(0, LEN, round), "round {round}");
        assert!(m.flags().iter().all(|f| f & STATE == Page::HOST | Page::DEVICE));
    }
}

/// Catches: huge pages that a write of the device's, or a round trip, splits for good.
#[test]
fn anon_write_huge() {
    // By `auto` a chunk whose touches have to show how it is used comes in pieces, and stays in small pages.
    let chunks = [("HMMRT_POLICY", "chunk")];
    let Some(row) = row_with("anon::anon_write_huge", Kind::Same, "", &chunks) else { return };
    let are_huge = |m: &Memory| os::huge_bytes(m.ptr.addr(), LEN) == LEN;
    // At any moment the system may have none.
    let mut has_none = false;
    let mut goes = || {
        let m = Memory::new(Huge, LEN);
        device::write(0, m.ptr, &pattern(0, LEN, 10)).unwrap();
        assert!(m.holds(10));
        assert!(m.flags().iter().all(|f| f & Page::HOST != 0));
        let after_write = are_huge(&m);
        m.fill(11);
        m.send();
        assert_eq!(os::huge_bytes(m.ptr.addr(), LEN), 0);
        assert!(m.holds(11));
        let after_both = are_huge(&m);
        has_none = !are_huge(&Memory::filled(Huge, LEN, 1));
        after_write && after_both
    };
    if !(0..10).any(|_| goes()) {
        assert!(has_none, "huge pages do not stay");
        row.skip("the system has no huge pages for new memory at this moment");
    }
}
