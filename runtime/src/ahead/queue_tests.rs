use super::*;
use crate::addr::PAGE;

const AT: HostAddr = HostAddr(10 * CHUNK);

fn numbers(q: &mut Queue) -> Vec<usize> {
    core::iter::from_fn(|| q.next(Way::Home)).map(|s| s.at.0 / CHUNK).collect()
}

#[test]
fn a_reader_goes_on_or_goes_elsewhere() {
    let mut q = Queue::new();
    q.read_ahead(1, AT, 2, false);
    q.read_ahead(1, AT.add(2 * CHUNK), 2, false);
    assert!(q.awaits(1, AT.add(3 * CHUNK)) && !q.awaits(2, AT) && !q.awaits(1, AT.add(4 * CHUNK)));
    assert_eq!(q.next(Way::Home).map(|s| s.at), Some(AT));
    assert!(!q.awaits(1, AT), "begun");
    q.read_ahead(1, HostAddr(50 * CHUNK), 2, false);
    assert_eq!(numbers(&mut q), [50, 51], "what it has left is not brought");
    q.read_ahead(1, AT, 9, false);
    q.end_of_reader(1);
    assert_eq!(q.next(Way::Home), None);
}

#[test]
fn readers_take_turns_and_come_before_launches() {
    let mut q = Queue::new();
    assert!(q.push(0, AT.range(CHUNK + 1), Kind::Home { write: false }, None));
    q.read_ahead(1, HostAddr(20 * CHUNK), 3, false);
    q.read_ahead(2, HostAddr(30 * CHUNK), 3, false);
    let mut all = numbers(&mut q);
    assert_eq!(all.split_off(6), [10, 11]);
    assert!(all[..2] == [20, 30] || all[..2] == [30, 20], "{all:?}");
}

#[test]
fn pieces_of_a_chunk_are_one_step() {
    let mut q = Queue::new();
    let page = |i: usize, count: usize| AT.add(i * PAGE).range(count * PAGE);
    let [read, write] = [false, true].map(|write| Kind::Home { write });
    for (range, kind, behind) in [
        (page(0, 1), read, None),
        (page(8, 2), read, None),
        (page(511, 2), read, None),
        (page(300, 1), read, Some(3)),
        (page(4, 1), write, None),
        (page(600, 1), read, None),
    ] {
        assert!(q.push(0, range, kind, behind));
    }
    let steps: Vec<Step> = core::iter::from_fn(|| q.next(Way::Home)).collect();
    let found: Vec<_> = steps.iter().map(|s| (s.at, s.kind, s.pages())).collect();
    let first = PageMask::span(0, 1) | PageMask::span(8, 2) | PageMask::span(511, 1);
    let second = PageMask::span(0, 1) | PageMask::span(88, 1);
    assert_eq!(found.len(), 3, "{found:?}");
    for step in [(AT, read, first), (AT, write, PageMask::span(4, 1)), (AT.add(CHUNK), read, second)] {
        assert!(found.contains(&step), "{step:?} of {found:?}");
    }
    assert!(q.has_behind(3));
}

/// All of the pieces: the one that a launch has ends the step.
#[test]
fn a_step_of_pieces_is_overtaken_by_any() {
    let mut q = Queue::new();
    for i in [0, 9] {
        q.push(0, AT.add(i * PAGE).range(PAGE), Kind::Take, None);
    }
    q.next(Way::Home).unwrap();
    q.overtaken(AT.add(4 * PAGE).range(PAGE));
    q.overtaken(AT.add(CHUNK).range(CHUNK));
    assert!(q.is_wanted(Way::Home));
    q.overtaken(AT.add(9 * PAGE).range(3 * CHUNK));
    assert!(!q.is_wanted(Way::Home));
}

#[test]
fn each_way_has_its_thread_and_two_do_all() {
    let mut q = Queue::new();
    q.push(0, AT.range(2 * CHUNK), Kind::Home { write: false }, None);
    q.push(0, HostAddr(40 * CHUNK).range(2 * CHUNK), Kind::Out { device: 0, behind: false }, None);
    let ways = [Way::Out, Way::Home, Way::More, Way::More, Way::Out, Way::Home];
    let all = ways.map(|way| (q.next(way).map(|s| s.at.0 / CHUNK), q.has_out()));
    let out = [(Some(40), true), (Some(10), true), (Some(41), false)];
    assert_eq!(all, [out[0], out[1], out[2], (None, false), (Some(11), false), (None, false)]);
}

#[test]
fn nobody_goes_on_with_what_another_thread_has_given_up() {
    let mut q = Queue::new();
    let out = Kind::Out { device: 0, behind: false };
    q.push(0, AT.range(4 * CHUNK), out, None);
    let first = q.next(Way::Out).unwrap();
    assert_eq!(q.next(Way::More).map(|s| s.at.0 / CHUNK), Some(11));
    q.give_up(first);
    assert_eq!(q.next(Way::Out), None);
}

#[test]
fn readers_take_turns_whatever_goes_out() {
    let mut q = Queue::new();
    q.push(0, HostAddr(40 * CHUNK).range(8 * CHUNK), Kind::Out { device: 0, behind: false }, None);
    q.read_ahead(1, HostAddr(20 * CHUNK), 4, false);
    q.read_ahead(2, HostAddr(30 * CHUNK), 4, false);
    let both: Vec<usize> = (0..4)
        .map(|_| {
            assert!(q.next(Way::More).is_some());
            q.next(Way::Home).unwrap().at.0 / CHUNK
        })
        .collect();
    assert_eq!(both, [20, 30, 21, 31]);
}

