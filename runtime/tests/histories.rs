//! What is learnt of the CPU's touches, of whatever does not fill its chunks: blocks in a slab, and the edges of adopted ranges.
//! Each case has a process of its own, under the policy `auto`.

mod common;

use hmmrt::raw::{self, Advice, HMM_HOST};
use hmmrt::{Access, AccessMode, Config, Page, PolicyChoice, StreamId};

const CHUNK: usize = 2 << 20;
const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// Runs `case` in a process of its own.
fn alone(name: &str, case: impl Fn()) {
    if common::case().is_some() {
        raw::init(Some(Config { policy: PolicyChoice::Auto, ..common::config() })).unwrap();
        raw::device_count().unwrap();
        return case();
    }
    let out = common::run_case(name, "auto", &[]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Managed bytes, filled page by page with their page's number.
#[derive(Clone, Copy)]
struct Part {
    ptr: *mut u8,
    len: usize,
}

impl Part {
    fn filled(ptr: *mut u8, len: usize) -> Part {
        let all = Part { ptr, len };
        // SAFETY: the part's memory.
        (0..len / PAGE).for_each(|page| unsafe { all.at(page).write_volatile(page as u32) });
        all
    }
    fn block(len: usize) -> Part {
        Part::filled(raw::calloc(len, 1).unwrap(), len)
    }
    fn adopted(ptr: *mut u8, len: usize) -> Part {
        let all = Part::filled(ptr, len);
        // SAFETY: private anonymous memory that stays mapped.
        unsafe { raw::adopt(ptr, len).unwrap() };
        all
    }
    fn at(&self, page: usize) -> *mut u32 {
        self.ptr.wrapping_add(page * PAGE).cast()
    }
    fn check(&self, page: usize) {
        // SAFETY: the part's memory, which nobody writes.
        assert_eq!(unsafe { self.at(page).read_volatile() }, page as u32);
    }
    /// Acquires it on the first device in `pieces`, at once, and releases it.
    fn visit(&self, pieces: usize) {
        let len = self.len / pieces;
        let piece =
            |i| Access { ptr: self.ptr.wrapping_add(i * len).cast_const(), len, mode: AccessMode::ReadWrite };
        // SAFETY: no kernel is queued: nothing is written.
        unsafe { raw::acquire(0, StreamId::DEFAULT, &(0..pieces).map(piece).collect::<Vec<_>>()).unwrap() };
        raw::release(0, StreamId::DEFAULT).unwrap();
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    }
    /// How many of its pages are home.
    fn home(&self) -> usize {
        let mut pages = vec![Page::default(); self.len / PAGE];
        raw::query(self.ptr, self.len, &mut pages).unwrap();
        pages.iter().filter(|p| p.flags & Page::HOST != 0).count()
    }
}

/// New memory of the program's own, from a chunk's start on.
fn mapped(chunks: usize) -> *mut u8 {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), (chunks + 1) * CHUNK, prot, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    let at = at.cast::<u8>();
    at.wrapping_add(at.align_offset(CHUNK))
}

/// Eight places of 256 pages: who comes for the first time gets all in the end, and who comes back only those, for it is seen that
/// a device has used the memory in between. Catches: devices' uses counted for another allocation than the touches are.
fn learns(what: &str, part: Part, first: usize, pieces: usize) {
    let came = [(); 2].map(|()| {
        part.visit(pieces);
        assert_eq!(part.home(), 0, "{what}");
        (0..8).for_each(|i| part.check(first + i * 30));
        part.home()
    });
    assert!(came[0] >= 256 && came[1] == 8, "{what}: {came:?}");
}

#[test]
fn what_shares_its_chunk_learns_like_what_has_its_own() {
    alone("what_shares_its_chunk_learns_like_what_has_its_own", || {
        let small = [(); 2].map(|()| Part::block(MIB));
        assert_eq!(small[0].ptr.addr() / CHUNK, small[1].ptr.addr() / CHUNK, "one slab");
        let adopted = |offset, len| Part::adopted(mapped(4).wrapping_add(offset), len);
        let all = [
            ("chunks of its own", Part::block(2 * CHUNK), 10),
            ("the first block of a slab", small[0], 0),
            ("the second", small[1], 0),
            ("a part of a chunk", adopted(0, MIB), 0),
            ("the middle of a chunk", adopted(MIB / 2, MIB), 0),
            ("what ends in the next chunk", adopted(MIB, 2 * MIB), 0),
            ("what begins in the chunk before", adopted(MIB, 2 * MIB), 256),
            ("what goes on with a whole chunk", adopted(MIB, 2 * CHUNK), 0),
            ("what is behind a whole chunk", adopted(MIB, 2 * CHUNK), 256 + 512),
        ];
        // A number of ranges for each: what follows launches of the same ranges would be expected.
        for (i, (what, part, first)) in all.into_iter().enumerate() {
            learns(what, part, first, i + 1);
        }
    });
}

#[test]
fn reading_ahead_goes_to_the_end_of_a_range_and_moves_nothing_else() {
    alone("reading_ahead_goes_to_the_end_of_a_range_and_moves_nothing_else", || {
        let at = mapped(4);
        let range = Part::adopted(at.wrapping_add(MIB), MIB + CHUNK + MIB / 2);
        let beside = Part::adopted(at.wrapping_add(2 * CHUNK + MIB), MIB / 2);
        range.visit(1);
        beside.visit(1);
        raw::advise(range.ptr, range.len, Advice::Sequential, HMM_HOST).unwrap();
        range.check(0);
        common::until("all of the range", || range.home() == range.len / PAGE);
        assert_eq!(beside.home(), 0, "that is another's");
        (0..range.len / PAGE).for_each(|page| range.check(page));
        (0..beside.len / PAGE).for_each(|page| beside.check(page));
    });
}
