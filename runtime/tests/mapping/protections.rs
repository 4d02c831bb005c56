//! What the program has said about its pages stays so, wherever they are and whatever comes home beside them.

use super::common::{self, two_devices};
use super::memory::{
    MIB, PAGE, RW, adopted, all_are, alone, brought_home, fill, flags, holds, remap, send, zero,
};
use hmmrt::raw::{self, HMM_HOST, mapping};
use hmmrt::{Access, AccessMode, Error, Page, StreamId};
use std::ptr::without_provenance_mut;

#[test]
fn contents_and_protections_move_along() {
    let _alone = alone();
    const MAYMOVE: i32 = libc::MREMAP_MAYMOVE;
    let null = std::ptr::null_mut();
    let (at, len) = (adopted(5 * MIB), 5 * MIB);
    send(at, len);
    // SAFETY: memory of the test's.
    unsafe { mapping::protect(at.addr() + 2 * MIB, MIB, libc::PROT_READ, None).unwrap() };
    let moved = remap(at, len, 8 * MIB, MAYMOVE, null).unwrap();
    assert!(holds(moved, len, 1) && zero(moved.wrapping_add(len), 3 * MIB));
    assert!(raw::owns(moved) && raw::owns(moved.wrapping_add(8 * MIB - 1)));
    assert!(moved == at || !raw::owns(at));
    raw::migrate(moved, 8 * MIB, 0).unwrap();
    let read_only = flags(moved.wrapping_add(2 * MIB), MIB);
    assert!(read_only.iter().all(|f| f & Page::READ != 0 && f & Page::WRITE == 0));
    assert!(flags(moved, 2 * MIB).iter().all(|f| f & Page::WRITE != 0));
    // To a place where something is, which is away as well; the old place stays.
    let target = adopted(10 * MIB);
    send(target, 10 * MIB);
    let there = target.wrapping_add(MIB);
    let keep = MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    assert_eq!(remap(moved, 8 * MIB, 8 * MIB, keep, there), Ok(there));
    assert!(holds(there, len, 1) && all_are(target, MIB, Page::DEVICE) && holds(target, MIB, 1));
    assert!(zero(moved, 8 * MIB) && raw::owns(moved));
    assert_eq!(remap(there, 8 * MIB, 2 * MIB, 0, null), Ok(there));
    assert!(holds(there, 2 * MIB, 1) && !raw::owns(there.wrapping_add(2 * MIB)));
    let bad = without_provenance_mut(there.addr() + 1);
    assert_eq!(remap(there, 2 * MIB, 2 * MIB, MAYMOVE | libc::MREMAP_FIXED, bad), Err(libc::EINVAL));
    assert_eq!(remap(there, 2 * MIB, 0, MAYMOVE, null), Err(libc::EINVAL));
    assert_eq!(remap(there, 4 * MIB, 5 * MIB, MAYMOVE, null), Err(libc::EFAULT), "it goes over a hole");
    assert!(holds(there, 2 * MIB, 1));
    // Out of a block.
    let block = raw::malloc(6 * MIB).unwrap();
    fill(block, 6 * MIB, 4);
    send(block, 6 * MIB);
    let out = remap(block.wrapping_add(2 * MIB), 2 * MIB, 3 * MIB, MAYMOVE, null).unwrap();
    assert!(holds(out, 2 * MIB, 4 + 2 * MIB as u64) && zero(out.wrapping_add(2 * MIB), MIB));
    assert!(
        holds(block, 2 * MIB, 4)
            && flags(block.wrapping_add(2 * MIB), MIB).iter().all(|f| f & Page::READ == 0)
    );
    // SAFETY: not used any more.
    unsafe {
        raw::free(block).unwrap();
        mapping::unmap(out.addr(), 3 * MIB).unwrap();
        mapping::unmap(moved.addr(), 8 * MIB).unwrap();
        mapping::unmap(target.addr(), 10 * MIB).unwrap();
    }
}

