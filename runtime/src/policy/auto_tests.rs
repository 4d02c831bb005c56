use super::super::{Learn, Regulars};
use super::*;
use core::ops::{Deref, DerefMut};

/// What there is to remember of one allocation.
#[derive(Default)]
struct Past {
    history: History,
    regulars: Box<Regulars>,
}

impl Past {
    fn bring(&mut self, touch: &Touch) -> Bring {
        Auto.bring(touch, &mut self.history, self.regulars.of(touch))
    }

    /// What of a chunk that is away is moved early.
    fn moved_early(&mut self, chunk: u64, fetch: bool) -> PageMask {
        self.regulars.moved_early(chunk, PageMask::FULL, fetch, &mut self.history)
    }
}

impl Deref for Past {
    type Target = History;
    fn deref(&self) -> &History {
        &self.history
    }
}

impl DerefMut for Past {
    fn deref_mut(&mut self) -> &mut History {
        &mut self.history
    }
}

/// Touches the pages in order over chunks that are all away; how many faults it took, and how many pages came.
fn touch_all(h: &mut Past, chunks: usize, pages: impl IntoIterator<Item = u64>, fetch: bool) -> (u32, usize) {
    let mut done = vec![PageMask::EMPTY; chunks];
    let mut faults = 0;
    for at in pages {
        let (chunk, page) = ((at / PAGES) as usize, (at % PAGES) as usize);
        if done[chunk].has(page) {
            continue;
        }
        faults += 1;
        let touch = Touch {
            chunk: chunk as u64,
            page,
            write: !fetch,
            fetch,
            alike: !done[chunk],
            done: done[chunk],
            whole: true,
            order: Order::Unknown,
        };
        let b = h.bring(&touch);
        assert!(b.pages.has(page) && b.pages.within(touch.alike));
        done[chunk] = done[chunk] | b.pages;
        (chunk + 1..chunks).take(b.ahead as usize).for_each(|c| done[c] = PageMask::FULL);
    }
    (faults, done.iter().map(PageMask::count).sum())
}

#[test]
fn a_reader_in_order_is_read_ahead_of() {
    let (faults, pages) = touch_all(&mut Past::default(), 64, 0..64 * PAGES, true);
    assert_eq!(pages, 64 * PAGES as usize);
    assert!(faults <= 8, "{faults}"); // three of them for the first chunk
}

#[test]
fn touches_here_and_there_bring_little() {
    let mut h = Past::default();
    // A fixed walk through 1,000 of 32,768 pages.
    let walk = (0..100_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & 0x7fff) | 1);
    let (_, pages) = touch_all(&mut h, 64, walk, true);
    assert!(pages < 200, "{pages}");
    // Every page in the end, in no order: a few faults a chunk.
    let all = (0..64 * PAGES).map(|i| i.wrapping_mul(12_345) % (64 * PAGES));
    let (faults, _) = touch_all(&mut Past::default(), 64, all, true);
    assert!(faults <= 64 * 6, "{faults}");
}

#[test]
fn one_page_of_each_chunk_round_after_round_becomes_one_page() {
    let mut h = Past::default();
    let mut last = 0;
    for _ in 0..4 {
        h.device_uses();
        last = touch_all(&mut h, 32, (0..32).map(|c| c * PAGES), true).1;
    }
    assert_eq!(last, 32, "nothing but what is touched");
    // And back to whole chunks when they are read as a whole.
    for _ in 0..4 {
        h.device_uses();
        last = touch_all(&mut h, 32, 0..32 * PAGES, true).0 as usize;
    }
    assert!(last <= 32 * 3, "{last}");
}

#[test]
fn strides_are_followed() {
    // 300 pages apart: a touch or two in each chunk.
    let (faults, pages) = touch_all(&mut Past::default(), 300, (0..500).map(|i| 7 + i * 300), true);
    assert!(pages < 500 * 4, "{pages}");
    assert!(faults <= 330, "{faults}");
}

#[test]
fn advice_decides() {
    let all = PageMask::FULL;
    let t = |order| Touch {
        chunk: 9,
        page: 5,
        write: false,
        fetch: true,
        alike: all,
        done: PageMask::EMPTY,
        whole: true,
        order,
    };
    assert_eq!(Past::default().bring(&t(Order::Random)), Bring::only(PageMask::span(5, 1)));
    let b = Past::default().bring(&t(Order::Sequential));
    assert!(b.pages == all && b.ahead > 0);
}

