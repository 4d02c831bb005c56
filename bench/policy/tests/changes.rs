//! Touches that do not stay where they were: what was learnt ends soon, and what does not change is not lost for it.

use hmmrt::AccessMode::ReadWrite;
use hmmrt::policy::PageMask;
use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::replay::{Outcome, contenders, replay};
use hmmrt_policy_lab::trace::{Event, PAGE, PAGES, Touch, Trace, Use};

/// A block of `chunks` that a kernel changes each round, and of which the CPU then changes the pages `of` that round: what
/// came to pass in the last `last` of `rounds`.
fn last(chunks: u64, rounds: u64, last: u64, of: impl Fn(u64) -> Vec<u64>) -> Outcome {
    let after = |rounds: u64| {
        let mut events = Vec::new();
        for round in 0..rounds {
            let all = Use::all(0, chunks * PAGES, ReadWrite);
            events.push(Event::Launch { kernel: 1, uses: vec![all], ns: 1_000_000 });
            events.push(Event::Cpu { chunk: 0, pages: PageMask::EMPTY, touch: Touch::Read, ns: 3_000_000 });
            for page in of(round) {
                let pages = PageMask::span((page % PAGES) as usize, 1);
                events.push(Event::Cpu {
                    chunk: (page / PAGES) as usize,
                    pages,
                    touch: Touch::Update,
                    ns: 1000,
                });
            }
        }
        let count = chunks as usize;
        let trace = Trace { name: "changes".into(), device: count, allocations: vec![(0, count)], events };
        replay(&trace, &Costs::default(), contenders()[0]).unwrap()
    };
    let (before, all) = (after(rounds - last), after(rounds));
    Outcome { bytes_home: all.bytes_home - before.bytes_home, faults: all.faults - before.faults, ..all }
}

/// Page `n` of a walk through `chunks` that is in no order.
fn walk(chunks: u64, n: u64) -> u64 {
    (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % (chunks * PAGES)
}

fn pages(o: &Outcome) -> u64 {
    o.bytes_home / PAGE
}

/// One word, elsewhere in each round: hardly more than its page comes home.
#[test]
fn a_place_that_moves_is_not_waited_for() {
    let steps = |step: u64, chunks: u64| move |round: u64| vec![round * step % (chunks * PAGES)];
    for chunks in [1, 8] {
        assert!(pages(&last(chunks, 120, 80, |round| vec![walk(chunks, round)])) <= 2 * 80, "{chunks}");
        assert!(pages(&last(chunks, 120, 80, steps(37, chunks))) <= 3 * 80, "{chunks}");
    }
    assert!(pages(&last(8, 120, 120, |round| vec![walk(8, round)])) < 500, "from the beginning");
}

/// A word that stays is there before it is touched, nothing else comes, and when it moves it is there again.
#[test]
fn a_place_that_stays_is() {
    let stays = last(8, 120, 60, |_| vec![1007]);
    assert!(pages(&stays) == 60 && stays.faults <= 2, "{stays:?}");
    let moved = last(8, 120, 60, |round| vec![round / 60 * 1000 + 7]);
    assert!(pages(&moved) <= 70 && moved.faults <= 5, "{moved:?}");
}

/// All of it at first, then a word anywhere: whole chunks do not come for ever.
#[test]
fn what_was_read_as_a_whole_is_not_for_ever() {
    let all = |round| if round < 30 { (0..8 * PAGES).collect() } else { vec![walk(8, round)] };
    assert!(pages(&last(8, 100, 40, all)) <= 400);
    let always = last(8, 120, 60, |_| (0..8 * PAGES).collect());
    assert!(always.faults <= 6, "{always:?}");
}

/// Half of an allocation is read as a whole and half in one page of each chunk: what comes is learnt by place.
#[test]
fn density_has_its_place() {
    let half = last(64, 80, 40, |_| (0..32 * PAGES).chain((32..64).map(|c| c * PAGES + 9)).collect());
    assert!(pages(&half) < 40 * 40 * PAGES && half.faults <= 60, "{half:?}");
}
