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
    assert!(faults <= 8, "{faults}");
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
    assert!(faults <= 500);
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

/// How far ahead a reader is served who touches chunk after chunk, if each touch is seen.
fn furthest(h: &mut History, chunks: u64) -> u64 {
    let touch = |chunk| Touch {
        chunk,
        page: 0,
        write: false,
        fetch: true,
        alike: PageMask::FULL,
        done: PageMask::EMPTY,
        order: Order::Unknown,
    };
    let (mut end, mut most) = (0, 0);
    for chunk in 0..chunks {
        let (from, more) = if chunk < end {
            Auto.reached(chunk, h).unwrap_or((end, 0))
        } else {
            (chunk + 1, Auto.bring(&touch(chunk), h).ahead)
        };
        assert!(more == 0 || from == end.max(chunk + 1), "{chunk}: {from} and {more}, after {end}");
        end = end.max(from + u64::from(more));
        most = most.max(end - chunk - 1);
    }
    most
}

#[test]
fn who_is_seen_to_go_on_is_served_further_and_never_too_far() {
    let h = &mut History::default();
    assert_eq!(furthest(h, 1), 0, "one chunk is no order");
    assert_eq!(furthest(&mut History::default(), 2), 4);
    assert_eq!(furthest(h, 200), u64::from(MOST_AHEAD));
}

#[test]
fn what_comes_early_in_vain_comes_no_more() {
    let h = &mut History::default();
    (0..4).for_each(|_| h.early_ended(false));
    assert_eq!(furthest(h, 200), u64::from(MOST_AHEAD / 4));
    (0..100).for_each(|_| h.early_ended(false));
    assert_eq!(furthest(h, 200), 0, "not at all");
    // After a while it is tried again, and goes as far as it is of use.
    (0..17).for_each(|_| h.device_uses());
    assert_eq!(h.fetch.most_ahead(MOST_AHEAD), 1);
    (0..40).for_each(|_| h.early_ended(true));
    assert_eq!(h.fetch.most_ahead(MOST_AHEAD), MOST_AHEAD);
}
