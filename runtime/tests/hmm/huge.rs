//! Huge pages: never touched, zeros, given up, on the device.

use crate::device;
use crate::memory::{Kind::*, LEN, MIB, Memory, PAGE, pattern};
use crate::os;
use crate::row::{Kind, row, row_with};
use hmmrt::Page;
use hmmrt::raw::{self, mapping};

/// Catches: a copy of what is not there.
#[test]
fn migrate_anon_huge_empty() {
    let Some(_row) = row("huge::migrate_anon_huge_empty", Kind::Same, "no byte is copied, too") else {
        return;
    };
    for kind in [Huge, Block] {
        let m = Memory::new(kind, LEN);
        let before = raw::stats().bytes_to_device;
        m.send();
        assert_eq!(raw::stats().bytes_to_device, before, "{kind:?}: 0 bytes copied");
        assert!(device::read(0, m.ptr, LEN).unwrap().iter().all(|w| *w == 0));
        assert_eq!(os::present_pages(m.ptr.addr(), LEN), 0, "{kind:?}");
        assert!(m.part_is_zero(0, LEN));
    }
}

/// Catches: the system's page of zeros, taken for nothing or for something else.
#[test]
fn migrate_anon_huge_zero() {
    let Some(_row) = row("huge::migrate_anon_huge_zero", Kind::Same, "") else { return };
    let m = Memory::new(Huge, LEN);
    assert!(m.part_is_zero(0, LEN), "only read by the CPU");
    m.send();
    assert!(device::read(0, m.ptr, LEN).unwrap().iter().all(|w| *w == 0));
    assert!(m.part_is_zero(0, LEN));
    m.send();
    device::write(0, m.ptr, &pattern(0, LEN, 1)).unwrap();
    assert!(m.holds(1));
    let other = Memory::new(Huge, LEN);
    assert!(other.part_is_zero(0, LEN), "the page of zeros is everybody's");
}

/// Catches: bytes that come back after they were given up, or others than the old ones; what is lost beside them.
#[test]
fn migrate_anon_huge_free() {
    let differs = "MADV_FREE and MADV_DONTNEED of a range that is on the device; followed";
    let Some(_row) = row("huge::migrate_anon_huge_free", Kind::Changed, differs) else { return };
    for kind in [Huge, Block] {
        for advice in [libc::MADV_FREE, libc::MADV_DONTNEED] {
            let m = Memory::filled(kind, LEN, 1);
            m.send();
            // SAFETY: the contents are given up.
            unsafe { mapping::advise(m.at(MIB).addr(), 2 * MIB, advice).unwrap() };
            for page in (MIB..3 * MIB).step_by(PAGE) {
                let zero = m.part_is_zero(page, page + PAGE);
                let old = advice == libc::MADV_FREE && m.part_holds(page, page + PAGE, 1);
                assert!(zero || old, "{kind:?}, {advice}: garbage at {page:#x}");
            }
            assert!(m.part_holds(0, MIB, 1) && m.part_holds(3 * MIB, LEN, 1));
            m.fill(2);
            m.send();
            assert!(m.holds(2));
            let before = raw::stats().bytes_to_host;
            m.send();
            drop(m);
            assert_eq!(raw::stats().bytes_to_host, before, "what is freed is not copied");
        }
    }
}

/// Catches: host memory that is kept although the pages are on the device.
#[test]
fn migrate_anon_huge_fault() {
    let differs = "seen in the kernel's page map of the range: no spare blocks are kept";
    let env = [("HMMRT_SPARE", "0")];
    let Some(_row) = row_with("huge::migrate_anon_huge_fault", Kind::Changed, differs, &env) else { return };
    for kind in [Huge, Small, Block] {
        let m = Memory::filled(kind, LEN, 1);
        assert_eq!(os::present_pages(m.ptr.addr(), LEN), LEN / PAGE);
        m.send();
        assert_eq!(os::present_pages(m.ptr.addr(), LEN), 0, "{kind:?}: not present for the CPU");
        assert_eq!(raw::stats().spare_bytes, 0);
        // SAFETY: inside.
        let one = unsafe { m.at(MIB).cast::<u32>().read_volatile() };
        assert_eq!(one, crate::memory::word(MIB, 1));
        assert!(m.flags()[MIB / PAGE] & Page::HOST != 0);
        assert!(m.holds(1));
        assert_eq!(os::present_pages(m.ptr.addr(), LEN), LEN / PAGE);
    }
}
