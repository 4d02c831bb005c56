//! Memory that is moved in the address space, or unmapped in part, while it is on a device.

use crate::device;
use crate::memory::{BOTH, HUGE, Kind::*, Memory, PAGE, STATE, map, pattern};
use crate::row::{Kind, row};
use hmmrt::Page;
use hmmrt::raw::{self, HMM_HOST, mapping};

/// The part that is moved or unmapped begins here, in parts of the buffer, which is twice as long.
const OFFSETS: [usize; 3] = [0, HUGE / 4, HUGE / 2];

/// Catches: a rest that is lost with the part that goes, and a part that is believed to be there still.
#[test]
fn migrate_partial_unmap_fault() {
    let differs = "adopted memory, unmapped before any of it came home and after half has; and 6 cases more with blocks of the \
                   library's own, parts of which are sealed";
    let Some(row) = row("remap::migrate_partial_unmap_fault", Kind::Changed, differs) else { return };
    let mut cases = 0;
    for (kind, home_first) in [Small, Huge, Block].into_iter().flat_map(|kind| [(kind, false), (kind, true)])
    {
        for offset in OFFSETS {
            cases += usize::from(kind != Block);
            let what = format!("{kind:?} at {offset:#x}, half home before: {home_first}");
            let m = Memory::filled(kind, HUGE, 1);
            m.send();
            if home_first {
                half_comes_home(&m, &what);
            }
            let (from, to) = (offset, offset + HUGE / 2);
            m.unmap(from, HUGE / 2).unwrap();
            // SAFETY: it is to fail.
            assert!(crate::os::segfaults(|| unsafe { _ = m.at(from).read_volatile() }), "{what}");
            assert!(m.part_holds(0, from, 1) && m.part_holds(to, HUGE, 1), "{what}");
            assert!(raw::migrate(m.ptr, HUGE, 0).is_err(), "{what}: there is a hole in it");
            for (start, end) in [(0, from), (to, HUGE)].into_iter().filter(|(s, e)| s < e) {
                m.fill_part(start, end, 2);
                assert_eq!(
                    device::read(0, m.at(start), end - start).unwrap(),
                    pattern(start, end, 2),
                    "{what}"
                );
                assert_eq!(raw::migrate(m.at(start), end - start, 0), Ok((end - start) / PAGE), "{what}");
                assert!(m.part_holds(start, end, 2), "{what}");
            }
        }
    }
    row.cases(cases);
}

/// The half in the middle: each part that is unmapped then has pages of both sides, but for the one that is all of it.
fn half_comes_home(m: &Memory, what: &str) {
    assert_eq!(raw::migrate(m.at(HUGE / 4), HUGE / 2, HMM_HOST), Ok(HUGE / 2 / PAGE), "{what}");
    for (i, flags) in m.flags().iter().enumerate() {
        let home = (HUGE / 4..HUGE / 4 * 3).contains(&(i * PAGE));
        assert_eq!(flags & STATE, if home { Page::HOST } else { Page::DEVICE }, "{what}, page {i}");
    }
}

/// mremap(2) of half of `m`, known to the runtime.
fn remap(m: &Memory, offset: usize, to: *mut u8, keep: bool) {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | if keep { libc::MREMAP_DONTUNMAP } else { 0 };
    // SAFETY: memory of the row's, to a place of the row's.
    let got = unsafe { mapping::remap(m.ptr.addr() + offset, HUGE / 2, HUGE / 2, flags, to.addr()) };
    assert_eq!(got, Ok(to.addr()));
    if !keep {
        m.lose(offset, HUGE / 2);
    }
}

/// Catches: bytes that stay behind, and a place that is believed to have them still.
#[test]
fn migrate_remap_fault() {
    let differs = "adopted memory; what is on the device comes home before it moves";
    let Some(row) = row("remap::migrate_remap_fault", Kind::Changed, differs) else { return };
    let mut cases = 0;
    for kind in BOTH {
        for offset in OFFSETS {
            for before in [true, false] {
                for keep in [false, true] {
                    cases += 1;
                    one_remap(kind, offset, before, keep);
                }
            }
        }
    }
    row.cases(cases);
}

/// Half of a buffer moves `before` it goes to the device, or after; the old place stays mapped with `keep`.
fn one_remap(kind: crate::memory::Kind, offset: usize, before: bool, keep: bool) {
    let what = format!("{kind:?} at {offset:#x}, before: {before}, DONTUNMAP: {keep}");
    let m = Memory::filled(kind, HUGE, 1);
    let (from, to) = (offset, offset + HUGE / 2);
    let target = map(HUGE / 2, kind == Huge);
    if before {
        remap(&m, offset, target, keep);
        assert_eq!(raw::migrate(target, HUGE / 2, 0), Ok(HUGE / 2 / PAGE), "{what}");
        for (start, end) in [(0, from), (to, HUGE)].into_iter().filter(|(s, e)| s < e) {
            assert_eq!(raw::migrate(m.at(start), end - start, 0), Ok((end - start) / PAGE), "{what}");
        }
    } else {
        m.send();
        remap(&m, offset, target, keep);
    }
    assert!(crate::memory::holds(target, from, to, 1), "{what}: at the new place");
    assert!(m.part_holds(0, from, 1) && m.part_holds(to, HUGE, 1), "{what}: what stayed");
    assert!(raw::owns(target) && raw::owns(m.at(from)) == keep, "{what}");
    if keep {
        assert!(m.part_is_zero(from, to), "{what}: the old place is empty");
    }
    // And it moves as before.
    assert_eq!(device::read(0, target, HUGE / 2).unwrap(), pattern(from, to, 1), "{what}");
    device::write(0, target, &pattern(from, to, 2)).unwrap();
    assert!(crate::memory::holds(target, from, to, 2), "{what}");
    // SAFETY: not used any more.
    unsafe { mapping::unmap(target.addr(), HUGE / 2).unwrap() };
}
