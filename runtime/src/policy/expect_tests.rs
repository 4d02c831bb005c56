use super::*;

const HOME: Range = Range { start: 0, pages: 1, write: false, read: true };
const TAKE: Range = Range { start: 0, pages: 1, write: true, read: false };

fn at(kind: Range, start: u64, pages: u32) -> Range {
    Range { start, pages, ..kind }
}

fn again(e: &mut Expect<8>, seen: u32, dense: [bool; 2]) -> Vec<(u64, u64)> {
    let mut given = Vec::new();
    e.again(seen, 2, dense, |r| given.push((r.start, r.end())));
    given
}

/// A chunk that was opened by a page and then touched from page to page, and `chunks` more of them.
fn in_order(kind: Range, chunks: u64) -> Expect<8> {
    let mut e = Expect::NONE;
    for (start, pages) in [(0, 1), (1, 64), (65, 447)] {
        e.note(at(kind, start, pages));
    }
    (1..chunks).for_each(|c| e.note(at(kind, c * CHUNK, CHUNK as u32)));
    e
}

#[test]
fn what_was_read_from_page_to_page_is_believed_at_once_and_other_things_are_not() {
    assert_eq!(again(&mut in_order(HOME, 4), 2, [false; 2]), [(0, 4 * CHUNK)]);
    let mut e = in_order(HOME, 4);
    e.note(at(HOME, 9000, 1));
    assert_eq!(again(&mut e, 2, [false; 2]), [], "not all of it is sure");
    let mut e: Expect<8> = Expect::NONE;
    (0..4).for_each(|c| e.note(at(HOME, c * CHUNK, CHUNK as u32)));
    assert_eq!(again(&mut e, 2, [false; 2]), [], "one touch a chunk says little");
    let mut e: Expect<8> = Expect::NONE;
    for i in 0..9 {
        e.note(at(HOME, i * 3000, 1));
        e.note(at(HOME, i * 3000 + 1, 64));
    }
    assert!(e.all().iter().all(|i| i.sure));
    assert_eq!(again(&mut e, 2, [false; 2]), [], "there was no room for all of it");
}

#[test]
fn pieces_become_one_in_any_order() {
    let mut e: Expect<8> = Expect::NONE;
    for start in [200, 0, 300, 100] {
        e.note(at(HOME, start, 100));
    }
    assert_eq!(e.all().iter().map(|i| (i.range.start, i.range.pages)).collect::<Vec<_>>(), [(0, 400)]);
    assert!(!e.all()[0].sure, "they did not go on from one to the next");
}

/// Of what came along its end is left out until it is touched, or gone; then one piece in so many times.
#[test]
fn what_came_along_without_being_wanted_goes() {
    let mut e: Expect<8> = Expect::NONE;
    e.note(at(HOME, 1000, 1));
    e.note(at(HOME, 1001, 127));
    let mut sizes = Vec::new();
    for seen in 3..15 {
        let given = again(&mut e, seen, [false; 2]);
        sizes.push(given[0].1 - 1000);
        // The program reads 60 pages.
        if sizes[sizes.len() - 1] < 60 {
            e.note(at(HOME, given[0].1, 1));
        }
    }
    assert_eq!(sizes[..3], [96, 72, 54]);
    assert!(sizes[3..].iter().all(|s| *s == 72), "{sizes:?}");
}

#[test]
fn if_nothing_is_wanted_all_goes() {
    let mut e = in_order(HOME, 1);
    e.note(at(HOME, 90_000, 1));
    e.note(at(HOME, 95_000, 1));
    let mut given = 3;
    for seen in 3..40 {
        given = again(&mut e, seen, [false; 2]).len();
    }
    assert_eq!(given, 0, "nobody has touched any of it");
}

/// Halos that are read have too much at their ends; those that are written, of another length, are not looked at for that.
#[test]
fn doubt_is_about_what_is_alike() {
    let mut e: Expect<8> = Expect::NONE;
    (0..3).for_each(|i| e.note(at(HOME, i * 5000, 40)));
    (0..3).for_each(|i| e.note(Range { write: true, ..at(HOME, i * 5000 + 60, 20) }));
    let mut smallest = [40, 40, 40, 20, 20, 20];
    for seen in 3..=TEST + 1 {
        let given = again(&mut e, seen, [false; 2]);
        for (size, g) in smallest.iter_mut().zip(&given) {
            *size = (g.1 - g.0).min(*size);
        }
    }
    assert!(smallest[..3].iter().all(|size| *size < 40), "{smallest:?}");
    assert_eq!(smallest[3..], [20, 20, 20]);
}

