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
    assert!(l.next_reads(10_000, 10_001), "nothing has followed 2 yet, but 1 has read it");
    assert!(!l.next_reads(30_000, 30_001), "nobody has");
    rounds(&mut l, &[r(77, 1, false, true), r(78, 1, false, true)]);
    let (home, out) = launch(&mut l, 1);
    assert_eq!(home, [r(77, 2, false, true)]);
    assert_eq!(out, [r(20_000, 100, false, true)], "2 comes next");
    assert!(l.next_reads(20_000, 20_001) && !l.next_reads(30_000, 30_001));
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

const CHUNK: u64 = 512;

/// A launch that reads eight chunks which the CPU writes before it: what is given after it, home or to be taken.
fn filled(l: &mut Launches, late: u32) -> Vec<Range> {
    let uses = [r(0, 8 * CHUNK as u32, false, true)];
    let mut home = Vec::new();
    l.late(late);
    l.launched(Launches::key(5, uses.into_iter()), uses.into_iter(), |r| home.push(r), |_| ());
    home
}

/// The CPU writes all of it: a fault for each chunk that was not taken, and the first in pieces if it knows nothing yet.
fn fill(l: &mut Launches, taken: &[Range]) -> u32 {
    let mut sent = 0;
    for c in 0..8 {
        if taken.iter().any(|t| t.meets(c * CHUNK, c * CHUNK + 1)) {
            continue;
        }
        match (c, taken.is_empty()) {
            (0, true) => {
                [(0, 1), (1, 64), (65, 447)].iter().for_each(|&(s, n)| l.touched(r(s, n, true, false)))
            }
            _ => l.touched(r(c * CHUNK, CHUNK as u32, true, false)),
        }
        sent += l.left_behind(c * CHUNK).map_or(0, |r| r.pages / CHUNK as u32);
    }
    sent
}

#[test]
fn what_the_cpu_fills_again_is_taken_ahead_and_goes_behind_it() {
    let mut l = Launches::new();
    assert_eq!(filled(&mut l, 8), []);
    assert_eq!(fill(&mut l, &[]), 0, "nothing is expected: the fault path sends chunk by chunk");
    assert!(l.next_reads(0, 1));
    filled(&mut l, 1);
    fill(&mut l, &[]);
    let taken = filled(&mut l, 1);
    assert!(!taken.is_empty() && taken.iter().all(|r| r.write && !r.read), "{taken:?}");
    assert_eq!(fill(&mut l, &taken), 7, "all but the last chunk");
}

#[test]
fn who_is_late_is_met_at_each_chunk_for_a_while() {
    let mut l = Launches::new();
    for _ in 0..4 {
        let taken = filled(&mut l, 1);
        fill(&mut l, &taken);
    }
    assert_eq!(filled(&mut l, 5), [], "each chunk is left closed");
    let mut rounds = 0;
    while filled(&mut l, 1).is_empty() {
        rounds += 1;
        fill(&mut l, &[r(99_999, 1, true, false)]);
        assert!(rounds < 40);
    }
    assert!(rounds > 10, "{rounds}");
}

/// A launch that is late before anything was foreseen, or only of another one, says nothing of who writes for it.
#[test]
fn what_nobody_foresaw_makes_no_writer_quick() {
    let mut l = Launches::new();
    assert_eq!(filled(&mut l, 8), []);
    fill(&mut l, &[]);
    let taken = filled(&mut l, 8);
    assert!(!taken.is_empty(), "sparse");
    assert_eq!(fill(&mut l, &taken), 7);
    let there = |l: &mut Launches, late: u32| {
        let uses = [r(99 * CHUNK, 8 * CHUNK as u32, false, true)];
        let mut home = Vec::new();
        l.late(late);
        l.launched(Launches::key(5, uses.into_iter()), uses.into_iter(), |r| home.push(r), |_| ());
        home
    };
    let moved: Vec<Range> = taken.iter().map(|t| r(t.start + 99 * CHUNK, t.pages, true, false)).collect();
    assert_eq!(there(&mut l, 8), moved, "the first of its own, as the other");
}

#[test]
fn who_comes_twice_is_not_followed() {
    let mut l = Launches::new();
    filled(&mut l, 1);
    fill(&mut l, &[]);
    assert!(l.next_reads(0, 1));
    l.touched(r(0, CHUNK as u32, true, false));
    assert!(!l.next_reads(0, 1) && l.left_behind(CHUNK).is_none());
    filled(&mut l, 8);
    assert!(!l.next_reads(0, 1), "nor the next time");
}

/// A kernel from one buffer to another: what is to come home.
fn between(l: &mut Launches, kernel: u64, from: u64, to: u64, pages: u32) -> Vec<Range> {
    let uses = [r(from, pages, false, true), r(to, pages, true, false)];
    let mut home = Vec::new();
    l.launched(Launches::key(kernel, uses.into_iter()), uses.into_iter(), |r| home.push(r), |_| ());
    home
}

#[test]
fn two_buffers_in_turn_are_learnt_as_one() {
    let mut l = Launches::new();
    assert_eq!(between(&mut l, 1, 0, 10_000, 2048), []);
    l.touched(r(10_100, 1, false, true));
    l.touched(r(10_101, 49, false, true));
    assert_eq!(between(&mut l, 2, 10_000, 0, 2048), [], "another kernel");
    assert_eq!(between(&mut l, 1, 10_000, 0, 1024), [], "another length");
    assert_eq!(between(&mut l, 1, 10_000, 0, 2048), [r(100, 50, false, true)], "at the same place");
}

/// Places that lie apart are not believed after one time, nor after one time of each of two.
#[test]
fn what_is_not_sure_is_learnt_by_each() {
    let mut l = Launches::new();
    for round in 0..2 {
        for (from, to) in [(0, 10_000), (10_000, 0)] {
            assert_eq!(between(&mut l, 1, from, to, 2048), [], "{round}");
            l.touched(r(to + 100, 1, false, true));
            l.touched(r(to + 300, 1, false, true));
        }
    }
    assert_eq!(between(&mut l, 1, 0, 10_000, 2048).len(), 2);
    assert_eq!(between(&mut l, 1, 10_000, 0, 2048).len(), 2);
}

/// The same two ranges, in turn as source and result: each way round is a launch of its own.
#[test]
fn what_is_done_with_ranges_tells_launches_apart() {
    let mut l = Launches::new();
    let [a, b] = [0, 10_000];
    let swap = |l: &mut Launches, forth: bool| {
        let uses = [r(a, 100, !forth, forth), r(b, 100, forth, !forth)];
        let (mut home, mut out) = (Vec::new(), Vec::new());
        let key = Launches::key(7, uses.into_iter());
        l.launched(key, uses.into_iter(), |r| home.push(r), |r| out.push(r));
        let result = if forth { b } else { a };
        l.touched(r(result + 5, 3, false, true));
        (home, out)
    };
    for round in 0..12 {
        for (forth, result) in [(true, b), (false, a)] {
            let (home, out) = swap(&mut l, forth);
            if round > LEARNT {
                assert_eq!(home, [r(result + 5, 3, false, true)], "round {round}");
                assert_eq!(out, [r(result, 100, false, true)], "the next one's source");
            }
        }
    }
    let keys = [(false, true), (true, false), (true, true)]
        .map(|(write, read)| Launches::key(7, [r(a, 100, write, read)].into_iter()));
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert!(keys.iter().all(|k| k >> 32 == keys[0] >> 32), "of one kind");
}