#[test]
fn ranges_wait_for_their_launch() {
    let mut q = Queue::new();
    let home = Kind::Home { write: false };
    for stream in [3, 4] {
        q.push(0, AT.range(CHUNK), home, Some(stream));
    }
    assert!(q.has_behind(3) && q.next(Way::Home).is_none());
    q.drop_behind(4);
    let first = q.release();
    q.push(0, HostAddr(20 * CHUNK).range(CHUNK), home, Some(3));
    q.arm(4, first);
    q.arm(3, first);
    assert_eq!(numbers(&mut q), [10], "the second has not ended");
    let second = q.release();
    q.arm(3, second);
    assert_eq!(numbers(&mut q), [20]);
    assert_eq!(q.len(), 0);
}

#[test]
fn what_the_next_launch_uses_does_not_wait_for_the_one_before() {
    let mut q = Queue::new();
    let home = Kind::Home { write: false };
    q.push(0, AT.range(CHUNK), home, Some(3));
    q.push(0, HostAddr(20 * CHUNK).range(CHUNK), home, Some(3));
    let first = q.release();
    q.overtaken(AT.add(CHUNK - 1).range(1));
    q.arm(3, first);
    assert_eq!(numbers(&mut q), [20]);
}

#[test]
fn what_a_launch_has_is_neither_taken_nor_sent_behind() {
    let mut q = Queue::new();
    let [behind, next] = [true, false].map(|behind| Kind::Out { device: 0, behind });
    let home = Kind::Home { write: false };
    for kind in [next, behind, home, Kind::Take] {
        q.push(0, AT.range(2 * CHUNK), kind, None);
    }
    let other = HostAddr(40 * CHUNK);
    q.push(0, other.range(CHUNK), behind, None);
    q.push(0, other.range(CHUNK), Kind::Take, None);
    q.overtaken(AT.add(CHUNK).range(1));
    let left: Vec<Step> = core::iter::from_fn(|| q.next(Way::Home)).collect();
    let sent = left.iter().filter(|s| s.kind == behind).map(|s| s.at);
    assert_eq!(sent.collect::<Vec<_>>(), [other]);
    assert_eq!(left[..3].iter().map(|s| s.kind).collect::<Vec<_>>(), [Kind::Take, home, home]);
    assert_eq!((left[0].at, left.len()), (other, 6), "{left:?}");
}

#[test]
fn what_a_thread_is_about_to_take_stays_if_the_writer_was_quicker() {
    let mut q = Queue::new();
    for out in [AT.range(3 * CHUNK), AT.add(CHUNK).range(CHUNK)] {
        q.clear();
        q.push(0, AT.range(2 * CHUNK), Kind::Take, None);
        assert_eq!(q.next(Way::Home).map(|s| s.at), Some(AT));
        q.push(0, out, Kind::Out { device: 0, behind: false }, None);
        assert!(q.is_wanted(Way::Home), "that is another launch's");
        q.push(0, out, Kind::Out { device: 0, behind: true }, None);
        assert_eq!(q.is_wanted(Way::Home), !out.overlaps(AT.range(CHUNK)));
        q.push(0, AT.add(CHUNK).range(CHUNK), Kind::Take, None);
        assert_eq!(q.next(Way::Home).map(|s| s.at), Some(AT.add(CHUNK)));
        assert!(q.is_wanted(Way::Home));
        q.overtaken(AT.range(2 * CHUNK));
        assert!(!q.is_wanted(Way::Home));
    }
}

#[test]
fn what_a_writer_has_left_is_not_taken() {
    let mut q = Queue::new();
    q.push(0, AT.range(CHUNK), Kind::Take, None);
    q.push(0, AT.add(CHUNK).range(3 * CHUNK), Kind::Take, None);
    q.push(0, AT.range(2 * CHUNK), Kind::Out { device: 0, behind: true }, None);
    let all: Vec<Step> = core::iter::from_fn(|| q.next(Way::Home)).collect();
    let taken = all.iter().filter(|s| s.kind == Kind::Take).map(|s| s.at);
    assert_eq!(taken.collect::<Vec<_>>(), [AT.add(2 * CHUNK), AT.add(3 * CHUNK)]);
    assert_eq!(all.len(), 4);
}

#[test]
fn what_has_no_room_is_refused_and_what_is_there_is_not_doubled() {
    let mut q = Queue::new();
    for i in 0..MOST {
        assert!(q.push(0, HostAddr(i * CHUNK).range(1), Kind::Home { write: false }, None));
    }
    assert!(q.push(0, HostAddr(0).range(1), Kind::Home { write: false }, None), "it is there");
    assert!(!q.push(0, HostAddr(0).range(2), Kind::Home { write: false }, None));
    q.clear();
    assert_eq!(q.len(), 0);
}

#[test]
fn what_is_said_ends_what_was_guessed() {
    let mut q = Queue::new();
    q.read_ahead(1, AT, 5, false);
    q.push(0, HostAddr(40 * CHUNK).range(CHUNK), Kind::Home { write: false }, Some(3));
    q.push(0, HostAddr(50 * CHUNK).range(CHUNK), Kind::Home { write: false }, None);
    q.withdraw(AT.add(4 * CHUNK).range(1));
    q.withdraw(HostAddr(39 * CHUNK).range(CHUNK + 1));
    assert!(!q.has_behind(3));
    assert_eq!(numbers(&mut q), [50]);
}

#[test]
fn a_job_that_met_other_memory_ends_alone() {
    let mut q = Queue::new();
    q.read_ahead(1, AT, 5, false);
    q.read_ahead(2, HostAddr(40 * CHUNK), 1, false);
    let step = core::iter::from_fn(|| q.next(Way::Home)).find(|s| s.key == 1);
    q.give_up(step.expect("reader 1 has a turn"));
    assert!(!q.awaits(1, AT.add(CHUNK)));
}