/// The first chunk says what the others are like.
#[test]
fn of_an_unknown_allocation_little_comes_until_it_is_read_on() {
    let (faults, pages) = touch_all(&mut Past::default(), 8, (0..8).map(|c| c * PAGES), true);
    assert_eq!((faults, pages), (8, 8), "one page of each was touched");
    let (faults, pages) = touch_all(&mut Past::default(), 1, 0..PAGES, true);
    assert_eq!((faults, pages), (3, PAGES as usize));
    let (faults, _) = touch_all(&mut Past::default(), 17, 0..17 * PAGES, true);
    assert!(faults <= 4, "{faults}: who has read a chunk from page to page is read far ahead of");
}

/// What was to be read ahead has not come, since a kernel was writing it: the reader goes on all the same.
#[test]
fn a_reader_who_comes_before_what_was_to_be_read_ahead_goes_on() {
    let mut h = Past::default();
    touch_all(&mut h, 4, 0..4 * PAGES, true);
    let touch = |chunk, page| Touch {
        chunk,
        page,
        write: false,
        fetch: true,
        alike: PageMask::FULL,
        done: PageMask::EMPTY,
        whole: true,
        order: Order::Unknown,
    };
    let end = h.fetch.next / PAGES;
    assert!(end > 6);
    assert!(h.bring(&touch(6, 0)).ahead > 1);
    let elsewhere = h.bring(&touch(end + 50, 0));
    assert_eq!(elsewhere.ahead, 0);
}

#[test]
fn a_look_that_finds_one_page_ends_the_belief_in_whole_chunks() {
    let mut h = Past::default();
    touch_all(&mut h, 2, 0..2 * PAGES, true);
    assert_eq!(h.fetch.is_dense(), Some(true));
    for _ in 0..3 {
        h.device_uses();
        touch_all(&mut h, 12, (0..12).map(|c| c * PAGES), true);
    }
    h.device_uses();
    let (_, pages) = touch_all(&mut h, 12, (0..12).map(|c| c * PAGES), true);
    assert_eq!(pages, 12);
}

/// Planes that lie apart, in the same two chunks each round: what they are is learnt in the second, and no more than that comes.
#[test]
fn a_few_places_of_a_few_chunks_are_learnt_one_by_one() {
    let mut h = Past::default();
    let planes = || (0..2 * PAGES).filter(|p| (p % PAGES).is_multiple_of(60));
    let (_, first) = touch_all(&mut h, 2, planes(), true);
    assert_eq!(first, 2 * PAGES as usize, "who comes once pays no more than twice");
    h.device_uses();
    let (_, second) = touch_all(&mut h, 2, planes(), true);
    assert!(second < PAGES as usize, "{second}");
}

#[test]
fn what_comes_early_in_vain_comes_no_more() {
    let h = &mut Past::default();
    h.fetch.streak = 10;
    (0..4).for_each(|_| h.early_ended(false));
    assert_eq!(h.fetch.most_ahead(MOST_AHEAD), MOST_AHEAD / 4);
    (0..100).for_each(|_| h.early_ended(false));
    assert_eq!(h.fetch.most_ahead(MOST_AHEAD), 0, "not at all");
    // After a while it is tried again, and goes as far as it is of use.
    (0..17).for_each(|_| h.device_uses());
    assert_eq!(h.fetch.most_ahead(MOST_AHEAD), 1);
    (0..40).for_each(|_| h.early_ended(true));
    assert_eq!(h.fetch.most_ahead(MOST_AHEAD), MOST_AHEAD);
}

/// Who is seen to go on is served further, and never too far.
#[test]
fn a_reader_who_is_seen_is_kept_ahead_of() {
    let h = &mut Past::default();
    h.fetch.next = 3 * PAGES;
    let (mut end, mut most) = (3, 0);
    for chunk in 1..200 {
        if let Some((from, more)) = Auto.reached(chunk, h) {
            assert_eq!(from, end);
            end += u64::from(more);
        }
        assert!(end > chunk + 1, "{chunk}");
        most = most.max(end - chunk - 1);
    }
    assert_eq!(most, u64::from(MOST_AHEAD));
}

