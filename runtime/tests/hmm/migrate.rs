//! Moving memory to a device, and back by touching it.

use crate::memory::{Kind::*, LEN, Memory, PAGE, pattern};
use crate::row::{Kind, row, row_with};
use crate::{common, device, os};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Page, StreamId};

/// Catches: pages that are counted and not moved, bytes that do not arrive.
#[test]
fn migrate() {
    let Some(_row) = row("migrate::migrate", Kind::Same, "") else { return };
    for kind in [Small, Huge, Block] {
        let m = Memory::filled(kind, LEN, 1);
        m.send();
        assert_eq!(m.migrate(0), 0, "what is there does not move");
        assert_eq!(device::read(0, m.ptr, LEN).unwrap(), pattern(0, LEN, 1));
        assert!(m.all_are(Page::DEVICE));
        assert!(m.holds(1));
    }
}

/// Catches: a mixture of pages here and there that goes wrong.
#[test]
fn migrate_fault() {
    let Some(_row) = row("migrate::migrate_fault", Kind::Same, "") else { return };
    for kind in [Small, Huge, Block] {
        let m = Memory::filled(kind, LEN, 1);
        m.send();
        assert!(m.part_holds(0, LEN / 2, 1));
        let here = m.flags().iter().filter(|f| **f & Page::HOST != 0).count();
        assert!((LEN / 2 / PAGE..LEN / PAGE).contains(&here), "{here} pages came");
        assert_eq!(m.migrate(0), here, "those that were on the host, too");
        assert!(m.all_are(Page::DEVICE));
        assert_eq!(device::read(0, m.ptr, LEN).unwrap(), pattern(0, LEN, 1));
        m.fill_part(0, LEN / 2, 2);
        m.migrate(0);
        let seen = device::read(0, m.ptr, LEN).unwrap();
        assert!(seen[..LEN / 8] == pattern(0, LEN / 2, 2) && seen[LEN / 8..] == pattern(LEN / 2, LEN, 1));
    }
}

/// Catches: bytes that go with the device.
#[test]
fn migrate_release() {
    let differs = "the device is given up by ending the runtime, by hmm_disown, by hmm_migrate to the host, and by a block that pushes out what is there";
    let env = [("HMMRT_HOST_MEMORY", "14M"), ("HMMRT_DOUBLE_MEMORY", "14M")];
    let Some(_row) = row_with("migrate::migrate_release", Kind::Same, differs, &env) else { return };
    for kind in [Small, Huge, Block] {
        let m = Memory::filled(kind, LEN, 1);
        m.send();
        assert_eq!(m.migrate(HMM_HOST), LEN / PAGE);
        assert!(m.all_are(Page::HOST) && m.holds(1));
        m.send();
        raw::shutdown().unwrap();
        assert_eq!(raw::stats().device_bytes, 0);
        assert!(m.holds(1));
        raw::init(Some(common::config())).unwrap();
        device::forget();
        m.send();
        assert_eq!(device::read(0, m.ptr, LEN).unwrap(), pattern(0, LEN, 1));
        if kind != Block {
            // SAFETY: the memory stays.
            unsafe { raw::disown(m.ptr, LEN).unwrap() };
            assert!(!raw::owns(m.ptr));
        }
        assert!(m.holds(1));
    }
    pushed_out();
}

/// What is on a device leaves it for a block that has no room there otherwise.
fn pushed_out() {
    const MOST: usize = 10 << 20;
    for kind in [Small, Huge, Block] {
        let [first, second] = [3, 4].map(|salt| Memory::filled(kind, MOST, salt));
        first.send();
        second.send();
        let left = first.flags().iter().filter(|f| **f & Page::DEVICE == 0).count();
        assert!(left > MOST / PAGE / 2, "{kind:?}: only {left} pages have left");
        assert!(first.flags().iter().all(|f| (*f & Page::HOST != 0) != (*f & Page::DEVICE != 0)));
        assert_eq!(device::read(0, second.ptr, PAGE).unwrap(), pattern(0, PAGE, 4));
        assert!(first.holds(3) && second.holds(4));
    }
}

/// Catches: mappings and device memory that are left behind.
#[test]
fn migrate_multiple() {
    // Spare blocks are mappings, too, and not what is counted here.
    let env = [("HMMRT_SPARE", "0")];
    let Some(_row) = row_with("migrate::migrate_multiple", Kind::Same, "", &env) else { return };
    for kind in [Small, Huge, Block] {
        let mut mappings = Vec::new();
        let mut device_bytes = Vec::new();
        for round in 0..10 {
            let m = Memory::filled(kind, LEN, round);
            m.send();
            assert_eq!(device::read(0, m.ptr, LEN).unwrap(), pattern(0, LEN, round));
            assert!(m.holds(round));
            drop(m);
            common::others_sleep();
            mappings.push(os::mapping_count());
            device_bytes.push(raw::stats().device_bytes);
        }
        // One left behind in each round would be five; threads that help begin in the first rounds, with mappings of their own.
        assert!(mappings[9] <= mappings[4] + 3, "{kind:?}: {mappings:?}");
        assert!(device_bytes[9] == device_bytes[1], "{kind:?}: {device_bytes:?}");
    }
}

/// Catches: a reader on one device that takes the other's copy away, and one that sees old bytes.
#[test]
fn double_map() {
    let Some(_row) = row("migrate::double_map", Kind::Same, "") else { return };
    let devices = common::two_devices();
    let m = Memory::filled(Small, LEN, 1);
    m.protect(0, LEN, libc::PROT_READ);
    for d in devices {
        assert_eq!(device::read(d, m.ptr, LEN).unwrap(), pattern(0, LEN, 1));
    }
    let reads = [Access { ptr: m.ptr, len: LEN, mode: AccessMode::Read }];
    let before = raw::stats().bytes_to_device;
    for d in devices {
        // SAFETY: read only.
        unsafe { raw::acquire(d, StreamId::DEFAULT, &reads).unwrap() };
        raw::release(d, StreamId::DEFAULT).unwrap();
    }
    assert_eq!(raw::stats().bytes_to_device, before, "both have it");
    assert_eq!(m.migrate(devices[0]), LEN / PAGE);
    assert!(m.all_are(Page::DEVICE));
    for d in [devices[1], devices[0], devices[1]] {
        assert_eq!(device::read(d, m.ptr, LEN).unwrap(), pattern(0, LEN, 1));
    }
    assert!(m.holds(1));
}
