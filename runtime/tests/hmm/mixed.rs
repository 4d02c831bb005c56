//! A range of pages of all kinds, and the two cases that can't be had in user space.

use crate::common::two_devices;
use crate::device;
use crate::memory::{HUGE, Kind::*, MIB, Memory, PAGE, RW, pattern};
use crate::row::{Kind, row};
use hmmrt::{Error, Page, raw};

/// Catches: a wrong error or count, and pages that moved or were lost because their neighbours could not move.
#[test]
fn migrate_mixed() {
    let differs = "pages of another device move, in the kernel they do not";
    let Some(_row) = row("mixed::migrate_mixed", Kind::Changed, differs) else { return };
    let m = Memory::new(Small, 6 * PAGE);
    let migrate = |first: usize, count: usize, to| raw::migrate(m.at(first * PAGE), count * PAGE, to);
    let (none, hole) = (m.ptr.addr(), m.ptr.addr() + PAGE);
    m.fill_part(0, PAGE, 1);
    m.fill_part(3 * PAGE, 6 * PAGE, 1);
    // Page 2 is never touched. The plain calls of a program that knows nothing of the library.
    // SAFETY: the row's own pages.
    unsafe {
        assert_eq!(libc::mprotect(m.ptr.cast(), PAGE, libc::PROT_NONE), 0);
        assert_eq!(libc::munmap(m.at(PAGE).cast(), PAGE), 0);
        assert_eq!(libc::mprotect(m.at(3 * PAGE).cast(), PAGE, libc::PROT_READ), 0);
    }
    let denied = |e: Result<usize, Error>| matches!(e, Err(Error::AccessDenied { addr, .. }) if addr == none);
    let absent = |e: Result<usize, Error>| matches!(e, Err(Error::Hole { addr, .. }) if addr == hole);
    assert!(denied(migrate(0, 1, 0)) && absent(migrate(1, 1, 0)) && absent(migrate(1, 5, 0)));
    let e = migrate(0, 6, 0);
    assert!(denied(e) || absent(e), "{e:?}");
    assert_eq!(migrate(2, 4, 0), Ok(4), "never touched, read-only, and two ordinary ones");
    let seen = device::read(0, m.at(2 * PAGE), 4 * PAGE).unwrap();
    assert!(seen[..PAGE / 4].iter().all(|w| *w == 0));
    assert_eq!(seen[PAGE / 4..], pattern(3 * PAGE, 6 * PAGE, 1));
    assert!(matches!(device::write(0, m.at(3 * PAGE), &[1; 2 * PAGE / 4]), Err(Error::ReadOnly { .. })));
    device::write(0, m.at(4 * PAGE), &pattern(4 * PAGE, 6 * PAGE, 2)).unwrap();
    // One page is another device's; all four are asked for by the first.
    let [first, second] = two_devices();
    assert_eq!(migrate(5, 1, second), Ok((first != second) as usize));
    let moved = migrate(2, 4, first);
    assert_eq!(moved, Ok((first != second) as usize), "the one that was not there");
    let mut pages = [Page::default(); 4];
    raw::query(m.at(2 * PAGE), 4 * PAGE, &mut pages).unwrap();
    assert!(pages.iter().all(|p| p.device == first && p.flags & (Page::HOST | Page::DEVICE) == Page::DEVICE));
    assert!(m.part_is_zero(2 * PAGE, 3 * PAGE) && m.part_holds(3 * PAGE, 4 * PAGE, 1));
    assert!(m.part_holds(4 * PAGE, 6 * PAGE, 2));
    // SAFETY: as above; what the program had made inaccessible still has its bytes.
    unsafe {
        assert_eq!(libc::mprotect(m.ptr.cast(), PAGE, RW), 0);
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        assert_eq!(libc::mmap(m.at(PAGE).cast(), PAGE, RW, flags, -1, 0), m.at(PAGE).cast());
    }
    assert!(m.part_holds(0, PAGE, 1));
    assert_eq!(migrate(0, 6, 0), Ok(6), "now all can go");
    assert!(m.part_holds(0, PAGE, 1) && m.part_is_zero(PAGE, 3 * PAGE));
}

/// Catches: a mapping of the kernel's own that is taken for the program's memory.
#[test]
fn mixedmap() {
    let differs = "can't exist: no driver of ours puts pages into a mapping. What the kernel itself has put there (vvar) is refused";
    let Some(row) = row("mixed::mixedmap", Kind::Nearest, differs) else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = maps.lines().find(|l| l.ends_with("[vvar]")) else { row.skip("there is no vvar") };
    let (start, _) = line.split_once('-').unwrap();
    let at = std::ptr::with_exposed_provenance_mut::<u8>(usize::from_str_radix(start, 16).unwrap());
    // SAFETY: refused.
    let e = unsafe { raw::adopt(at, PAGE) }.unwrap_err();
    assert!(matches!(e, Error::NotMigratable { addr, .. } if addr == at.addr()), "{e}");
    assert!(matches!(raw::migrate(at, PAGE, 0), Err(Error::NotManaged { .. })));
}

/// Catches: huge pages of which a device sees a part only.
#[test]
fn compound() {
    let differs =
        "can't exist: what size of entry a device's page table has is not seen. Its half with bytes is kept";
    let Some(_row) = row("mixed::compound", Kind::Nearest, differs) else { return };
    let m = Memory::new(Huge, 2 * HUGE);
    for (round, at) in [0, HUGE, MIB, HUGE - PAGE].into_iter().enumerate() {
        let salt = round as u32;
        m.fill(salt);
        assert_eq!(device::read(0, m.at(at), HUGE).unwrap(), pattern(at, at + HUGE, salt));
        device::write(0, m.at(at), &pattern(at, at + HUGE, salt + 9)).unwrap();
        assert!(m.part_holds(0, at, salt) && m.part_holds(at, at + HUGE, salt + 9));
        assert!(m.part_holds(at + HUGE, 2 * HUGE, salt));
    }
}
