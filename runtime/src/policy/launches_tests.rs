use super::*;

fn r(start: u64, pages: u32, write: bool, read: bool) -> Range {
    Range { start, pages, write, read }
}

/// Launches kernel `k` on a range of its own; what is to come home, and what to go ahead.
fn launch(l: &mut Launches, k: u64) -> (Vec<Range>, Vec<Range>) {
    let uses = [r(k * 10_000, 100, false, true)];
    let (mut home, mut out) = (Vec::new(), Vec::new());
    let key = Launches::key(k, uses.into_iter());
    l.launched(key, uses.into_iter(), |r| home.push(r), |r| out.push(r));
    (home, out)
}

/// Launch 1, what the CPU fetches, launch 2; as often as it takes to be believed.
fn rounds(l: &mut Launches, fetched: &[Range]) {
    for _ in 0..=LEARNT {
        launch(l, 1);
        fetched.iter().for_each(|r| l.touched(*r));
        launch(l, 2);
    }
}

#[test]
fn what_followed_last_time_is_expected() {
    let mut l = Launches::new();
    launch(&mut l, 1);
    launch(&mut l, 2);
    assert!(!l.next_reads(10_000, 10_001), "nothing has followed 2 yet");
    rounds(&mut l, &[r(77, 1, false, true), r(78, 1, false, true)]);
    let (home, out) = launch(&mut l, 1);
    assert_eq!(home, [r(77, 2, false, true)]);
    assert_eq!(out, [r(20_000, 100, false, true)], "2 comes next");
    assert!(l.next_reads(20_000, 20_001) && !l.next_reads(10_000, 10_001));
}

#[test]
fn pages_in_a_row_are_one_range() {
    let mut l = Launches::new();
    let chunks: Vec<Range> = (0..1000).map(|i| r(i * 512, 512, false, true)).collect();
    rounds(&mut l, &chunks);
    assert_eq!(launch(&mut l, 1).0, [r(0, 512_000, false, true)]);
}

/// The launch that made it is followed by it, however many come in between.
#[test]
fn results_belong_to_the_launch_that_made_them() {
    let mut l = Launches::new();
    let made = [r(500, 10, true, false)];
    let make = |l: &mut Launches| {
        let mut home = Vec::new();
        l.launched(Launches::key(9, made.into_iter()), made.into_iter(), |r| home.push(r), |_| ());
        home
    };
    for _ in 0..=LEARNT {
        make(&mut l);
        launch(&mut l, 1);
        l.touched(r(502, 3, false, true));
    }
    assert_eq!(make(&mut l), [r(502, 3, false, true)]);
    assert_eq!(launch(&mut l, 1).0, []);
}

#[test]
fn what_the_cpu_writes_in_between_is_not_sent_ahead() {
    let mut l = Launches::new();
    for _ in 0..3 {
        launch(&mut l, 1);
        l.touched(r(20_050, 1, true, false));
        launch(&mut l, 2);
    }
    assert_eq!(launch(&mut l, 1).1, []);
    assert!(l.next_reads(20_000, 20_100));
}

/// A range that the CPU does not touch any more is forgotten within as many rounds as there are to leave out in.
#[test]
fn what_is_not_wanted_any_more_is_forgotten() {
    let mut l = Launches::new();
    rounds(&mut l, &[r(77, 1, false, true)]);
    let expected: Vec<usize> = (0..40)
        .map(|_| {
            let n = launch(&mut l, 1).0.len();
            launch(&mut l, 2);
            n
        })
        .collect();
    assert_eq!(expected[0], 1);
    assert!(expected[16..].iter().all(|n| *n == 0), "{expected:?}");
}

/// What is the same over and over is told apart from what it was before and will be.
#[test]
fn a_launch_that_comes_again_and_again_stays_what_it_is() {
    let mut l = Launches::new();
    (0..5).for_each(|_| drop(launch(&mut l, 1)));
    assert_eq!(launch(&mut l, 1), (vec![], vec![]), "all that it reads is there");
    for _ in 0..=LEARNT {
        l.touched(r(77, 1, false, true));
        launch(&mut l, 1);
    }
    assert_eq!(launch(&mut l, 1).0, [r(77, 1, false, true)]);
    launch(&mut l, 2);
    assert_eq!(launch(&mut l, 1).1, [r(20_000, 100, false, true)], "2 came next the last time");
}

#[test]
fn what_went_back_untouched_is_forgotten_at_once() {
    let mut l = Launches::new();
    rounds(&mut l, &[r(77, 1, false, true), r(500, 4, false, true)]);
    launch(&mut l, 1);
    l.in_vain(r(0, 400, false, false));
    launch(&mut l, 2);
    assert_eq!(launch(&mut l, 1).0, [r(500, 4, false, true)]);
}