/// Four pages that lie apart in each chunk, always the same: four faults for the first, then one a chunk.
#[test]
fn a_chunk_is_touched_where_the_last_one_was() {
    let mut h = Past::default();
    let places = [3, 90, 130, 400];
    let pages = (0..12).flat_map(|c| places.map(|p| c * PAGES + p));
    let (faults, came) = touch_all(&mut h, 12, pages, true);
    assert_eq!((faults, came), (4 + 11, 12 * 4));
}

/// Places in each of `chunks`, in an order that goes to and fro between them.
fn places(chunks: u64, first: u64, apart: usize) -> impl Iterator<Item = u64> {
    (first..PAGES).step_by(apart).flat_map(move |p| (0..chunks).map(move |c| c * PAGES + p))
}

/// What came in the last of so many rounds, of 20 chunks.
fn last_of<P: Iterator<Item = u64>>(
    h: &mut Past,
    rounds: u64,
    fetch: bool,
    wanted: impl Fn(u64) -> P,
) -> (u32, usize) {
    let round = |round| {
        let came = touch_all(h, 20, wanted(round), fetch);
        h.device_uses();
        came
    };
    (0..rounds).map(round).last().unwrap()
}

/// Too many for faults one by one, and the same ones in each round: they are all that comes, with one fault a chunk, but for those that
/// are left out to see whether they are still touched.
#[test]
fn places_that_are_touched_again_are_all_that_comes() {
    for fetch in [true, false] {
        let h = &mut Past::default();
        let mut rounds = Vec::new();
        for _ in 0..40 {
            rounds.push(touch_all(h, 20, places(20, 3, 60), fetch));
            h.device_uses();
        }
        let first = if fetch { 20 * PAGES as usize } else { 20 * 9 };
        assert_eq!(rounds[0].1, first, "who comes once pays no more than twice");
        let (faults, came) = rounds[4];
        assert_eq!(came, 20 * 9);
        assert!(faults <= 20 * 5, "{faults}: the first time some are left out");
        assert_eq!(rounds[7], (20, 20 * 9), "one for each chunk");
        let faults: u32 = rounds[5..].iter().map(|(faults, _)| faults - 20).sum();
        assert!((20..=20 * 4 * 3).contains(&faults), "{faults}: now and then");
    }
}

/// Other places each time: two chunks show it, and it is seldom looked at again.
#[test]
fn places_that_are_not_touched_again_are_not_learnt() {
    for fetch in [true, false] {
        let h = &mut Past::default();
        let (mut faults, mut came) = (0, 0);
        for round in 0..64 {
            let (f, c) = touch_all(h, 20, places(20, round * 7 % 40, 42 + round as usize % 9), fetch);
            (faults, came) = (faults + f, came + c);
            h.device_uses();
        }
        assert!(came > 60 * 20 * PAGES as usize, "{came}");
        assert!(faults < 64 * 20 * 2, "{faults}");
    }
}

/// The program does something else from some round on.
#[test]
fn places_that_are_touched_no_more_are_forgotten() {
    for fetch in [true, false] {
        let h = &mut Past::default();
        for _ in 0..10 {
            touch_all(h, 20, places(20, 3, 60), fetch);
            h.device_uses();
        }
        let mut last = (0, 0);
        for round in 0..30 {
            last = touch_all(h, 20, (0..20 * PAGES).step_by(8), fetch);
            assert!(round == 0 || last.0 < 20 * 13, "{round}: {last:?}");
            h.device_uses();
        }
        assert!(
            last.0 <= 30 && last.1 == 20 * PAGES as usize,
            "{last:?}: all of each chunk at once, but for one that is looked at"
        );
        // Fewer than before: what is left out is not touched any more.
        let h = &mut Past::default();
        let wanted = |round| if round < 10 { places(20, 3, 60) } else { places(20, 3, 300) };
        let last = last_of(h, 60, fetch, wanted);
        assert_eq!(last.1, 20 * 2, "{last:?}");
    }
}

/// More pieces than a chunk's copy is worth.
#[test]
fn places_in_many_pieces_are_not_worth_it() {
    for fetch in [true, false] {
        let h = &mut Past::default();
        let last = last_of(h, 12, fetch, |_| places(20, 3, 40));
        assert!(last.0 < 40 && last.1 == 20 * PAGES as usize, "{last:?}");
    }
}

