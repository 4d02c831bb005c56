//! What checksums after launches would bring and cost. Replays themselves check that no old byte is used.

use hmmrt::AccessMode::ReadWrite;
use hmmrt::policy::PageMask;
use hmmrt_policy_lab::checks::Check;
use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::oracle::floor;
use hmmrt_policy_lab::replay::Checksums;
use hmmrt_policy_lab::trace::{Event, PAGE, PAGES, Touch, Trace, Use};
use hmmrt_policy_lab::traces::{generate, names, partly_changed, unnamed};

const MS: u64 = 1_000_000;
const CHUNK: u64 = PAGES * PAGE;

/// One chunk: a kernel that may change it changes `written`, the CPU reads all.
fn one(written: PageMask) -> Check {
    let of = Use { written: Some(vec![(0, written)]), ..Use::all(0, PAGES, ReadWrite) };
    let launch = Event::Launch { kernel: 1, uses: vec![of], ns: MS };
    let read = Event::Cpu { chunk: 0, pages: PageMask::FULL, touch: Touch::Read, ns: MS };
    let events = vec![launch, read];
    let trace = Trace { name: "one".to_owned(), device: 2, allocations: vec![(0, 1)], events };
    Check::new(&trace, &Costs::default()).unwrap()
}

#[test]
fn what_is_unchanged_stays_and_what_is_changed_comes_home() {
    let costs = Costs::default();
    let nothing = one(PageMask::EMPTY);
    assert_eq!(nothing.of.map(|o| o.bytes_home), [CHUNK, 0, 0]);
    assert_eq!(nothing.of.map(|o| o.held), [0, CHUNK, CHUNK]);
    // Before and after, each with a start.
    let hashing = 2 * (costs.hash_launch + (CHUNK as f64 * 1e9 / costs.hash).ceil() as u64);
    assert_eq!(nothing.of.map(|o| o.hashing), [0, hashing, hashing]);
    let saved = nothing.of[0].total - nothing.of[1].total;
    assert!(saved > costs.transfer(CHUNK / 2), "{nothing:?}");
    let half = one(PageMask::span(256, 256));
    assert_eq!(half.of.map(|o| o.bytes_home), [CHUNK, CHUNK / 2, CHUNK / 2]);
    let all = one(PageMask::FULL);
    assert_eq!(all.of.map(|o| o.bytes_home), [CHUNK, CHUNK, CHUNK]);
    assert!(all.of[1].total > all.of[0].total, "{all:?}");
}

/// It wins where little changes and the CPU reads, loses little where all does, and costs where the CPU does not read.
#[test]
fn checksums_win_where_launches_change_a_tenth_of_what_they_name() {
    let of = |name: &str, seed| Check::new(&generate(name, seed).unwrap(), &Costs::default()).unwrap();
    for seed in 1..=6 {
        for (name, most) in [("changed-0.1-all", 0.9), ("changed-0.1-some", 0.75)] {
            let check = of(name, seed);
            assert!(check.ratio(1) < most && check.ratio(2) < most, "{name} {seed}: {check:?}");
            assert!(check.of[1].bytes_home * 3 < check.of[0].bytes_home * 2, "{name} {seed}: {check:?}");
        }
        let (all, none) = (of("changed-1-all", seed), of("changed-0.1-none", seed));
        assert!((1.0..1.15).contains(&all.ratio(1)), "{seed}: {all:?}");
        assert!((1.0..1.5).contains(&none.ratio(1)), "{seed}: {none:?}");
        assert!(none.of[0].bytes_home <= none.of[1].bytes_home + 8 * CHUNK, "{seed}: {none:?}");
    }
}

/// Who knows the future is never slower, and what a launch leaves as it was is no other byte than before.
#[test]
fn nothing_with_checksums_beats_the_floor() {
    for name in partly_changed().chain(names()) {
        let trace = unnamed(generate(name, 2).unwrap());
        let costs = Costs::default();
        let least = floor(&trace, &costs).total;
        let check = Check::new(&trace, &costs).unwrap();
        assert!(check.of.iter().all(|o| o.total >= least), "{name}: {least}, {check:?}");
    }
    assert_eq!(Costs::default().checksums, Checksums::Off);
}