#[test]
fn a_writer_is_met_at_wires_and_what_it_has_left_can_go() {
    let mut e = in_order(TAKE, 16);
    let given = again(&mut e, 2, [false; 2]);
    let wires: Vec<u64> =
        (0..16).filter(|c| !given.iter().any(|g| (g.0..g.1).contains(&(c * CHUNK)))).collect();
    assert_eq!(wires, [0, 3, 7, 10, 12, 13, 14, 15]);
    let mut gone = 0;
    for c in &wires {
        e.note(at(TAKE, c * CHUNK, CHUNK as u32));
        let left = e.left_behind(c * CHUNK, false);
        assert_eq!(left.map_or(0, |r| r.start), gone * CHUNK, "nothing twice, nothing forgotten");
        gone = left.map_or(0, |r| r.end() / CHUNK);
        assert_eq!(gone, if *c == 0 { 0 } else { *c });
    }
    assert_eq!(gone, 15, "the last chunk is what remains");
    assert!(!e.was_again());
    assert_eq!(again(&mut e, 3, [false; 2]), given, "as before");
    // It stops after chunk 8: what lies behind the next wire is not taken any more.
    [0, 3, 7].iter().for_each(|c| e.note(at(TAKE, c * CHUNK, CHUNK as u32)));
    let given = again(&mut e, 4, [false; 2]);
    assert!(!given.is_empty() && given.iter().all(|g| g.1 <= 10 * CHUNK), "{given:?}");
    assert_eq!(again(&mut e, 5, [false; 2]), [], "nothing was written at all");
}

#[test]
fn where_the_bus_is_slow_each_chunk_tells() {
    let mut e = in_order(TAKE, 6);
    assert_eq!(again(&mut e, 2, [true; 2]), []);
    (0..6).for_each(|c| e.note(at(TAKE, c * CHUNK, CHUNK as u32)));
    assert_eq!(e.left_behind(4 * CHUNK, true).map(|r| (r.start, r.end())), Some((3 * CHUNK, 4 * CHUNK)));
    assert!(!again(&mut e, 3, [true, false]).is_empty(), "all of it was written");
}

#[test]
fn a_second_pass_is_seen() {
    let mut e = in_order(TAKE, 6);
    assert!(!e.was_again());
    e.note(at(TAKE, 0, CHUNK as u32));
    assert!(e.was_again(), "before anything was taken early");
    let mut e = in_order(TAKE, 6);
    again(&mut e, 2, [false; 2]);
    (0..6).for_each(|c| e.note(at(TAKE, c * CHUNK, CHUNK as u32)));
    assert!(!e.was_again());
    e.note(at(TAKE, CHUNK, CHUNK as u32));
    assert!(e.was_again());
}

#[test]
fn the_same_place_of_another_chunk_is_as_sure_as_the_first() {
    let mut e: Expect<8> = Expect::NONE;
    e.note(at(HOME, 20, 1));
    e.note(at(HOME, 21, 64));
    e.note(at(HOME, 5 * CHUNK + 20, 65));
    assert!(e.all()[1].sure);
    e.note(at(HOME, 7 * CHUNK + 20, 64));
    e.note(at(HOME, 9 * CHUNK + 21, 65));
    assert!(!e.all()[2].sure && !e.all()[3].sure, "another length, another place");
}

/// What came along with a run without being wanted says nothing of the others; what was believed and is not wanted does.
#[test]
fn the_end_of_a_run_casts_no_doubt_on_others() {
    let mut e: Expect<8> = Expect::NONE;
    for (start, pages) in [(1000, 1), (1001, 127), (5000, 1), (5001, 7)] {
        e.note(at(HOME, start, pages));
    }
    assert_eq!(again(&mut e, 3, [false; 2]), [(1000, 1096), (5000, 5008)]);
    assert_eq!(again(&mut e, 4, [false; 2]), [(1000, 1072), (5000, 5008)]);
}

/// Where something new is touched, what stood still is looked at soon; where nothing is, late.
#[test]
fn what_has_moved_is_found_out_soon() {
    let given_after = |moves: bool| {
        let mut e: Expect<8> = Expect::NONE;
        e.note(at(HOME, 1000, 1));
        (3..3 + 2 * SOON)
            .map(|seen| {
                let given = again(&mut e, seen, [false; 2]).len();
                if moves {
                    e.note(at(HOME, u64::from(seen) * 3000, 1));
                }
                given
            })
            .last()
    };
    assert_eq!((given_after(false), given_after(true).map(|n| n < 3)), (Some(1), Some(true)));
}

/// A page that is looked at now and then is learnt once: while it is left out it costs nothing, and a touch has it come again.
#[test]
fn what_is_left_out_may_be_wanted_again() {
    let mut e: Expect<8> = Expect::NONE;
    e.note(at(HOME, 1000, 1));
    let given: Vec<usize> = (3..TEST + 9)
        .map(|seen| {
            let given = again(&mut e, seen, [false; 2]).len();
            if seen == TEST + 5 {
                e.note(at(HOME, 1000, 1));
            }
            given
        })
        .collect();
    let asleep = TEST as usize - 3;
    assert!(given[..asleep].iter().all(|n| *n == 1), "{given:?}");
    assert_eq!(given[asleep..], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1][..given.len() - asleep]);
    (TEST + 9..TESTS).for_each(|seen| drop(again(&mut e, seen, [false; 2])));
    assert!(e.all().is_empty(), "forgotten");
}

/// One touch of a chunk that was left out does not say that all of the range is wanted.
#[test]
fn one_page_is_not_a_chunk() {
    let mut e = in_order(HOME, 8);
    let mut given = Vec::new();
    for seen in 2..2 * TEST {
        given = again(&mut e, seen, [false; 2]);
        for i in e.all().to_vec() {
            let left = i.range.start + u64::from(i.left.0);
            if i.left.0 < i.left.1 {
                e.note(at(HOME, left + 7, 1));
            }
        }
    }
    let pages: u64 = given.iter().map(|g| g.1 - g.0).sum();
    assert!(pages < 2 * CHUNK, "{pages}");
}
