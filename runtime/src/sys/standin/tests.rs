//! The stand-in itself: it does what the kernel does where the runtime relies on it. What the same files do over the kernel is
//! tested where they are.

use super::may;
use crate::addr::{CHUNK, HostAddr, PAGE};
use crate::sys::map::{self, Prot};
use crate::sys::vma::Maps;
use crate::sys::{futex, procmem, trial};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

fn chunk() -> HostAddr {
    map::map(CHUNK, CHUNK, Prot::ReadWrite, "a test").unwrap()
}

/// The first byte of a page, whatever its protection.
fn byte(at: HostAddr) -> u8 {
    // SAFETY: a test's own memory, which is there.
    unsafe { at.ptr().read_volatile() }
}

fn set(at: HostAddr, to: u8) {
    // SAFETY: as above.
    unsafe { at.ptr().write_volatile(to) }
}

#[test]
fn protections_are_by_page_and_told() {
    let at = chunk();
    map::protect(at.add(PAGE), PAGE, Prot::Read).unwrap();
    map::protect(at.add(2 * PAGE), PAGE, Prot::None).unwrap();
    let maps = Maps::open();
    for (page, read, write) in [(0, true, true), (1, true, false), (2, false, false), (3, true, true)] {
        let page = at.add(page * PAGE);
        assert_eq!((may(page.0, PAGE, false), may(page.0, PAGE, true)), (read, write));
        let vma = maps.at(page).unwrap();
        assert_eq!((vma.read, vma.write, vma.exec, vma.private_anonymous), (read, write, false, true));
        assert_eq!((trial::can_read(page), trial::can_write(page)), (read, write));
        let end = if page.0 == at.0 + 3 * PAGE { at.0 + CHUNK } else { page.0 + PAGE };
        assert_eq!((vma.start, vma.end), (page.0, end));
    }
    assert!(!may(at.0 + PAGE - 1, 2, true) && may(at.0 + PAGE - 1, 2, false), "across two pages");
    map::unmap(at, CHUNK);
    assert!(!may(at.0, 1, false) && map::protect(at, PAGE, Prot::Read).is_err());
}

#[test]
fn a_mapping_goes_in_parts() {
    let at = map::map(3 * CHUNK, CHUNK, Prot::ReadWrite, "a test").unwrap();
    map::unmap(at.add(CHUNK), CHUNK);
    assert!(may(at.0, CHUNK, true) && !may(at.0 + CHUNK, 1, false) && may(at.0 + 2 * CHUNK, CHUNK, true));
    assert!(map::protect(at, 2 * CHUNK, Prot::Read).is_err(), "with a hole");
    map::replace(at.add(CHUNK), CHUNK, Prot::Read).unwrap();
    assert_eq!(Maps::open().at(at.add(CHUNK)).map(|v| (v.read, v.write)), Some((true, false)));
    map::unmap(at, 3 * CHUNK);
    assert!(map::map(1 << 40, CHUNK, Prot::None, "a test").is_err() && map::reserve_at(at, CHUNK).is_none());
}

#[test]
fn what_is_given_back_is_zero() {
    let at = chunk();
    for give in [map::give_back, |at, len| map::replace(at, len, Prot::ReadWrite)] {
        (0..3).for_each(|page| set(at.add(page * PAGE), 7));
        map::protect(at.add(PAGE), PAGE, Prot::None).unwrap();
        give(at.add(PAGE), PAGE).unwrap();
        assert_eq!([0, 1, 2].map(|page| byte(at.add(page * PAGE))), [7, 0, 7]);
        map::protect(at, CHUNK, Prot::ReadWrite).unwrap();
    }
    map::unmap(at, CHUNK);
}

#[test]
fn a_move_takes_the_bytes_and_the_protection_along() {
    let (from, to) = (chunk(), chunk());
    set(from.add(PAGE), 1);
    set(to.add(PAGE), 2);
    map::protect(to, CHUNK, Prot::None).unwrap();
    map::move_pages(from, to, CHUNK, Prot::ReadWrite).unwrap();
    assert_eq!((byte(from.add(PAGE)), byte(to.add(PAGE))), (0, 1));
    assert!(may(to.0, CHUNK, true) && may(from.0, CHUNK, true), "both are mapped");
    map::protect(from, PAGE, Prot::Read).unwrap();
    assert!(map::move_pages(from, to, CHUNK, Prot::ReadWrite).is_err(), "of two mappings");
    map::unmap(from, CHUNK);
    map::unmap(to, CHUNK);
}

#[test]
fn protected_pages_are_filled_in_place() {
    let (from, to) = (chunk(), chunk());
    set(from, 9);
    map::protect(to, CHUNK, Prot::None).unwrap();
    procmem::fill(to, from, PAGE).unwrap();
    assert_eq!((procmem::read_byte(to), may(to.0, 1, false)), (Some(9), false));
    map::give_back(to, PAGE).unwrap();
    assert_eq!(procmem::read_byte(to), Some(0), "what was filled in was noted");
    map::unmap(to, CHUNK);
    assert_eq!(procmem::read_byte(to), None);
    map::unmap(from, CHUNK);
}

#[test]
fn who_waits_is_woken() {
    static WORD: AtomicU32 = AtomicU32::new(0);
    futex::wait(&WORD, 1, None); // another value: at once
    futex::wait(&WORD, 0, Some(1_000)); // a moment
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while WORD.load(SeqCst) == 0 {
                    futex::wait(&WORD, 0, None);
                }
            });
        }
        WORD.store(1, SeqCst);
        futex::wake(&WORD, 2);
    });
}
