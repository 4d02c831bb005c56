use super::*;

/// Touches the pages in order over chunks that are all away; how many faults it took, and how many pages came.
fn touch_all(
    h: &mut History,
    chunks: usize,
    pages: impl IntoIterator<Item = u64>,
    fetch: bool,
) -> (u32, usize) {
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
            order: Order::Unknown,
        };
        let b = Auto.bring(&touch, h);
        assert!(b.pages.has(page) && b.pages.within(touch.alike));
        done[chunk] = done[chunk] | b.pages;
        (chunk + 1..chunks).take(b.ahead as usize).for_each(|c| done[c] = PageMask::FULL);
    }
    (faults, done.iter().map(PageMask::count).sum())
}

#[test]
fn a_reader_in_order_is_read_ahead_of() {
    let (faults, pages) = touch_all(&mut History::default(), 64, 0..64 * PAGES, true);
    assert_eq!(pages, 64 * PAGES as usize);
    assert!(faults <= 8, "{faults}"); // three of them for the first chunk
}

#[test]
fn touches_here_and_there_bring_little() {
    let mut h = History::default();
    // A fixed walk through 1,000 of 32,768 pages.
    let walk = (0..100_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & 0x7fff) | 1);
    let (_, pages) = touch_all(&mut h, 64, walk, true);
    assert!(pages < 200, "{pages}");
    // Every page in the end, in no order: a few faults a chunk.
    let all = (0..64 * PAGES).map(|i| i.wrapping_mul(12_345) % (64 * PAGES));
    let (faults, _) = touch_all(&mut History::default(), 64, all, true);
    assert!(faults <= 64 * 6, "{faults}");
}

#[test]
fn one_page_of_each_chunk_round_after_round_becomes_one_page() {
    let mut h = History::default();
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
    let (faults, pages) = touch_all(&mut History::default(), 300, (0..500).map(|i| 7 + i * 300), true);
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
        order,
    };
    assert_eq!(Auto.bring(&t(Order::Random), &mut History::default()), Bring::only(PageMask::span(5, 1)));
    let b = Auto.bring(&t(Order::Sequential), &mut History::default());
    assert!(b.pages == all && b.ahead > 0);
}

/// The first chunk says what the others are like.
#[test]
fn of_an_unknown_allocation_little_comes_until_it_is_read_on() {
    let (faults, pages) = touch_all(&mut History::default(), 8, (0..8).map(|c| c * PAGES), true);
    assert_eq!((faults, pages), (8, 8), "one page of each was touched");
    let (faults, pages) = touch_all(&mut History::default(), 1, 0..PAGES, true);
    assert_eq!((faults, pages), (3, PAGES as usize));
    let (faults, _) = touch_all(&mut History::default(), 17, 0..17 * PAGES, true);
    assert!(faults <= 4, "{faults}: who has read a chunk from page to page is read far ahead of");
}

/// What was to be read ahead has not come, since a kernel was writing it: the reader goes on all the same.
#[test]
fn a_reader_who_comes_before_what_was_to_be_read_ahead_goes_on() {
    let mut h = History::default();
    touch_all(&mut h, 4, 0..4 * PAGES, true);
    let touch = |chunk, page| Touch {
        chunk,
        page,
        write: false,
        fetch: true,
        alike: PageMask::FULL,
        done: PageMask::EMPTY,
        order: Order::Unknown,
    };
    let end = h.fetch.next / PAGES;
    assert!(end > 6);
    assert!(Auto.bring(&touch(6, 0), &mut h).ahead > 1);
    let elsewhere = Auto.bring(&touch(end + 50, 0), &mut h);
    assert_eq!(elsewhere.ahead, 0);
}

#[test]
fn a_look_that_finds_one_page_ends_the_belief_in_whole_chunks() {
    let mut h = History::default();
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
    let mut h = History::default();
    let planes = || (0..2 * PAGES).filter(|p| (p % PAGES).is_multiple_of(60));
    let (_, first) = touch_all(&mut h, 2, planes(), true);
    assert_eq!(first, 2 * PAGES as usize, "who comes once pays no more than twice");
    h.device_uses();
    let (_, second) = touch_all(&mut h, 2, planes(), true);
    assert!(second < PAGES as usize, "{second}");
    // Where there are many such chunks, nobody could remember it.
    let mut h = History::default();
    let planes =
        |chunks: u64| (0..PAGES).step_by(60).flat_map(move |p| (0..chunks).map(move |c| c * PAGES + p));
    touch_all(&mut h, 3, planes(3), true);
    h.device_uses();
    let (_, all) = touch_all(&mut h, 20, planes(20), true);
    assert_eq!(all, 20 * PAGES as usize);
}

#[test]
fn what_comes_early_in_vain_comes_no_more() {
    let h = &mut History::default();
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
    let h = &mut History::default();
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
    let mut h = History::default();
    let places = [3, 90, 130, 400];
    let pages = (0..12).flat_map(|c| places.map(|p| c * PAGES + p));
    let (faults, came) = touch_all(&mut h, 12, pages, true);
    assert_eq!((faults, came), (4 + 11, 12 * 4));
}