#[test]
fn protections_are_remembered_while_pages_are_away() {
    let _alone = alone();
    let (at, len) = (adopted(6 * MIB), 6 * MIB);
    send(at, len);
    let before = raw::stats();
    // SAFETY: memory of the test's.
    unsafe {
        mapping::protect(at.addr() + MIB, MIB, libc::PROT_READ, None).unwrap();
        mapping::protect(at.addr() + 2 * MIB, MIB, libc::PROT_NONE, None).unwrap();
    }
    assert_eq!(brought_home(&before), 0);
    assert!(all_are(at, len, Page::DEVICE));
    let check = || {
        let access = |i: usize| flags(at.wrapping_add(i * MIB), PAGE)[0] & (Page::READ | Page::WRITE);
        assert_eq!(
            [0, 1, 2, 3].map(access),
            [Page::READ | Page::WRITE, Page::READ, 0, Page::READ | Page::WRITE]
        );
    };
    check();
    // A device that has the page is held to it, too, resident or not.
    let uses = |mib: usize, mode| {
        let access = [Access { ptr: at.wrapping_add(mib * MIB), len: PAGE, mode }];
        // SAFETY: nothing is given up, and the memory stays.
        let result = unsafe { raw::acquire(0, StreamId::DEFAULT, &access) };
        raw::release(0, StreamId::DEFAULT).unwrap();
        result
    };
    assert!(matches!(uses(2, AccessMode::Read), Err(Error::AccessDenied { .. })));
    assert!(matches!(uses(1, AccessMode::ReadWrite), Err(Error::ReadOnly { .. })));
    assert!(uses(1, AccessMode::Read).is_ok() && uses(3, AccessMode::ReadWrite).is_ok());
    check();
    raw::migrate(at, len, raw::HMM_HOST).unwrap();
    check();
    // Code ends the management of adopted memory, with its bytes.
    send(at.wrapping_add(3 * MIB), 3 * MIB);
    // SAFETY: as above.
    unsafe { mapping::protect(at.addr() + 4 * MIB, MIB, libc::PROT_READ | libc::PROT_EXEC, None).unwrap() };
    assert!(!raw::owns(at.wrapping_add(4 * MIB)) && raw::owns(at.wrapping_add(5 * MIB)));
    assert!(holds(at.wrapping_add(4 * MIB), MIB, 1 + 4 * MIB as u64));
    assert!(all_are(at.wrapping_add(3 * MIB), MIB, Page::DEVICE));
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), len).unwrap() };
}

/// Catches: a page that the program has closed is open for as long as the rest of its chunk comes home, and it along.
#[test]
fn what_is_closed_stays_closed_while_its_neighbours_come_home() {
    let _alone = alone();
    let (b, device) = (common::Block::new(2 * MIB), two_devices()[0]);
    fill(b.ptr, b.len, 1);
    // SAFETY: the device writes nothing; a page of the block.
    unsafe {
        raw::acquire(
            device,
            StreamId::DEFAULT,
            &[Access { ptr: b.ptr, len: 64 * PAGE, mode: AccessMode::Read }],
        )
        .unwrap();
        raw::release(device, StreamId::DEFAULT).unwrap();
        mapping::protect(b.ptr.addr(), PAGE, libc::PROT_NONE, None).unwrap();
    }
    let (at, stop) = (b.ptr.addr(), std::sync::atomic::AtomicBool::new(false));
    // As a touch, but without the signal.
    let is_open = || {
        let mut byte = 0_u8;
        let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        let remote = libc::iovec { iov_base: without_provenance_mut(at), iov_len: 1 };
        // SAFETY: a byte of room; the kernel checks the other address.
        unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) == 1 }
    };
    std::thread::scope(|s| {
        let looking = s.spawn(|| {
            let mut open = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                open += usize::from(is_open());
            }
            open
        });
        for _ in 0..300 {
            raw::migrate(b.ptr.wrapping_add(64 * PAGE), b.len - 64 * PAGE, device).unwrap();
            // SAFETY: a byte of the block.
            unsafe { b.ptr.wrapping_add(300 * PAGE).read_volatile() };
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(looking.join().unwrap(), 0);
    });
    // SAFETY: the same page.
    unsafe { mapping::protect(at, PAGE, RW, None).unwrap() };
    assert!(holds(b.ptr, b.len, 1));
}

/// Catches: what the program has made executable by itself is ordinary memory when the rest of its chunk has come home.
#[test]
fn what_may_be_executed_stays_so_while_its_neighbours_come_home() {
    let _alone = alone();
    let b = common::Block::new(2 * MIB);
    fill(b.ptr, b.len, 1);
    // SAFETY: a page of the block.
    assert_eq!(unsafe { libc::mprotect(b.ptr.cast(), PAGE, RW | libc::PROT_EXEC) }, 0);
    let rest = b.ptr.wrapping_add(64 * PAGE);
    for _ in 0..3 {
        raw::migrate(rest, b.len - 64 * PAGE, two_devices()[0]).unwrap();
        raw::migrate(rest, b.len - 64 * PAGE, HMM_HOST).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| {
            let mut ends = line.split([' ', '-']).map(|n| usize::from_str_radix(n, 16).unwrap_or(0));
            ends.next().zip(ends.next()).is_some_and(|(a, z)| (a..z).contains(&b.ptr.addr()))
        });
        assert!(line.is_some_and(|line| line.contains("rwxp")), "{line:?}");
        assert!(holds(b.ptr, b.len, 1));
    }
    // SAFETY: the same page.
    assert_eq!(unsafe { libc::mprotect(b.ptr.cast(), PAGE, RW) }, 0);
}