/// Chunks of which nine pages are known.
fn known() -> Past {
    let mut h = Past::default();
    for _ in 0..6 {
        touch_all(&mut h, 4, places(4, 3, 60), true);
        h.device_uses();
    }
    h
}

/// A touch of page 3 of a chunk that is away.
fn first_touch(chunk: u64) -> Touch {
    Touch {
        chunk,
        page: 3,
        write: false,
        fetch: true,
        alike: PageMask::FULL,
        done: PageMask::EMPTY,
        whole: true,
        order: Order::Unknown,
    }
}

/// What one chunk has learnt says nothing of another that shares its place in the table.
#[test]
fn chunks_that_share_a_place_are_told_apart() {
    let h = &mut known();
    assert_eq!(h.bring(&first_touch(2)).pages.count(), 9);
    assert_ne!(h.bring(&first_touch(3 + 4096)).pages.count(), 9);
    assert!(h.moved_early(1 + 4096, true).is_full());
}

/// What comes early is what is known, and no touch of it is waited for.
#[test]
fn places_that_come_early_are_not_forgotten() {
    let h = &mut known();
    for round in 0..40 {
        for chunk in 0..4 {
            h.bring(&first_touch(chunk));
            assert_eq!(h.moved_early(chunk, true).count(), 9, "{round}");
            assert!(h.moved_early(chunk, false).is_full(), "they were never taken");
        }
        h.device_uses();
    }
}

/// Blocks that share a chunk have histories of their own, and rounds: what is remembered by chunk would be neither's.
#[test]
fn chunks_of_several_blocks_are_not_learnt() {
    let h = &mut known();
    let block = PageMask::span(0, 300);
    for _ in 0..8 {
        let mut done = PageMask::EMPTY;
        for page in (3..300).step_by(60) {
            if done.has(page) {
                continue;
            }
            let (alike, done_of) = (block & !done, block & done);
            let b = h.bring(&Touch { page, alike, done: done_of, whole: false, ..first_touch(7) });
            assert!(b.pages.has(page) && b.learn == Learn::Pages);
            done = done | b.pages & alike;
        }
        assert!(h.moved_early(7, true).is_full());
        h.device_uses();
    }
}

/// Chunk by chunk, each at its first page: that is nobody who reads on, and a chunk that is not known is none either.
#[test]
fn places_in_order_are_no_reader() {
    let h = &mut Past::default();
    let planes = |chunks: std::ops::Range<u64>| {
        chunks.flat_map(|c| (0..PAGES).step_by(64).map(move |p| c * PAGES + p))
    };
    for _ in 0..30 {
        touch_all(h, 20, planes(0..20), true);
        h.device_uses();
    }
    assert_eq!(touch_all(h, 20, planes(0..20), true), (20, 20 * 8));
    h.device_uses();
    let (_, came) = touch_all(h, 32, planes(0..32), true);
    assert!(came <= 20 * 8 + 12 * PAGES as usize, "{came}");
    h.device_uses();
    let (_, came) = touch_all(h, 32, planes(0..32), true);
    assert_eq!(came, 32 * 8, "they are learnt");
}

/// One round in which all is read, or other places are: the habit is there again soon.
#[test]
fn a_round_of_something_else_is_got_over() {
    for fetch in [true, false] {
        let h = &mut Past::default();
        let wanted = |round| if round == 50 { places(20, 0, 4) } else { places(20, 3, 60) };
        let last = last_of(h, 100, fetch, wanted);
        assert!(last.1 <= 20 * 9 + 512, "{last:?}");
    }
}

/// A part of what is known came early: the rest comes with the first touch of it.
#[test]
fn what_has_not_come_early_comes_at_once() {
    let h = &mut known();
    for chunk in 0..4 {
        let early = PageMask::span(0, 100);
        let came = h.regulars.moved_early(chunk, early, true, &mut h.history);
        assert!(came.within(PageMask::span(3, 1) | PageMask::span(63, 1)), "{came:?}");
        let away = Touch { page: 123, alike: !came, done: came, ..first_touch(chunk) };
        assert_eq!((h.bring(&away).pages & !PageMask::span(0, 100)).count(), 7);
    }
}
