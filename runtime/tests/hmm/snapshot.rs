//! snapshot: looking at pages of different kinds.

use crate::common::{others_sleep, two_devices};
use crate::device;
use crate::memory::{ACCESS, Kind::*, MIB, Memory, PAGE, STATE};
use crate::os;
use crate::row::{Kind, row};
use hmmrt::{AccessMode, Page, Protection, raw};

/// Catches: kinds of pages that look alike, and a look that changes something.
#[test]
fn snapshot() {
    let differs = "hmm_query instead of a snapshot of the device's page table";
    let Some(_row) = row("snapshot::snapshot", Kind::Changed, differs) else { return };
    let m = Memory::new(Small, 12 * PAGE);
    let page = |i: usize| m.at(i * PAGE);
    let [first, second] = two_devices();
    m.fill_part(PAGE, 12 * PAGE, 1); // 0: never touched; 1: on the host
    for (i, to) in [(2, first), (3, second), (4, first), (5, first), (6, first), (11, first)] {
        raw::migrate(page(i), PAGE, to).unwrap();
    }
    raw::host_ready(page(4), PAGE, AccessMode::Read).unwrap(); // 4: on both sides
    m.protect(5 * PAGE, PAGE, libc::PROT_READ); // 5: on the device, read-only
    m.protect(6 * PAGE, PAGE, libc::PROT_NONE); // 6: on the device, inaccessible
    m.protect(7 * PAGE, PAGE, libc::PROT_READ); // 7: on the host, read-only
    m.protect(8 * PAGE, PAGE, libc::PROT_NONE); // 8: on the host, inaccessible
    raw::pin(page(9), PAGE).unwrap(); // 9: pinned
    m.unmap(10 * PAGE, PAGE).unwrap(); // 10: nothing
    others_sleep();
    let was = (raw::stats(), os::present_pages(m.ptr.addr(), m.len), os::protections(m.ptr.addr(), m.len));
    let mut pages = [Page::default(); 12];
    raw::query(m.ptr, m.len, &mut pages).unwrap();
    let both = Page::HOST | Page::DEVICE;
    let (r, rw) = (Page::READ, ACCESS);
    let expected = [
        (Page::UNTOUCHED | rw, -1),
        (Page::HOST | rw, -1),
        (Page::DEVICE | rw, first),
        (Page::DEVICE | rw, second),
        (both | rw, first),
        (Page::DEVICE | r, first),
        (Page::DEVICE, first),
        (Page::HOST | r, -1),
        (Page::HOST, -1),
        (Page::HOST | Page::PINNED | rw, -1),
        (0, -1),
        (Page::DEVICE | rw, first),
    ];
    for (i, (p, (flags, device))) in pages.iter().zip(expected).enumerate() {
        assert_eq!((p.flags, p.device), (flags, device), "page {i}");
    }
    let now = (raw::stats(), os::present_pages(m.ptr.addr(), m.len), os::protections(m.ptr.addr(), m.len));
    assert_eq!(was, now, "a look changes nothing");
    let mut again = [Page::default(); 12];
    raw::query(m.ptr, m.len, &mut again).unwrap();
    assert_eq!(pages, again);
    // What is not managed at all, in part.
    let foreign = [0_u8; 3 * PAGE];
    let mut pages = [Page::default(); 2];
    raw::query(foreign.as_ptr().map_addr(|a| a & !(PAGE - 1)), 2 * PAGE, &mut pages).unwrap();
    assert!(pages.iter().all(|p| p.flags & (STATE | Page::FOREIGN) == Page::HOST | Page::FOREIGN));
    raw::unpin(page(9), PAGE).unwrap();
    // A huge page, all of it and in part.
    let h = Memory::filled(Huge, 2 * MIB, 2);
    assert!(h.all_are(Page::HOST));
    h.send();
    h.hmm_protect(Protection::Read);
    assert!(h.flags().iter().all(|f| *f == Page::DEVICE | r));
    assert_eq!(device::read(first, h.at(MIB), MIB).unwrap(), crate::memory::pattern(MIB, 2 * MIB, 2));
}
